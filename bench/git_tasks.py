"""What the Git benchmark runs in child processes: archon's side, and git's own as the floor."""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import report_child
from tests.bare_repositories import ENVIRONMENT

if TYPE_CHECKING:
    from core.settings import Settings

GIT = (
    "git", "-c", "protocol.version=2", "-c", "gc.auto=0", "-c", "maintenance.auto=false",
)  # fmt: skip
BATCH = 100
SINGLES = 3000
SHOWN = 40
EVICTED = 100


def peak_memory() -> int:
    """The most bytes resident so far; `ru_maxrss` would count the parent's from before exec, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def cpu_seconds() -> float:
    """User and system time of this process and of its children that ended."""
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in each)


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Fills in `seconds` and `cpu`."""
    taken: dict[str, float] = {}
    cpu, started = cpu_seconds(), time.perf_counter()
    yield taken
    taken["seconds"] = time.perf_counter() - started
    taken["cpu"] = cpu_seconds() - cpu


def disk_bytes(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def git(*arguments: str, at: Path, given: bytes = b"") -> bytes:
    """Git's output."""
    done = subprocess.run(
        [*GIT, *arguments], cwd=at, env=ENVIRONMENT, input=given, capture_output=True, check=True
    )
    return done.stdout


# --- git itself ---


def clone(url: str, directory: Path) -> None:
    """What a consumer without archon does: a shallow clone with its work tree."""
    with stopwatch() as taken:
        git("clone", "-q", "--depth", "1", url, str(directory / "clone"), at=directory)
    report_child(**taken, disk=disk_bytes(directory / "clone"))


def batch(url: str, commit: str, wanted: Path, directory: Path) -> None:
    """Git's best for some files: trees by a filtered fetch, blobs as its promisor asks, then read."""
    paths = {path for path, _ in json.loads(wanted.read_text())}
    with stopwatch() as taken:
        _bare(url, directory)
        git("fetch", "-q", "--depth", "1", "--filter=blob:none", "origin", commit, at=directory)
        listing = git("ls-tree", "-r", "-z", commit, at=directory).decode().split("\0")
        heads = (line.partition("\t") for line in listing if line)
        ids = [head.split()[2] for head, _, path in heads if path in paths]
        _bring(ids, directory)
    report_child(**taken, files=len(ids), disk=disk_bytes(directory / "objects"))


def batch_by_id(url: str, wanted: Path, directory: Path) -> None:
    """The same blobs by their ids alone."""
    with stopwatch() as taken:
        _bare(url, directory)
        _bring([oid for _, oid in json.loads(wanted.read_text())], directory)
    report_child(**taken, disk=disk_bytes(directory / "objects"))


def _bare(url: str, directory: Path) -> None:
    git("init", "-q", "--bare", ".", at=directory)
    for key, value in (("url", url), ("promisor", "true"), ("partialclonefilter", "blob:none")):
        git("config", f"remote.origin.{key}", value, at=directory)


def _bring(ids: list[str], directory: Path) -> None:
    given = "".join(f"{oid}\n" for oid in ids).encode()
    git(
        "-c", "fetch.negotiationAlgorithm=noop", "fetch", "-q", "--no-tags", "--no-write-fetch-head",
        "--recurse-submodules=no", "--filter=blob:none", "--stdin", "origin",
        at=directory, given=given,
    )  # fmt: skip
    read = git("cat-file", "--batch", "--buffer", at=directory, given=given)
    assert read.count(b" blob ") >= len(ids)


def show(directory: Path, commit: str, wanted: Path) -> None:
    """`git show` for one file after another."""
    taken = []
    for path, _ in json.loads(wanted.read_text())[:SHOWN]:
        started = time.perf_counter()
        git("show", f"{commit}:{path}", at=directory)
        taken.append(time.perf_counter() - started)
    report_child(statistics.median(taken), p99=max(taken))


# --- archon ---


def cold(url: str, commit: str, wanted: Path, directory: Path, *, by_id: bool) -> None:
    """Files of a repository that the cache has never seen, by path or by the blob ids of events."""
    started = time.perf_counter()
    from core.git.source import GitContent, GitSource, Wanted
    from tests.git_fetching import fetching

    imported = time.perf_counter() - started
    items = [Wanted(path, oid if by_id else None) for path, oid in json.loads(wanted.read_text())]

    async def work() -> dict[str, float]:
        async with fetching(directory) as parts:
            with stopwatch() as taken:
                answers = await parts.fetcher.fetch_many(GitSource(url, commit), items)
        assert all(isinstance(answer, GitContent) for answer in answers), answers[0]
        return taken

    taken = asyncio.run(work())
    report_child(**taken, imports=imported, disk=disk_bytes(directory / "clones"))


def warm(url: str, commit: str, wanted: Path, directory: Path) -> None:
    """Files that are in the cache: in batches, and one by one."""
    from core.git.source import GitContent, GitSource, Wanted
    from tests.git_fetching import fetching

    items = json.loads(wanted.read_text())
    source = GitSource(url, commit)

    async def work() -> tuple[float, list[float]]:
        async with fetching(directory) as parts:
            fetcher = parts.fetcher
            await fetcher.fetch_many(source, [Wanted(path) for path, _ in items])
            batches, singles = [], []
            for _ in range(5):
                started = time.perf_counter()
                for start in range(0, len(items), BATCH):
                    group = [Wanted(path, oid) for path, oid in items[start : start + BATCH]]
                    for answer in await fetcher.fetch_many(source, group):
                        assert isinstance(answer, GitContent)
                        assert answer.cache_hit
                batches.append((time.perf_counter() - started) / len(items))
            for number in range(SINGLES):
                path, _ = items[number % len(items)]
                started = time.perf_counter()
                await fetcher.fetch_file_content(url, commit, path)
                singles.append(time.perf_counter() - started)
            return statistics.median(batches), singles

    each, singles = asyncio.run(work())
    floor = _inflate_and_hash(directory, [oid for _, oid in items])
    report_child(
        each, floor=floor, single=statistics.median(singles), p99=statistics.quantiles(singles, n=100)[98]
    )


def _inflate_and_hash(directory: Path, oids: list[str]) -> float:
    """Seconds a file for what no verified reading can do without, on the same blobs; the best of five."""
    from dulwich.object_format import SHA1

    from core.git.packs import PackStore

    store = PackStore(next((directory / "clones").glob("*/packs")), SHA1, 64 << 20)
    deflated = [zlib.compress(store.read(oid)[1]) for oid in oids]
    store.close()
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        for each in deflated:
            hashlib.sha1(zlib.decompress(each), usedforsecurity=False).digest()
        taken.append(time.perf_counter() - started)
    return min(taken) / len(oids)


def evict(directory: Path, pack: Path, oid: str) -> None:
    """Repository after repository into a cache with room and into a full one; meanwhile another is read."""
    from core.git.clone_cache import CloneCache
    from core.safety.git_url import parse_git_url
    from tests.git_fetching import POLICY

    content, size = pack.read_bytes(), pack.stat().st_size

    def put(cache: CloneCache, name: str) -> None:
        url = parse_git_url(f"https://git.example.com/{name}.git", POLICY)
        with cache.use(url, "", "sha1") as clone, clone.packs.receive() as incoming:
            growth = clone.growth(incoming.path.name)
            growth.grow(size)
            incoming.write(content)
            clone.packs.publish(incoming, lambda: None)
            growth.settle(stored=True)

    def read(cache: CloneCache, over: threading.Event, taken: list[float]) -> None:
        url = parse_git_url("https://git.example.com/read.git", POLICY)
        while not over.is_set():
            started = time.perf_counter()
            with cache.use(url, "", "sha1") as clone:
                clone.packs.read(oid)
            taken.append(time.perf_counter() - started)

    def fill(cache: CloneCache, prefix: str) -> float:
        started = time.perf_counter()
        for number in range(EVICTED):
            put(cache, f"{prefix}{number}")
        return (time.perf_counter() - started) / EVICTED

    figures: dict[str, float] = {}
    for name, clones in (("roomy", EVICTED * 4), ("full", 20)):
        cache = CloneCache(directory / name, clones * (size + 4096), max_object_bytes=64 << 20)
        cache.open()
        put(cache, "read")
        fill(cache, "first")
        before = cache.stats().evictions
        figures[name] = fill(cache, "second")
        put(cache, "read")
        reads: list[float] = []
        over = threading.Event()
        reader = threading.Thread(target=read, args=(cache, over, reads))
        reader.start()
        fill(cache, "third")
        over.set()
        reader.join()
        figures[f"{name}_p99"] = statistics.quantiles(reads, n=100)[98]
        figures[f"{name}_evictions"] = cache.stats().evictions - before
        cache.close()
    started = time.perf_counter()
    for item in list((directory / "roomy" / "clones").iterdir())[:EVICTED]:
        shutil.rmtree(item)
    report_child((time.perf_counter() - started) / EVICTED, **figures)


def publish(home: Path, source: str, options: dict[str, object]) -> None:
    """`ingest` of a URL or directory."""
    from core.assembly.publishing import ingestion
    from core.assembly.source import RemoteTarget, Target

    force, checksums = bool(options.pop("force", False)), bool(options.pop("checksums", False))
    path = RemoteTarget(source, checksums) if "://" in source else Path(source)
    target = Target(path, force_reindex=force)

    async def work() -> int:
        async with ingestion(_settings(home, options), target) as job:
            return (await job.publisher.publish(job.planner.stream())).files_published

    with stopwatch() as taken:
        published = asyncio.run(work())
    report_child(**taken, published=published)


def consume(home: Path, options: dict[str, object]) -> None:
    """`run --drain`."""
    from core.assembly.consuming import consuming

    async def work() -> dict[str, float]:
        async with consuming(_settings(home, options), service=False) as agent:
            done = await agent.run(drain=True, stop=asyncio.Event())
            stats = agent.caches().get("git")
            assert not done.files_failed
            figures: dict[str, float] = {"processed": done.files_processed}
            return figures | ({"hits": stats.hits, "misses": sum(stats.misses.values())} if stats else {})

    with stopwatch() as taken:
        figures = asyncio.run(work())
    report_child(**taken, **figures, peak=peak_memory())


def _settings(home: Path, options: dict[str, object]) -> Settings:
    from core.settings import load

    given = {"home": home, "git.schemes": "http", "git.networks": "127.0.0.0/8", **options}
    return load(given, environ={"CONTENT_STORAGE_PROVIDER": "none"}).settings


def main(task: str, arguments: list[str]) -> None:
    """Run one task; directories come empty."""
    match task, arguments:
        case "clone", [url, directory]:
            clone(url, Path(directory))
        case "batch", [url, commit, wanted, directory]:
            batch(url, commit, Path(wanted), Path(directory))
        case "batch-by-id", [url, wanted, directory]:
            batch_by_id(url, Path(wanted), Path(directory))
        case "show", [directory, commit, wanted]:
            show(Path(directory), commit, Path(wanted))
        case "cold" | "cold-by-id", [url, commit, wanted, directory]:
            cold(url, commit, Path(wanted), Path(directory), by_id=task == "cold-by-id")
        case "warm", [url, commit, wanted, directory]:
            warm(url, commit, Path(wanted), Path(directory))
        case "evict", [directory, pack, oid]:
            evict(Path(directory), Path(pack), oid)
        case "publish", [home, source, options]:
            publish(Path(home), source, json.loads(options))
        case "consume", [home, options]:
            consume(Path(home), json.loads(options))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
