"""Names on the wire that both sides agree on."""

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
