"""The wire contract: pydantic models and the codec, no I/O."""
