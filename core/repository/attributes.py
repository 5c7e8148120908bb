"""`.gitattributes`: what a repository says about the language and the nature of its files.

Rules: https://git-scm.com/docs/gitattributes and GitHub linguist's `linguist-*` attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from core.repository.patterns import LinearPattern, compile_pattern, matches, pattern_lines
from core.safety.path import from_bytes, to_bytes

FILE_NAME = b".gitattributes"

_LINGUIST = frozenset(["linguist-language", "linguist-generated", "linguist-vendored"])
_CONVERTING = frozenset(["text", "crlf", "eol", "ident", "filter", "working-tree-encoding"])
_RELEVANT = _LINGUIST | _CONVERTING
_LINE = re.compile(r'[ \t]*(?:"((?:[^"\\]|\\.)*)"|(\S+))[ \t]+(.*)', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2}|.)", re.DOTALL)
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

Value = str | bool | None


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is said of one file. `converted`: Git may store other bytes than the work tree holds.

    `lfs`: Git stores a pointer, and an LFS server the content.
    """

    language: str | None = None
    generated: bool | None = None
    vendored: bool | None = None
    converted: bool = False
    lfs: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a file in `directory` (`""` or ending in a slash)."""

    directory: str
    pattern: LinearPattern
    values: dict[str, Value]

    def matches(self, path: str) -> bool:
        return matches(self.pattern, path[len(self.directory) :])


class AttributeRules:
    """The attributes of files that come in path order.

    `load` gives the content of the `.gitattributes` in a directory, or None; it is asked once per
    directory on the way. `weakest` and `strongest` are rules from outside the tree; `converts` says
    whether text without a `text` attribute is converted (`core.autocrlf`).
    """

    def __init__(
        self,
        load: Callable[[bytes], bytes | None],
        *,
        weakest: tuple[Rule, ...] = (),
        strongest: tuple[Rule, ...] = (),
        converts: bool = False,
    ) -> None:
        self._load = load
        self._strongest = strongest
        self._converts = converts
        self._default = Attributes(converted=converts)
        self._directory: bytes | None = None
        self._levels: list[tuple[bytes, tuple[Rule, ...]]] = []
        self._weakest = weakest
        self._rules: tuple[Rule, ...] = ()

    def of(self, directory: bytes, path: str) -> Attributes:
        """The attributes of `path`, which lies in `directory` (no trailing slash)."""
        if directory != self._directory:
            self._enter(directory)
        if not self._rules:
            return self._default
        values: dict[str, Value] = {}
        for rule in self._rules:
            if rule.matches(path):
                values.update(rule.values)
        return self._resolve(values) if values else self._default

    def _enter(self, directory: bytes) -> None:
        while self._levels and not _is_within(directory, self._levels[-1][0]):
            self._levels.pop()
        if not self._levels:
            self._push(b"")
        below = self._levels[-1][0]
        missing = directory[len(below) + 1 if below else 0 :]
        for name in missing.split(b"/") if missing else ():
            below = below + b"/" + name if below else name
            self._push(below)
        self._directory = directory
        inside = (rule for _, rules in self._levels for rule in rules)
        self._rules = (*self._weakest, *inside, *self._strongest)

    def _push(self, directory: bytes) -> None:
        content = self._load(directory)
        prefix = from_bytes(directory) + "/" if directory else ""
        self._levels.append((directory, parse_attributes(content, prefix) if content else ()))

    def _resolve(self, values: dict[str, Value]) -> Attributes:
        language = values.get("linguist-language")
        return Attributes(
            language=language if isinstance(language, str) else None,
            generated=_flag(values.get("linguist-generated")),
            vendored=_flag(values.get("linguist-vendored")),
            converted=self._converted(values),
            lfs=values.get("filter") == "lfs",
        )

    def _converted(self, values: dict[str, Value]) -> bool:
        if any(values.get(name) for name in ("filter", "ident", "working-tree-encoding")):
            return True
        text = values.get("text", values.get("crlf"))
        if text is None:
            return self._converts or bool(values.get("eol"))
        return text is not False


def parse_attributes(content: bytes, directory: str = "") -> tuple[Rule, ...]:
    """The rules of a `.gitattributes` file that say something of interest, in order."""
    rules = []
    for line in pattern_lines(content):
        match = _LINE.match(line)
        if match is None or (match[2] or "").startswith(("#", "[attr]")):
            continue
        values = dict(value for word in match[3].split() for value in _values(word) if value[0] in _RELEVANT)
        pattern = match[2] if match[1] is None else _unquote(match[1])
        compiled = compile_pattern(pattern) if values else None
        if compiled is not None and compiled.include:  # negative ones are forbidden here
            rules.append(Rule(directory, compiled, values))
    return tuple(rules)


def _values(word: str) -> list[tuple[str, Value]]:
    if word == "binary":  # a macro that is built into Git
        return [("text", False)]
    if word.startswith("-"):
        return [(word[1:], False)]
    if word.startswith("!"):
        return [(word[1:], None)]
    name, equals, value = word.partition("=")
    return [(name, value if equals else True)]


def _unquote(pattern: str) -> str:
    """A pattern in C-style quotes, without the quotes."""
    return from_bytes(_ESCAPE.sub(_unescape, to_bytes(pattern)))


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    return bytes([int(escaped, 8)]) if len(escaped) == 3 else _ESCAPED.get(escaped, escaped)


def _flag(value: Value) -> bool | None:
    return value if isinstance(value, bool) or value is None else value.lower() == "true"


def _is_within(directory: bytes, ancestor: bytes) -> bool:
    return not ancestor or directory == ancestor or directory.startswith(ancestor + b"/")
