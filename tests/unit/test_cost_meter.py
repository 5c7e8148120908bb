"""Usage read off a run's events."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.events.common import ContentStrategy
from core.progress import (
    BatchFinished,
    BatchReceived,
    FileAnalyzed,
    FileResolved,
    FilesPublished,
    ObjectDownloaded,
    ObjectUploaded,
    RepositoryFetched,
)
from core.telemetry.cost import Usage
from core.telemetry.cost_meter import Account, CostMeter, Spent
from core.telemetry.cpu import cpu_seconds

OBJECT = Account("p", "object_storage", "j")
INLINE = Account("p", "inline", "j")


class Cpu:
    def __init__(self) -> None:
        self.used = 7.0

    def __call__(self) -> float:
        return self.used


@pytest.fixture
def cpu() -> Cpu:
    return Cpu()


def resolved(source: str, wire_bytes: int) -> FileResolved:
    return FileResolved("a", source, 100, 0.1, project="p", job="j", wire_bytes=wire_bytes)


def analyzed(source: str, size: int) -> FileAnalyzed:
    return FileAnalyzed("p", "a", size, 0.1, source, "j")


def test_the_publisher_pays_for_storage_and_uploads(cpu: Cpu) -> None:
    meter = CostMeter("publish", project="p", job="j", cpu=cpu)
    meter(ObjectUploaded("p", 5000, 0.1, existed=False))
    meter(ObjectUploaded("p", 3000, 0.1, existed=True))
    meter(FilesPublished("p", "j", ContentStrategy.OBJECT_STORAGE, 2, 8000, 900, 0.1))
    assert meter.take() == {OBJECT: Spent(2, 8000, Usage(stored_bytes=5000, puts=1, gets=1))}


def test_the_consumer_pays_for_transfer_and_downloads(cpu: Cpu) -> None:
    meter = CostMeter("consume", cpu=cpu)
    meter(ObjectDownloaded("p", "j", 100, 0.1, attempts=3))
    meter(RepositoryFetched("p", "j", 700, 0.1))
    meter(resolved("inline", 140))
    assert meter.take() == {
        OBJECT: Spent(usage=Usage(transferred_bytes=100, gets=3)),
        Account("p", "git_reference", "j"): Spent(usage=Usage(transferred_bytes=700)),
        INLINE: Spent(usage=Usage(transferred_bytes=140)),
    }


def test_a_download_that_serves_many_files_is_paid_once(cpu: Cpu) -> None:
    meter = CostMeter("consume", cpu=cpu)
    meter(ObjectDownloaded("p", "j", 100, 0.1, attempts=1))
    for _ in range(20):
        meter(resolved("object_storage", 100))
    assert meter.take()[OBJECT].usage.transferred_bytes == 100


def test_cpu_time_is_shared_out_by_bytes(cpu: Cpu) -> None:
    meter = CostMeter("consume", cpu=cpu)
    meter(analyzed("inline", 300))
    meter(analyzed("object_storage", 100))
    cpu.used += 8
    taken = meter.take()
    assert taken[INLINE].usage.cpu_seconds == 6
    assert taken[OBJECT].usage.cpu_seconds == 2
    assert meter.take() == {}


def test_cpu_time_of_an_unfinished_batch_waits_for_its_files(cpu: Cpu) -> None:
    meter = CostMeter("consume", cpu=cpu)
    meter(BatchReceived("t", 0, 5, "p", 1))
    cpu.used += 3
    assert meter.take() == {}
    meter(analyzed("inline", 300))
    meter(BatchFinished("t", 0, 5, 1, 0, 0, 0, 0.1))
    cpu.used += 1
    assert meter.take()[INLINE].usage.cpu_seconds == 4


def test_cpu_time_of_an_idle_agent_is_charged_to_nobody(cpu: Cpu) -> None:
    meter = CostMeter("consume", cpu=cpu)
    cpu.used += 30
    assert meter.take() == {}
    meter(analyzed("inline", 300))
    cpu.used += 1
    assert meter.take()[INLINE].usage.cpu_seconds == 1


def test_what_could_not_be_kept_is_taken_again(cpu: Cpu) -> None:
    meter = CostMeter("consume", cpu=cpu)
    meter(analyzed("inline", 300))
    cpu.used += 1
    taken = meter.take()
    meter.put_back(taken)
    meter(resolved("inline", 50))
    assert meter.take() == {INLINE: Spent(1, 300, Usage(transferred_bytes=50, cpu_seconds=1.0))}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_running_childs_cpu_time_counts() -> None:
    spin = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        before = cpu_seconds(Path("/nowhere"))
        child.stdout.readline()
        assert cpu_seconds() >= before + 0.15
        assert cpu_seconds(Path("/nowhere")) < before + 0.15
        child.communicate(b"\n")
    assert os.times().children_user > 0
