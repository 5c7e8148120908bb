"""Workloads for the learned selector: the real pipeline under three conditions, every file by every strategy.

`python -m bench.selector DIRECTORY` runs rounds over all conditions in turn, so that the time-ordered
split of the evaluation holds out whole rounds, then prints the evaluation, in all and by condition.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.corpus import WORDS
from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_history
from core.events.common import ContentStrategy
from core.history.store import Observation
from core.history.training import Evaluation, Money, evaluate, train
from core.repository.facts import Entry, FileFacts
from core.settings import Settings, load
from core.strategies.base import Feasibility
from core.strategies.learned import LearnedSelector
from core.strategies.model import Model
from core.strategies.selector import RuleSelector
from tests.servers import ministack
from tests.servers.fault_proxy import FaultProxy, fault_proxy
from tests.servers.git_http import GitHttpServer

ROUNDS = 6
STRATEGIES = ("inline", "object_storage", "git_reference")
SIZES = (200, 1_500, 6_000, 20_000, 60_000, 95_000, 130_000, 250_000, 400_000)
FILES_PER_SIZE = 6


@dataclass(frozen=True, slots=True)
class Condition:
    """How storage and the Git host answer: seconds before each request, bytes per second per connection.

    `ballast` is how many MB of other content the Git repository holds beside the files.
    """

    name: str
    storage: str
    storage_delay_s: float = 0.0
    storage_bytes_per_s: float | None = None
    git_delay_s: float = 0.0
    git_bytes_per_s: float | None = None
    ballast: int = 0


CONDITIONS = (
    Condition("fast local storage", "local", git_delay_s=0.02),
    Condition("slow storage, 80 ms and 5 MB/s", "minio", 0.08, 5e6, git_delay_s=0.02),
    Condition("slow Git, large repository", "minio", git_delay_s=0.3, git_bytes_per_s=2e6, ballast=20),
)


def make_repository(root: Path, condition: Condition, seed: int) -> Path:
    """A bare repository with files of every size, and its ballast, committed."""
    draw = random.Random(seed)
    work = root / "work"
    for number in range(FILES_PER_SIZE):
        for size in SIZES:
            # Sizes differ a little, so that each names one file.
            path = work / f"src/f{size}_{number}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            words = " ".join(draw.choices(WORDS, k=size // 6))
            path.write_text(f"# {words}"[: size + number * 7] + "\n")
    for number in range(condition.ballast):
        path = work / f"ballast/{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.randbytes(1 << 20))
    git = ("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-C", str(work))
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "corpus")):
        subprocess.run([*git, *arguments], check=True)
    bare = root / "served" / "corpus.git"
    bare.parent.mkdir()
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    return bare.parent


@asynccontextmanager
async def conditioned(
    condition: Condition, directory: Path, storage_port: int, seed: int
) -> AsyncIterator[tuple[Path, FaultProxy]]:
    """A clone of the condition's repository whose origin is behind a proxy, and the proxy of its storage."""
    served = make_repository(directory, condition, seed)
    with GitHttpServer(served) as server:
        async with fault_proxy(server.port) as git, fault_proxy(storage_port) as storage:
            clone = directory / "clone"
            url = f"{git.endpoint}/corpus.git"
            await asyncio.to_thread(subprocess.run, ["git", "clone", "-q", url, str(clone)], check=True)
            git.delay_s, git.bytes_per_s = condition.git_delay_s, condition.git_bytes_per_s
            storage.delay_s, storage.bytes_per_s = condition.storage_delay_s, condition.storage_bytes_per_s
            yield clone, storage


def settings(home: Path, condition: Condition, proxy: FaultProxy, **more: Any) -> Settings:
    """Nothing is cached: every file is fetched from where its strategy says."""
    flags: dict[str, Any] = {
        "home": home,
        "storage.provider": condition.storage,
        "cache.max_size_gb": 0,
        "git.schemes": "http,https",
        "git.networks": "127.0.0.0/8",
        "agent.workers": 1,
        **more,
    }
    if condition.storage == "minio":
        flags |= {
            "storage.bucket": "bench",
            "storage.endpoint": proxy.endpoint,
            "storage.allow_http": True,
        }
    return load(flags, environ={}).settings


