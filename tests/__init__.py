"""The tests. `python -m tests.run` runs them all, with coverage and its gates."""
