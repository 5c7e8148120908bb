"""Unpack files: each fetcher mirrors the strategy of the same name."""
