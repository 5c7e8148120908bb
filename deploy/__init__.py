"""What runs archon in production, and what watches it."""
