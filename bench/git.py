"""Git references against git itself, on the same server in the same run."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import git_world, measure
from bench.git_world import World, task
from bench.measure import Row, Run
from tests.bare_repositories import BareRepository
from tests.servers.git_http import GitHttpServer

ROUNDS = 5
FILES, PIPELINE_FILES, LARGE_FILES = 6500, 2000, 1100


def main(arguments: Sequence[str]) -> None:
    """`--quick` leaves the repository over 1 GB out."""
    with tempfile.TemporaryDirectory(prefix="bench-git-") as scratch:
        directory = Path(scratch)
        (directory / "served").mkdir()
        with GitHttpServer(directory / "served") as server:
            world = git_world.make(directory, server, "corpus.git", FILES)
            rows = [*_cold(world), *_warm(world), *_eviction(world)]
            rows += _pipeline(git_world.make(directory, server, "smaller.git", PIPELINE_FILES))
            if "--quick" not in arguments:
                BareRepository(server.root / "large.git").commit_incompressible(LARGE_FILES, 1 << 20)
                rows += _memory(directory, server.url("large.git"))
    measure.write("git", "Git references and the clone cache", rows, _NOTES)


def _cold(world: World) -> list[Row]:
    many, few = world.some(1000), world.some(10)
    sent: dict[str, int] = {}

    def measured(name: str, *arguments: object) -> Callable[[], Run]:
        def run() -> Run:
            before = world.server.bytes_sent
            done = task(name, *arguments, world.fresh())
            sent[name] = world.server.bytes_sent - before
            return done

        return run

    url, commit = world.url, world.commit
    clone, batch, batch_ids, paths, ids, few_batch, few_paths, few_ids = measure.alternate(
        ROUNDS,
        measured("clone", url),
        measured("batch", url, commit, many),
        measured("batch-by-id", url, many),
        measured("cold", url, commit, many),
        measured("cold-by-id", url, commit, many),
        measured("batch", url, commit, few),
        measured("cold", url, commit, few),
        measured("cold-by-id", url, commit, few),
    )
    whole = "`git clone --depth 1`"
    # The last to run under a name was of ten files: what 1,000 take on the wire is asked for again.
    for name in ("cold", "cold-by-id"):
        measured(name, url, commit, many)()
    return [
        _row("cold, 1,000 files by blob id, as events carry them", ids, whole, clone, 0.25),
        _row("… by path: trees first", paths, whole, clone, 0.25),
        _row("… git's own batch (trees, then blobs), for comparison", batch, whole, clone),
        _row("cold, 1,000 files by path", paths, "git's batch", batch, 1.5),
        _row("cold, 1,000 files by blob id", ids, "git's batch by id", batch_ids, 1.5),
        _row("cold, ten files by blob id", few_ids, whole, clone, 0.08),
        _row("… by path: trees first", few_paths, whole, clone, 0.08),
        _row("… git's own batch, for comparison", few_batch, whole, clone),
        _row("CPU of 1,000 files by path", paths, "git's batch", batch, figure=_cpu),
        _row("CPU of 1,000 files by blob id", ids, "git's batch by id", batch_ids, figure=_cpu),
        _disk("disk, 1,000 files by blob id", ids, sent["cold-by-id"]),
        _disk("disk, 1,000 files by path, with trees and list", paths, sent["cold"]),
    ]


def _warm(world: World) -> list[Row]:
    many = world.some(1000)
    clone = world.fresh()
    subprocess.run(["git", "clone", "-q", "--bare", str(world.repository.path), str(clone)], check=True)
    directory = world.fresh()
    warm, shown = measure.alternate(
        3,
        lambda: task("warm", world.url, world.commit, many, directory),
        lambda: task("show", clone, world.commit, many),
    )
    floor = _median(warm, "floor")
    each, single, p99 = measure.median(warm), _median(warm, "single"), _median(warm, "p99")
    show = measure.median(shown)
    return [
        Row(
            "warm, a file in batches of 100",
            f"{each * 1e6:.0f} µs",
            f"inflate and hash {floor * 1e6:.0f} µs",
            f"{each / floor:.2f}",
            "≤ 80 µs",
            each <= 80e-6,
        ),
        Row(
            "warm, a file alone, median",
            f"{single * 1e3:.2f} ms",
            f"`git show` {show * 1e3:.2f} ms",
            f"{single / show:.2f}",
            "–",
            None,
        ),
        Row(
            "warm, a file alone, p99",
            f"{p99 * 1e3:.2f} ms",
            f"`git show` {_median(shown, 'p99') * 1e3:.2f} ms",
            f"{p99 / _median(shown, 'p99'):.2f}",
            "≤ 1 ms",
            p99 <= 1e-3,
        ),
    ]


def _pipeline(world: World) -> list[Row]:
    """Publish and consume by reference, again, the next commit; and the same files inline."""
    home, inline = world.directory / "home", world.directory / "inline"
    tree = world.directory / "tree"
    subprocess.run(["git", "clone", "-q", str(world.repository.path), str(tree)], check=True)
    # The consumer's clones are its own: on another machine it does not find the publisher's.
    options = json.dumps({"git.clone_cache_dir": str(world.directory / "consumer")})
    before = world.server.bytes_sent
    unread = task("publish", home, world.url, "{}")
    unread_bytes = world.server.bytes_sent - before
    before = world.server.bytes_sent
    read = task("publish", world.directory / "read", world.url, json.dumps({"checksums": True}))
    read_bytes = world.server.bytes_sent - before
    first = task("consume", home, options)
    task("publish", home, world.url, json.dumps({"force": True}))
    again = task("consume", home, options)
    task("publish", inline, tree, json.dumps({"publish.content_strategy": "inline"}))
    direct = task("consume", inline, "{}")
    _, changed = world.change()
    before = world.server.bytes_sent
    task("publish", home, world.url, "{}")
    published = world.server.bytes_sent - before
    delta = task("consume", home, options)
    consumed = world.server.bytes_sent - before - published
    floor = world.packed(list(changed.values()))
    lookups = (
        again.details["hits"] + again.details["misses"] - first.details["hits"] - first.details["misses"]
    )
    rate = (again.details["hits"] - first.details["hits"]) / lookups
    rows = [
        Row(
            f"agent, events of git_reference, {name}",
            f"{run.details['processed'] / run.seconds:.0f} files/s",
            f"inline {direct.details['processed'] / direct.seconds:.0f} files/s",
            f"{run.seconds / direct.seconds:.2f} × its time",
            "–",
            None,
        )
        for name, run in (("cold", first), ("warm", again))
    ]
    return [
        Row(
            f"publish {len(world.blobs):,} files of a URL, unread: no sizes",
            f"{unread.seconds:.2f} s, {unread_bytes:,} B",
            f"read, with sizes and SHA-256 {read.seconds:.2f} s, {read_bytes:,} B",
            f"{unread.seconds / read.seconds:.2f}",
            "–",
            None,
        ),
        *rows,
        Row("hit rate of a repeated ingestion", f"{rate:.0%}", "–", "–", "> 60 %", rate > 0.6),
        Row(
            f"next commit, {len(changed)} changed files: sent to the agent",
            f"{consumed:,} B",
            f"the blobs packed {floor:,} B",
            f"{consumed / floor:.2f}",
            "≤ 1.2, changed files only",
            consumed <= 1.2 * floor and delta.details["processed"] == len(changed),
        ),
        Row("… sent to the publisher: its trees", f"{published:,} B", "–", "–", "–", None),
    ]


def _eviction(world: World) -> list[Row]:
    pack = world.directory / "small.pack"
    oid = min(world.blobs.values())
    pack.write_bytes(world.pack(sorted(world.blobs.values())[:50]))
    runs = [task("evict", world.fresh(), pack, oid) for _ in range(3)]
    cost = statistics.median(run.details["full"] - run.details["roomy"] for run in runs) * 1e3
    floor = measure.median(runs) * 1e3
    quiet, busy = (_median(runs, f"{name}_p99") * 1e3 for name in ("roomy", "full"))
    return [
        Row(
            "eviction, added per evicted repository",
            f"{cost:.2f} ms",
            f"rmtree {floor:.2f} ms",
            f"{cost / floor:.1f}",
            "–",
            None,
        ),
        Row(
            "reads while repositories come and are evicted, p99",
            f"{busy:.2f} ms",
            f"come only {quiet:.2f} ms",
            f"{busy / quiet:.2f}",
            "–",
            None,
        ),
    ]


def _memory(directory: Path, url: str) -> list[Row]:
    home = directory / "large-home"
    task("publish", home, url, "{}")
    run = task("consume", home, json.dumps({"git.clone_cache_dir": str(directory / "large-clones")}))
    peak = run.details["peak"] / 2**20
    files, seconds = int(run.details["processed"]), run.seconds
    return [
        Row(
            f"peak memory of the agent, a repository of {files:,} files of 1 MiB",
            f"{peak:.0f} MB",
            f"in {seconds:.0f} s",
            "–",
            "≤ 150 MB",
            peak <= 150,
        )
    ]


def _cpu(run: Run) -> float:
    return run.details["cpu"]


def _seconds(run: Run) -> float:
    return run.seconds


def _median(runs: Sequence[Run], name: str) -> float:
    return statistics.median(run.details[name] for run in runs)


def _row(
    name: str,
    subject: Sequence[Run],
    floor_name: str,
    floor: Sequence[Run],
    target: float | None = None,
    figure: Callable[[Run], float] = _seconds,
) -> Row:
    ratio = statistics.median(figure(a) / figure(b) for a, b in zip(subject, floor, strict=True))
    own, other = (statistics.median(map(figure, runs)) for runs in (subject, floor))
    return Row(
        name,
        f"{own:.3f} s",
        f"{floor_name} {other:.3f} s",
        f"{ratio:.3f}",
        f"≤ {target}" if target else "–",
        ratio <= target if target else None,
    )


def _disk(name: str, runs: Sequence[Run], packed: int) -> Row:
    size = _median(runs, "disk")
    return Row(
        name, f"{size:,.0f} B", f"packed {packed:,} B", f"{size / packed:.2f}", "≤ 1.2", size <= 1.2 * packed
    )


_NOTES = f"""
Server: git's own `git http-backend` behind a small HTTP server on loopback, on the same cores as the clients.
The repository has {FILES:,} generated files of 7.7 KB on average, packed by `git repack -adf` as
hosts do. Ratios are medians of {ROUNDS} alternating pairs, each in a process of its own; archon's seconds
begin in a running agent, git's with its process.

A tree tells no sizes, and protocol v2's `object-info`, which would, is off on servers unless somebody turns
it on (`transfer.advertiseObjectInfo`). Hence `ingest --git-url` leaves `size_bytes` and `checksum` out: the
blob id identifies the content, the consumer verifies it against that id and adds size and SHA-256 to the
record. `--checksums`, or a strategy that carries content, reads the files in exchanges of 500. The rows on
publishing show what that costs. Because sizes are then unknown, the agent holds at most 2 MiB of an event's
contents at once; what is beyond is read again from the clone in its turn, which bounds memory and costs a
second inflation of those files only.

Whole objects are inflated straight from the mapped pack and hashed once: the floor of a warm read. What
remains of a cold batch is mostly the host, which looks for deltas among the blobs that it is asked for: git's
own batch waits for the same. By path, every tree is fetched and listed first; events carry blob ids.
"""


if __name__ == "__main__":
    main([])
