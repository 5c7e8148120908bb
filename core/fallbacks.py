"""What stands in for what when something fails: one table for the publisher, the resolver and the docs.

A stand-in is used only where it can have the file (a feasible strategy; a source for which the event
carries what it needs), and what a source yields is verified like the first choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from core.errors import (
    AccessDenied,
    BackendUnavailable,
    ChecksumMismatch,
    CircuitOpen,
    ContentMissing,
    InvalidEvent,
    MessageTooLarge,
)
from core.events.common import ContentStrategy
from core.events.request import Carrier

Name = TypeVar("Name", ContentStrategy, Carrier)


class Fault(NamedTuple):
    """What goes wrong, the causes that counters and logs give, and what is done before anything stands in."""

    text: str
    causes: tuple[str, ...]
    first: str = ""


@dataclass(frozen=True, slots=True)
class StandIns(Generic[Name]):
    """For one strategy or source: what may stand in, in order, and what becomes of a file without one."""

    order: tuple[Name, ...]
    at_last: str
    faults: tuple[Fault, ...]


INFEASIBLE: Final = "infeasible"
"""The cause where the plan already knows that what the user asked for cannot carry a file."""

LINK, KEY = "presigned_link", "object_key"
LINK_EXPIRED: Final = "link_expired"

NOT_CONFIGURED: Final = "not_configured"
"""The cause where the first source cannot be asked by this agent at all."""

_DOWN, _OPEN = BackendUnavailable.reason, CircuitOpen.reason
_DENIED: Final = AccessDenied.reason
_PLAN: Final = "told by the plan; counted where the user asked for it"
_BREAKER: Final = "3 attempts; after 5 failures in a row the circuit breaker opens"
_SKIP: Final = "skipped with every reason"
_LETTER: Final = "dead-lettered with the first source's error"

PUBLISHER: Final[Mapping[ContentStrategy, StandIns[ContentStrategy]]] = {
    ContentStrategy.OBJECT_STORAGE: StandIns(
        (ContentStrategy.INLINE, ContentStrategy.GIT_REFERENCE),
        _SKIP,
        (
            Fault("storage cannot be reached when the run starts", (_DOWN,), "not asked again in this run"),
            Fault("an upload fails", (_DOWN, _OPEN), _BREAKER),
            Fault("storage refuses the credentials", (_DENIED,)),
        ),
    ),
    ContentStrategy.GIT_REFERENCE: StandIns(
        (ContentStrategy.INLINE, ContentStrategy.OBJECT_STORAGE),
        _SKIP,
        (
            Fault(
                "the remote is unknown or lacks the commit, or the file is not committed",
                (INFEASIBLE,),
                _PLAN,
            ),
            Fault(
                "the host cannot be reached, or refuses the credentials",
                (_DOWN, _DENIED),
                "asked once in a run",
            ),
        ),
    ),
    ContentStrategy.INLINE: StandIns(
        (ContentStrategy.GIT_REFERENCE, ContentStrategy.OBJECT_STORAGE),
        _SKIP,
        (
            Fault("the file is over the inline limit", (INFEASIBLE,), _PLAN),
            Fault("the file encoded is over the room in a message", (INFEASIBLE,), _PLAN),
            Fault(
                "the log refuses the message as too large",
                (MessageTooLarge.reason,),
                "the batch is split down to the file",
            ),
        ),
    ),
}

CONSUMER: Final[Mapping[Carrier, StandIns[Carrier]]] = {
    Carrier.INLINE: StandIns(
        (Carrier.GIT_REFERENCE,),
        _LETTER,
        (
            Fault(
                "the content does not decode or is not what its checksum says",
                (InvalidEvent.reason, ChecksumMismatch.reason),
            ),
        ),
    ),
    Carrier.OBJECT_STORAGE: StandIns(
        (Carrier.GIT_REFERENCE,),
        _LETTER,
        (
            Fault(
                "the presigned link has expired or is refused",
                (_DENIED,),
                f"read by key, with the agent's own credentials: counted as `{LINK}` -> `{KEY}`",
            ),
            Fault("the agent may neither read the bucket nor follow the link", (NOT_CONFIGURED,)),
            Fault("the object is gone", (ContentMissing.reason,)),
            Fault("storage fails", (_DOWN, _OPEN), _BREAKER),
            Fault(
                "the object is not what its checksum says", (ChecksumMismatch.reason,), "fetched once more"
            ),
        ),
    ),
    Carrier.GIT_REFERENCE: StandIns(
        (Carrier.OBJECT_STORAGE,),
        _LETTER,
        (
            Fault("the Git host fails", (_DOWN, _OPEN), _BREAKER),
            Fault("the host has no such commit or blob", ("unknown_commit",)),
        ),
    ),
    Carrier.LOCAL_PATH: StandIns(
        (),
        "dead-lettered as `content_missing`, which says that v1 events carry paths",
        (Fault("the path of a v1 event is not on this machine", (ContentMissing.reason,)),),
    ),
}


def sources_of(carrier: Carrier) -> tuple[Carrier, ...]:
    """The sources to ask for a file, in order."""
    return (carrier, *CONSUMER[carrier].order)


def fallback(wanted: str, used: str, cause: str) -> str:
    """What summaries and log lines call a fallback."""
    return f"{wanted} -> {used}: {cause}"


def table() -> list[tuple[str, ...]]:
    """(side, strategy or source, fault, causes, first, stand-ins, at last) of every row."""
    return [*_rows("publisher", PUBLISHER), *_rows("consumer", CONSUMER)]


def _rows(side: str, matrix: Mapping[Name, StandIns[Name]]) -> Iterator[tuple[str, ...]]:
    for name, row in matrix.items():
        order = ", then ".join(f"`{other}`" for other in row.order) or "–"
        for fault in row.faults:
            causes = ", ".join(f"`{cause}`" for cause in fault.causes)
            yield side, f"`{name}`", fault.text, causes, fault.first or "–", order, row.at_last
