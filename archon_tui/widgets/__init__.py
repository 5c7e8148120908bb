"""Widgets, one a file. What they show passes `core.safety.display` inside them, never outside."""
