"""`python -m bench [NAME…]`: run the benchmarks that have a `main`, all or the named ones."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import bench


def main(names: list[str]) -> None:
    """Run each benchmark module; arguments after `--` go to it."""
    wanted, _, arguments = " ".join(names).partition("--")
    for info in pkgutil.iter_modules(bench.__path__):
        if info.name.startswith("_") or (wanted.split() and info.name not in wanted.split()):
            continue
        module = importlib.import_module(f"bench.{info.name}")
        if hasattr(module, "main"):
            print(f"== {info.name}", flush=True)
            module.main(arguments.split())


if __name__ == "__main__":
    main(sys.argv[1:])
