"""Patterns of `.gitignore` and `.gitattributes`, in regular expressions that cannot blow up.

pathspec translates Git's patterns faithfully, but a stranger's `*a*a*a*a*b` then backtracks for
hours. Every wildcard but the last may stop at the first place where what follows it matches: that
is never worse (the rest has more room), so it goes into an atomic group and is tried once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from core.safety.display import display

FILE_LIMIT = 1 << 20
"""Bytes read of a pattern file; what follows is not honoured."""

_LINE_LIMIT = 2048
_STAR = "[^/]*"
_ANY_DIRECTORIES = "(?:/.+)?"
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
        if pattern.rstrip().endswith("/**") and regex.endswith("/"):
            regex += "."  # `directory/**` is what is inside, not the directory
        return "(?s)" + linear(regex).replace("|$)", r"|\Z)"), include


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


def compile_ignore(lines: Iterable[str]) -> GitIgnoreSpec | None:
    """The patterns of one `.gitignore`, None if it has none; a malformed line is left out, as Git does."""
    patterns = [pattern for line in lines if (pattern := _compiled(line)) is not None]
    return GitIgnoreSpec(patterns, backend="simple") if patterns else None


def compile_attribute_pattern(pattern: str) -> re.Pattern[str] | None:
    """The regular expression of a `.gitattributes` pattern, None if it can match no file."""
    if pattern.startswith("!") or pattern.endswith("/"):
        return None
    compiled = _compiled(pattern)
    return compiled.regex if compiled is not None else None


def is_exact(match: re.Match[str]) -> bool:
    """Whether the path itself matched, and not only a directory above it."""
    return not match.groupdict().get("ps_d")


def pattern_lines(content: bytes) -> list[str]:
    """The lines of a pattern file: LF or CRLF, an initial byte order mark is none of them."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return [line.removesuffix("\r") for line in text.split("\n")]


def _compiled(line: str) -> LinearPattern | None:
    if len(line) > _LINE_LIMIT:
        _logger.warning("a pattern of %d characters is not honoured", len(line))
        return None
    try:
        pattern = LinearPattern(line)
    except (ValueError, re.error):
        _logger.warning("the malformed pattern %s is not honoured", display(line, 80))
        return None
    return pattern if pattern.include is not None else None
