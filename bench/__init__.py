"""Benchmarks: each prints ratios to floors measured in the same run. `python -m bench` runs them."""
