"""The event log on Kafka, by aiokafka. Imported only where Kafka is configured."""

from core.log.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