async def run_round(number: int, home: Path, condition: Condition, clone: Path, proxy: FaultProxy) -> None:
    """Every file of `clone` by every strategy, in an order that changes from round to round."""
    order = STRATEGIES[number % 3 :] + STRATEGIES[: number % 3]
    for strategy in order:
        run = settings(
            home,
            condition,
            proxy,
            **{
                "publish.content_strategy": strategy,
                "git.clone_cache_dir": home / "clones" / f"{number}-{strategy}",
            },
        )
        target = Target(clone, project_name=f"{condition.name} {number}", force_reindex=True)
        async with ingestion(run, target) as job:
            summary = await job.publisher.publish(job.planner.stream())
        async with consuming(run, service=False) as agent:
            done = await agent.run(drain=True, stop=asyncio.Event())
        print(
            f"{condition.name}, round {number}, {strategy}: {summary.files_published} published, "
            f"{done.files_processed} processed, {dict(done.by_source)}",
            file=sys.stderr,
        )


async def produce(directory: Path, storage_port: int) -> Settings:
    """Run all rounds; the settings with whose history they are in."""
    home = directory / "home"
    async with AsyncExitStack() as stack:
        places = []
        for seed, condition in enumerate(CONDITIONS):
            where = directory / f"condition{seed}"
            where.mkdir(parents=True)
            places.append(
                (
                    condition,
                    *await stack.enter_async_context(conditioned(condition, where, storage_port, seed)),
                )
            )
        for number in range(ROUNDS):
            for condition, clone, proxy in places:
                await run_round(number, home, condition, clone, proxy)
    return load({"home": home, "selector.min_files": 100}, environ={}).settings


async def observed(configured: Settings) -> list[Observation]:
    """The history."""
    async with open_history(configured) as history:
        return await history.joined()


def judged(history: Sequence[Observation], money: Money) -> dict[str, Evaluation]:
    """The evaluation of all conditions mixed, and of each by itself."""
    found = {"mixed": evaluate(history, money, clock=time.thread_time)}
    for condition in CONDITIONS:
        part = [each for each in history if each.project.startswith(condition.name)]
        found[condition.name] = evaluate(part, money, clock=time.thread_time)
    return found


def table(found: Mapping[str, Evaluation]) -> str:
    """As docs/performance/selector.md shows it."""
    lines = [
        "| workload | files | | rules | model | oracle | model / rules | 95 % | model's regret | 95 % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, evaluation in found.items():
        shares = {"all": evaluation.whole, **evaluation.parts}
        for part, share in shares.items():
            if share:
                costs = [f"{1000 * each:.1f} ms" for each in (share.rules_s, share.model_s, share.oracle_s)]
                ratio = (f"{share.ratio:.2f}", "{:.2f}–{:.2f}".format(*share.ratio_95))
                low, high = share.model_regret_95
                regret = (f"{1000 * share.model_regret_s:.1f} ms", f"{1000 * low:.1f}–{1000 * high:.1f} ms")
                cells = (name, str(share.cases), part, *costs, *ratio, *regret)
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def prediction_us(model: Model, backends: Mapping[ContentStrategy, str]) -> tuple[float, float]:
    """µs of CPU for one file's ranking by the model and by the rules alone, medians of 7 runs of 20,000."""
    verdicts = {name: Feasibility(True, "feasible") for name in backends}
    entry = Entry("src/module.py", 6_000, None, 0o100644)
    facts = FileFacts(entry, "python", False, "utf-8", False, False, False, None)
    medians = []
    for selector in (LearnedSelector(model, backends, RuleSelector()), RuleSelector()):
        runs = []
        for _ in range(7):
            started = time.thread_time()
            for _ in range(20_000):
                selector.rank(facts, verdicts, None)
            runs.append((time.thread_time() - started) / 20_000 * 1e6)
        medians.append(statistics.median(runs))
    return medians[0], medians[1]


def main(directory: Path) -> None:
    """Produce, evaluate, print."""
    directory.mkdir(parents=True, exist_ok=True)
    with ministack.run(directory / "s3") as server:
        os.environ |= server.environ()
        server.client().create_bucket(Bucket="bench")
        configured = asyncio.run(produce(directory, server.port))
    money = Money(configured.selector, configured.cost)
    history = asyncio.run(observed(configured))
    found = judged(history, money)
    print(table(found))
    for name, evaluation in found.items():
        print(f"{name}: {evaluation.verdict or 'may be activated'}; {evaluation.predict_us:.1f} µs a choice")
    model = train(history, money)
    labels = {
        ContentStrategy(each.strategy): each.backend
        for each in history
        if each.project.startswith(CONDITIONS[0].name)
    }
    learned_us, rules_us = prediction_us(model, labels)
    print(f"ranking a file: {learned_us:.1f} µs of CPU by the model, {rules_us:.1f} µs by the rules alone")
    print(json.dumps({key: tree.model_dump() for key, tree in model.trees.items()}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
