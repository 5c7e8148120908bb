"""What stands in for what when something fails: one table for the publisher, the resolver and the docs.

A stand-in is used only where it can have the file (a feasible strategy; a source for which the event
carries what it needs), and what a source yields is verified like the first choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from core.events.common import ContentStrategy
from core.events.request import Carrier

Name = TypeVar("Name", ContentStrategy, Carrier)


@dataclass(frozen=True, slots=True)
class StandIns(Generic[Name]):
    """For one strategy or source: what may stand in, in order, and what becomes of a file without one.

    `faults` are what goes wrong, and what is done about it before anything stands in.
    """

    order: tuple[Name, ...]
    at_last: str
    faults: tuple[tuple[str, str], ...]


_SKIP: Final = "skipped with every reason"
_LETTER: Final = "dead-lettered with the first source's error"

PUBLISHER: Final[Mapping[ContentStrategy, StandIns[ContentStrategy]]] = {
    ContentStrategy.OBJECT_STORAGE: StandIns(
        (ContentStrategy.INLINE, ContentStrategy.GIT_REFERENCE),
        _SKIP,
        (
            ("storage cannot be reached when the run starts", "not asked again in this run"),
            ("an upload fails", "3 attempts; after 5 failures in a row the circuit breaker opens"),
            ("storage refuses the credentials", ""),
        ),
    ),
    ContentStrategy.GIT_REFERENCE: StandIns(
        (ContentStrategy.INLINE, ContentStrategy.OBJECT_STORAGE),
        _SKIP,
        (
            ("the remote is unknown or lacks the commit, or the file is not committed", "told by the plan"),
            ("the host cannot be reached, or refuses the credentials", "asked once in a run"),
        ),
    ),
    ContentStrategy.INLINE: StandIns(
        (ContentStrategy.GIT_REFERENCE, ContentStrategy.OBJECT_STORAGE),
        _SKIP,
        (
            ("the file is over the inline limit", "told by the plan"),
            ("the file encoded is over the room in a message", "told by the plan"),
            ("the log refuses the message as too large", "the batch is split down to the file"),
        ),
    ),
}

CONSUMER: Final[Mapping[Carrier, StandIns[Carrier]]] = {
    Carrier.INLINE: StandIns(
        (Carrier.GIT_REFERENCE,),
        _LETTER,
        (("the content does not decode or is not what its checksum says", ""),),
    ),
    Carrier.OBJECT_STORAGE: StandIns(
        (Carrier.GIT_REFERENCE,),
        _LETTER,
        (
            ("the presigned link has expired or is refused", "read by key, with the agent's credentials"),
            ("the object is gone", ""),
            ("storage fails", "3 attempts; after 5 failures in a row the circuit breaker opens"),
            ("the object is not what its checksum says", "fetched once more"),
        ),
    ),
    Carrier.GIT_REFERENCE: StandIns(
        (Carrier.OBJECT_STORAGE,),
        _LETTER,
        (
            ("the Git host fails", "3 attempts; after 5 failures in a row the circuit breaker opens"),
            ("the host has no such commit or blob", ""),
        ),
    ),
    Carrier.LOCAL_PATH: StandIns(
        (),
        "dead-lettered as `content_missing`, which says that v1 events carry paths",
        (("the path of a v1 event is not on this machine", ""),),
    ),
}


def sources_of(carrier: Carrier) -> tuple[Carrier, ...]:
    """The sources to ask for a file, in order."""
    return (carrier, *CONSUMER[carrier].order)


def table() -> list[tuple[str, str, str, str, str, str]]:
    """(side, strategy or source, fault, first, stand-ins, at last) of every cell."""
    return [*_rows("publisher", PUBLISHER), *_rows("consumer", CONSUMER)]


def _rows(side: str, matrix: Mapping[Name, StandIns[Name]]) -> Iterator[tuple[str, str, str, str, str, str]]:
    for name, row in matrix.items():
        order = ", then ".join(f"`{other}`" for other in row.order) or "–"
        for fault, first in row.faults:
            yield side, f"`{name}`", fault, first or "–", order, row.at_last
