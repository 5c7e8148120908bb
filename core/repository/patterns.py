"""Patterns of `.gitignore` and `.gitattributes`, in regular expressions that cannot blow up.

pathspec translates Git's patterns faithfully, but a stranger's `*a*a*a*a*b` then backtracks for
hours. Every wildcard but the last may stop at the first place where what follows it matches: that
is never worse (the rest has more room), so it goes into an atomic group and is tried once.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from core.safety.display import display
from core.safety.path import from_bytes

FILE_LIMIT = 1 << 20
"""Bytes read of a pattern file; what follows is not honoured."""

_LINE_LIMIT = 2048
_LINES_LIMIT = 10_000
_STAR = "[^/]*"
_ANY_DIRECTORIES = "(?:/.+)?"
_DIRECTORY_MARK = "(?P<ps_d>/)"
_LEADING_DIRECTORIES = "^(?:.+/)?"
_logger = logging.getLogger(__name__)


class LinearPattern(GitIgnoreSpecPattern):
    """pathspec's pattern, without exponential or high polynomial backtracking, and newline-proof."""

    __slots__ = ()

    @classmethod
    def pattern_to_regex(cls, pattern: Any) -> tuple[Any, bool | None]:
        """As pathspec's; str only."""
        regex, include = super().pattern_to_regex(pattern)
        if regex is None:
            return None, include
        return "(?s)" + _exact(pattern.rstrip(), linear(regex)).replace("|$)", r"|\Z)"), include


def _exact(pattern: str, regex: str) -> str:
    """Where pathspec is content with a directory above the path, ask for the path itself."""
    if regex == _DIRECTORY_MARK:
        return regex + r"\Z"  # any directory
    if pattern.endswith("/**") and regex.endswith("/"):
        return regex + "."  # what is inside, not the directory
    if pattern.endswith("/**/") and regex.endswith(_DIRECTORY_MARK):
        return regex.removesuffix(_DIRECTORY_MARK) + "/.+" + _DIRECTORY_MARK  # directories inside
    return regex


def linear(regex: str) -> str:
    """`regex`, as pathspec made it, with every wildcard but the last of its kind made atomic."""
    first, *rest = regex.split(_ANY_DIRECTORIES)
    if not rest:
        return _atomic_stars(first)
    if first.startswith(_LEADING_DIRECTORIES):
        first = f"^(?>(?:.+?/)??{_atomic_stars(first.removeprefix(_LEADING_DIRECTORIES))}(?=/))"
    else:
        first = _atomic_stars(first)
    middle = [f"(?>(?:/.+?)??{_atomic_stars(section)}(?=/))" for section in rest[:-1]]
    return first + "".join(middle) + _ANY_DIRECTORIES + _atomic_stars(rest[-1])


def _atomic_stars(regex: str) -> str:
    first, *rest = regex.split(_STAR)
    if not rest:
        return regex
    result = first
    for part in rest[:-1]:
        # A slash pins the star to the end of its segment: there is only one place to stop.
        ends_segment = "/" in part.replace("[^/]", "")
        result += f"{_STAR}{part}" if ends_segment else f"(?>{_STAR}?{part})"
    return result + _STAR + rest[-1]


def compile_pattern(line: str) -> LinearPattern | None:
    """The pattern of one line, None for a comment; a malformed one is left out, as Git does."""
    if len(line) > _LINE_LIMIT:
        _logger.warning("a pattern of %d characters is not honoured", len(line))
        return None
    try:
        pattern = LinearPattern(line)
    except (ValueError, re.error):
        _logger.warning("the malformed pattern %s is not honoured", display(line, 80))
        return None
    return pattern if pattern.include is not None else None


def matches(pattern: LinearPattern, path: str) -> bool:
    """Whether `path` itself (a directory's ends in a slash), not just a directory above it, matches."""
    match = pattern.regex.search(path) if pattern.regex is not None else None
    if match is None:
        return False
    return match.end() == len(path) if match.groupdict().get("ps_d") else True


def pattern_lines(content: bytes) -> list[str]:
    """The first 10,000 lines of a pattern file: LF or CRLF, after a byte order mark if there is one."""
    lines = from_bytes(content.removeprefix(b"\xef\xbb\xbf")).split("\n", _LINES_LIMIT)
    return [line.removesuffix("\r") for line in lines[:_LINES_LIMIT]]
