"""Pack files: each strategy mirrors the fetcher of the same name."""
