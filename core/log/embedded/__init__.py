"""The embedded log: Kafka's ideas on one SQLite file, for the processes of one machine."""

from core.log.embedded.log import EmbeddedLog

__all__ = ["EmbeddedLog"]
