"""The event log: one protocol, two adapters, and the tracking of offsets."""
