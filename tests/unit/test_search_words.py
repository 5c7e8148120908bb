"""Which words a name yields, and which queries find it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.results.words import beginnings, is_named, words_of_names, words_of_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("getUserName", "name username getusername"),
        ("get_user_name", "name username getusername"),
        ("HTTPServer", "server httpserver"),
        ("sha256sum", "sum 256sum sha256sum"),
        ("__init__", "init"),
        ("Überblick", "uberblick"),
        ("日本語", "日本語"),
        ("...", ""),
    ],
)
def test_a_name_is_cut_where_it_changes(name: str, words: str) -> None:
    assert words_of_names([name]) == words


def test_a_path_yields_the_words_of_every_component() -> None:
    assert words_of_path("src/userStore/get-name.py").split() == [
        *("src", "store", "userstore", "py", "namepy", "getnamepy")
    ]


@pytest.mark.parametrize(
    "query", ["user", "userN", "USERNAME", "user_name", "getuser", "get_user_name", "name get"]
)
def test_a_name_is_found_by_beginnings_of_its_words(query: str) -> None:
    assert all(is_named("getUserName", [asked]) for asked in beginnings(query))


@pytest.mark.parametrize("query", ["ser", "names", "username2", "set user"])
def test_a_name_is_not_found_by_anything_else(query: str) -> None:
    assert not all(is_named("getUserName", [asked]) for asked in beginnings(query))


@given(st.text().map(lambda text: "".join(text.replace("/", " ").split())))
def test_every_name_is_found_by_itself(name: str) -> None:
    assert all(is_named(name, [asked]) for asked in beginnings(name))


@given(st.text(st.characters()))
def test_words_are_letters_and_digits_that_can_be_encoded(text: str) -> None:
    for word in (*words_of_path(text).split(), *beginnings(text)):
        assert word.isalnum()
        word.encode()


def test_a_hostile_name_yields_few_words() -> None:
    words = words_of_names(["a_" * 100_000]).split()
    assert len(words) == 16
    assert max(map(len, words)) <= 16
