"""Names on the wire that both sides agree on, and how long what is sent under them is kept."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "dev.archon-intelligence"
REQUESTED_V1 = f"{PREFIX}.tree.index-project-requested.v1"
REQUESTED_V2 = f"{PREFIX}.tree.index-project-requested.v2"
COMPLETED = f"{PREFIX}.tree.index-project-completed.v1"
FAILED = f"{PREFIX}.tree.index-project-failed.v1"
FILE_INTELLIGENCE = f"{PREFIX}.tree.file-intelligence-generated.v1"
AGENT_STATUS = f"{PREFIX}.agent.status.v1"
CONSUMER_GROUP = "archon-intelligence"

REQUEST_TOPICS = (REQUESTED_V1, REQUESTED_V2)


def dead_letter_topic(topic: str) -> str:
    """The dead-letter topic of `topic`."""
    return f"{topic}.dlq"


def redriven_topic(dead_letters: str) -> str:
    """The topic that marks which letters of a dead-letter topic were sent again."""
    return f"{dead_letters}.redriven"


@dataclass(frozen=True, slots=True)
class Retention:
    """A message may go `seconds` after it was written.

    With `compacted` the newest message of every key stays for ever, and a tombstone for `seconds`.
    With `until_read` the embedded log also keeps what a group has not committed, or no group ever read.
    """

    seconds: float
    compacted: bool = False
    until_read: bool = False


_DAY_S = 24 * 60 * 60.0
_RETENTIONS = {
    COMPLETED: Retention(_DAY_S),
    FAILED: Retention(_DAY_S),
    FILE_INTELLIGENCE: Retention(_DAY_S, compacted=True),
    AGENT_STATUS: Retention(_DAY_S, compacted=True),
}


def retention(topic: str) -> Retention:
    """How long `topic` keeps messages; a topic without a rule of its own is kept as requests are."""
    if topic.endswith((".dlq", ".dlq.redriven")):
        return Retention(30 * _DAY_S)
    return _RETENTIONS.get(topic, Retention(7 * _DAY_S, until_read=True))
