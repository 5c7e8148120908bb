"""Greedy packing: never over a limit, nothing lost, nothing twice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from core.batches import Batch, BatchesByPartition, BatchProcessor, PackedFile, request_key
from core.events.common import ContentStrategy
from core.log.partitioner import partition_of
from core.repository.facts import Entry, FileFacts


def packed(number: int, encoded_size: int) -> PackedFile:
    entry = Entry(f"{number}.py", encoded_size, None, 0o100644)
    facts = FileFacts(entry, "python", False, "utf-8", False, False, False, None)
    return PackedFile(facts, ContentStrategy.INLINE, encoded_size, b"x" * encoded_size, None, None, ())


def pack_all(sizes: list[int], max_files: int, max_bytes: int) -> list[Batch]:
    processor = BatchProcessor(max_files, max_bytes)
    batches = [processor.add(packed(number, size)) for number, size in enumerate(sizes)]
    return [batch for batch in [*batches, processor.flush()] if batch]


@given(st.lists(st.integers(1, 50)), st.integers(1, 7), st.integers(51, 120))
def test_packing(sizes: list[int], max_files: int, max_bytes: int) -> None:
    batches = pack_all(sizes, max_files, max_bytes)
    assert [file.facts.path for batch in batches for file in batch.files] == [
        f"{n}.py" for n in range(len(sizes))
    ]
    for batch in batches:
        assert 1 <= len(batch.files) <= max_files
        assert batch.encoded_bytes == sum(len(file) + 1 for file in batch.encoded) <= max_bytes


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(51, 120))
def test_packing_is_greedy(sizes: list[int], max_bytes: int) -> None:
    batches = pack_all(sizes, 1000, max_bytes)
    for batch, following in itertools.pairwise(batches):
        assert batch.encoded_bytes + following.files[0].encoded_size + 1 > max_bytes


def test_the_file_that_fills_a_batch_by_count_is_in_it() -> None:
    assert [len(batch.files) for batch in pack_all([1] * 5, 2, 1000)] == [2, 2, 1]


def test_batches_stay_full_although_each_partition_has_its_own() -> None:
    batches = BatchesByPartition("shop", 6, max_files=100, max_bytes=5 << 20)
    made = [batch for number in range(10_000) for batch in batches.add(packed(number, 800))]
    made += batches.flush()
    assert sum(len(batch.files) for batch in made) == 10_000
    assert len(made) <= 10_000 / 100 + 6


@given(st.lists(st.integers(1, 50)), st.integers(1, 7), st.integers(51, 120), st.integers(1, 6))
def test_a_batch_has_files_of_one_partition_and_little_is_held(
    sizes: list[int], max_files: int, max_bytes: int, partitions: int
) -> None:
    batches = BatchesByPartition("shop", partitions, max_files, max_bytes)
    made: list[Batch] = []
    for number, size in enumerate(sizes):
        made += batches.add(packed(number, size))
        held = sum(sizes[: number + 1]) + number + 1 - sum(batch.encoded_bytes for batch in made)
        assert held <= max_bytes
    made += batches.flush()
    assert sorted(file.facts.path for batch in made for file in batch.files) == sorted(
        f"{n}.py" for n in range(len(sizes))
    )
    for batch in made:
        keys = [request_key("shop", file.facts.path) for file in batch.files]
        assert len({partition_of(key, partitions) for key in keys}) == 1


def test_halves_are_the_whole() -> None:
    batch = Batch.of([packed(number, 10) for number in range(5)])
    left, right = batch.halves()
    assert [*left.files, *right.files] == list(batch.files)
    assert left.encoded_bytes + right.encoded_bytes == batch.encoded_bytes
    assert batch.raw_bytes == 50


def test_nothing_makes_no_batch() -> None:
    assert BatchProcessor(10, 100).flush() is None
