"""The headless face: `archon-agent`."""
