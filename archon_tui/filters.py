"""The filter language of every list: `py !test >100KB strategy:git`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from core.settings.option import parse_size

T = TypeVar("T")
Predicate = Callable[[T], bool]
_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_SIZE = re.compile(r"(>=|<=|>|<|=)(.+)")
_FIELD = re.compile(r"([a-z]+):(.*)", re.DOTALL)
_TERM = re.compile(r'(?:"[^"]*"?|[^\s"])+')


class FilterError(ValueError):
    """A term that makes no sense, in words for the person who types it."""


@dataclass(frozen=True)
class Fields(Generic[T]):
    """What can be filtered on: a word looks into `text`, `>1MB` at `size`, `name:word` into a named one.

    A named field matches where one of the words it yields begins with what was given.
    """

    text: Callable[[T], str]
    size: Callable[[T], float | None] | None = None
    named: Mapping[str, Callable[[T], str]] = field(default_factory=dict)


def parse(query: str, fields: Fields[T]) -> Predicate[T] | None:
    """The predicate of `query`, None for an empty one. Every term must hold; `!` turns a term round.

    A word is looked for anywhere, without regard to case unless it has a capital; quotes keep spaces in
    a term. Raises `FilterError`.
    """
    tests = [_term(term.replace('"', ""), fields) for term in _TERM.findall(query)]
    if len(tests) <= 1:
        return tests[0] if tests else None
    return lambda row: all(test(row) for test in tests)


def _term(term: str, fields: Fields[T]) -> Predicate[T]:
    if term.startswith("!") and len(term) > 1:
        wanted = _term(term[1:], fields)
        return lambda row: not wanted(row)
    if fields.size and (match := _SIZE.fullmatch(term)):
        return _by_size(match[1], match[2], fields.size)
    if match := _FIELD.fullmatch(term):
        return _by_field(match[1], match[2], fields)
    text = fields.text
    if term != term.lower():
        return lambda row: term in text(row)
    return lambda row: term in text(row).lower()


def _by_size(sign: str, given: str, size: Callable[[T], float | None]) -> Predicate[T]:
    try:
        limit = parse_size(given)
    except ValueError:
        raise FilterError(f"{sign}{given}: give a size such as >100KB") from None
    assert isinstance(limit, int)  # noqa: S101 - text in, bytes out
    compare = _COMPARE[sign]

    def test(row: T) -> bool:
        value = size(row)
        return value is not None and bool(compare(value, limit))

    return test


def _by_field(name: str, given: str, fields: Fields[T]) -> Predicate[T]:
    if name not in fields.named:
        known = ", ".join(f"{known}:" for known in fields.named) or "none"
        raise FilterError(f"there is no field {name}: here are {known}")
    getter, wanted = fields.named[name], given.lower()
    return lambda row: any(word.startswith(wanted) for word in getter(row).lower().split())
