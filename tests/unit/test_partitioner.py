"""Keys go where Kafka's own clients send them."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from core.log.partitioner import partition_of


@given(st.binary(max_size=64), st.integers(1, 50))
def test_the_choice_is_the_default_partitioners(key: bytes, partitions: int) -> None:
    numbers = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, numbers, numbers)
