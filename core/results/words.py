"""The words by which paths and symbol names are found.

A name is cut where its case, its digits or its separators change, and every rest from a cut to the end
is a word: `getUserName` yields `getusername`, `username` and `name`. A search for the beginnings of words
so finds it by `user`, `userN` and `get_user` alike, and words are letters and digits only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# An acronym before a capitalised word, a word in any case, a run of capitals, digits, other letters.
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\W0-9A-Za-z_]+")
_MOST_PARTS = 16
_LONGEST_NAME = 256


def words_of_path(path: str) -> str:
    """The words of every component of `path`, separated by spaces."""
    return words_of_names(path.split("/"))


def words_of_names(names: Iterable[str]) -> str:
    """The words of `names`, each once, separated by spaces; of a long name only the beginning counts."""
    return " ".join(dict.fromkeys(word for name in names for word in _words(name)))


def beginnings(query: str) -> list[str]:
    """What a person's query asks for: each is the beginning of a word that must occur."""
    asked = ("".join(_parts(piece)) for piece in query.replace("/", " ").split())
    return [beginning for beginning in dict.fromkeys(asked) if beginning]


def is_named(name: str, asked: Iterable[str]) -> bool:
    """Whether a word of `name` begins with any of `asked`."""
    return any(word.startswith(beginning) for word in _words(name) for beginning in asked)


@lru_cache(maxsize=1 << 14)
def _words(name: str) -> tuple[str, ...]:
    word = ""
    words: list[str] = []
    for part in reversed(_parts(name)):
        word = part + word
        words.append(word)
    return tuple(words)


def _parts(name: str) -> list[str]:
    name = name[:_LONGEST_NAME]
    if not name.isascii():
        # Accents off: who searches for "uber" finds "über".
        name = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return [part.lower() for part in _PARTS.findall(name)[:_MOST_PARTS]]
