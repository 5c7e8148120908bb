"""McCabe's cyclomatic complexity: which captures are decision points."""

from __future__ import annotations

from bisect import bisect_right

from core.intelligence.symbols import Captures

_SHORT_CIRCUIT = frozenset({b"&&", b"||"})


def decision_points(text: bytes, captures: Captures) -> list[int]:
    """The byte where each decision point of the file starts, in order."""
    points = [node.start_byte for node in captures.get("decision", ())]
    points += [
        node.start_byte
        for node in captures.get("decision.operator", ())
        if text[node.start_byte : node.end_byte] in _SHORT_CIRCUIT
    ]
    excluded = {node.start_byte for node in captures.get("decision.not", ())}
    for node in captures.get("decision.wildcard", ()):
        if text[node.start_byte : node.end_byte] == b"*":
            excluded.add(node.start_byte)
    if excluded:
        points = [point for point in points if point not in excluded]
    if ranges := sorted(
        (node.start_byte, node.end_byte) for node in captures.get("decision.none_within", ())
    ):
        starts = [start for start, _ in ranges]
        points = [point for point in points if not _within(point, starts, ranges)]
    points.sort()
    return points


def _within(point: int, starts: list[int], ranges: list[tuple[int, int]]) -> bool:
    index = bisect_right(starts, point) - 1
    return index >= 0 and point < ranges[index][1]
