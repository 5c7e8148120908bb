"""The terminal dashboard: `archon-tui`."""
