"""The words by which paths and symbol names are found.

A name is cut where its case, its digits or its separators change, and every rest from a cut to the end
is a word: `getUserName` yields `getusername`, `username` and `name`. A search for the beginnings of words
so finds it by `user`, `userN` and `get_user` alike, and words are letters and digits only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

# A word, capitalised or not; a run of capitals, without the one that begins the next word; digits; other
# letters; and what stands between two names.
_PARTS = re.compile(r"[a-z]+|[A-Z](?:[a-z]+|[A-Z]*(?![a-z]))|[0-9]+|\0|[^\W0-9A-Za-z_]+")
_END = "\0"
_MOST_PARTS = 16
_LONGEST_NAME = 256


def words_of_path(path: str) -> str:
    """The words of every component of `path`, separated by spaces."""
    return words_of_names(path.split("/"))


def words_of_names(names: Iterable[str]) -> str:
    """The words of `names`, each once, separated by spaces; of a long name only the beginning counts."""
    words: dict[str, None] = {}
    for parts in _parts(names):
        word = ""
        for part in reversed(parts):
            word = part + word
            words[word] = None
    return " ".join(words)


def beginnings(query: str) -> list[str]:
    """What a person's query asks for: each is the beginning of a word that must occur."""
    asked = map("".join, _parts(query.replace("/", " ").split()))
    return [beginning for beginning in dict.fromkeys(asked) if beginning]


def is_named(name: str, asked: Iterable[str]) -> bool:
    """Whether a word of `name` begins with any of `asked`."""
    return any(word.startswith(beginning) for word in words_of_names([name]).split() for beginning in asked)


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    """The parts of each name in lower case: one search through all of them, as there are many and short."""
    text = _END.join([name[:_LONGEST_NAME] for name in names])
    if not text.isascii():
        # Accents off: who searches for "uber" finds "über".
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    for name in " ".join(_PARTS.findall(text)).lower().split(_END):
        yield name.split()[:_MOST_PARTS]
