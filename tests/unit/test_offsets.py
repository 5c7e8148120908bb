"""The low-water mark, against a model too simple to be wrong."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.log.base import TopicPartition
from core.log.offsets import OffsetTracker

WHERE = TopicPartition("requests", 0)
OTHER = TopicPartition("requests", 1)

partitions = st.sampled_from([WHERE, OTHER])
offsets = st.integers(0, 12)


class TrackerMachine(RuleBasedStateMachine):
    """Begins, finishes, commits, rewinds and drops in any order; the model keeps every state ever."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker()
        self.finished: dict[TopicPartition, dict[int, bool]] = {}
        self.committed: dict[TopicPartition, int] = {}

    @rule(where=partitions, offset=offsets)
    def begin(self, where: TopicPartition, offset: int) -> None:
        self.tracker.begin(where, offset)
        self.finished.setdefault(where, {})[offset] = False
        self.committed.setdefault(where, offset)

    @rule(where=partitions, offset=offsets)
    def finish(self, where: TopicPartition, offset: int) -> None:
        self.tracker.finish(where, offset)
        if offset in self.finished.get(where, {}):
            self.finished[where][offset] = True

    @rule()
    def commit(self) -> None:
        marks = self.tracker.committable()
        self.tracker.committed(marks)
        self.committed.update(marks)

    @rule(where=partitions)
    def drop(self, where: TopicPartition) -> None:
        self.tracker.drop([where])
        self.finished.pop(where, None)
        self.committed.pop(where, None)

    @invariant()
    def marks_are_the_models(self) -> None:
        marks = {where: self.mark(where) for where in self.finished}
        assert self.tracker.committable() == {w: m for w, m in marks.items() if m > self.committed[w]}

    @invariant()
    def in_flight_is_the_models(self) -> None:
        open_ = {w: sum(not done for done in states.values()) for w, states in self.finished.items()}
        assert self.tracker.in_flight() == sum(open_.values())
        assert self.tracker.in_flight(WHERE) == open_.get(WHERE, 0)

    def mark(self, where: TopicPartition) -> int:
        states = self.finished[where]
        return min((o for o, done in states.items() if not done), default=max(states) + 1)


TestTracker = TrackerMachine.TestCase


def test_a_slow_message_holds_the_mark() -> None:
    tracker = OffsetTracker()
    for offset in (5, 6, 7):
        tracker.begin(WHERE, offset)
    tracker.finish(WHERE, 6)
    tracker.finish(WHERE, 7)
    assert tracker.committable() == {}
    tracker.finish(WHERE, 5)
    assert tracker.committable() == {WHERE: 8}


def test_offsets_that_never_came_hold_nothing_up() -> None:
    tracker = OffsetTracker()
    for offset in (3, 9, 20):
        tracker.begin(WHERE, offset)
        tracker.finish(WHERE, offset)
    assert tracker.committable() == {WHERE: 21}


def test_a_late_finish_of_a_revoked_partition_is_ignored() -> None:
    tracker = OffsetTracker()
    tracker.begin(WHERE, 4)
    tracker.drop([WHERE])
    tracker.finish(WHERE, 4)
    assert tracker.committable() == {}
    assert tracker.in_flight() == 0


def test_a_redelivered_message_never_moves_the_mark_back() -> None:
    tracker = OffsetTracker()
    for offset in (0, 1):
        tracker.begin(WHERE, offset)
        tracker.finish(WHERE, offset)
    tracker.committed(tracker.committable())
    tracker.begin(WHERE, 0)
    assert tracker.committable() == {}
    tracker.finish(WHERE, 0)
    assert tracker.committable() == {}
