"""Work beside the screen."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from textual.dom import DOMNode


def in_background(
    node: DOMNode,
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    group: str = "default",
    only: bool = False,
) -> None:
    """Run `work` until it ends or `node` goes; with `only`, what ran in the same group before is cancelled.

    It takes the function and not its coroutine: one that is cancelled before it began is never made.
    """
    node.run_worker(cast("Any", work), group=group, exclusive=only)
