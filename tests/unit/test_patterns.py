"""Patterns mean what Git means by them, and no pattern can keep a scan from ending."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from core.repository.attributes import parse_attributes
from core.repository.ignore import IgnoreRules
from core.repository.patterns import compile_pattern, linear, matches
from tests.git_repositories import WorkingRepository, listing, paths

SEGMENTS = st.sampled_from(
    ["*", "**", "?", "a", "b", "ab", "a*b", "*a*", "*a*b*", "[ab]", "[!a]*a", "***", "*?*a"]
)
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)
PATHS = st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=6).map("/".join)


@given(PATTERNS, PATHS)
@example("**/a*b/**/a", "a/ab/x/a")
@example("a/**/*a*b/**/b", "a/aab/b")
@example("**/a/**/b/**/c", "a/b/a/c/b/c")
def test_linear_expressions_match_the_same_paths(pattern: str, path: str) -> None:
    regex, _ = GitIgnoreSpecPattern.pattern_to_regex(pattern)
    if regex is None:
        return
    for subject in (path, path + "/"):
        assert bool(re.search(linear(regex), subject)) == bool(re.search(regex, subject))


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("*a" * 40 + "b", "a" * 255),
        ("?*" * 40 + "b", "a" * 255),
        ("[a]*" * 40 + "b", "a" * 255),
        ("**/a/" * 40 + "b", "a/" * 2000 + "c"),
        ("**/*a*a/" * 20 + "b", "aaa/" * 1000 + "c"),
        ("x/" + "**/a*a/" * 20 + "b", "x/" + "aaa/" * 1000 + "c"),
        ("*/" * 100 + "b", "a/" * 2000 + "c"),
    ],
)
def test_no_pattern_takes_long(line: str, path: str) -> None:
    pattern = compile_pattern(line)
    assert pattern is not None
    started = time.perf_counter()
    assert not matches(pattern, path)
    assert time.perf_counter() - started < 5  # pathspec's own expressions take centuries


@pytest.mark.parametrize(
    ("line", "path", "expected"),
    [
        ("foo", "foo", True),
        ("foo", "a/foo", True),
        ("foo", "foo/bar", False),  # the directory matches; callers do not enter it
        ("foo/", "foo/", True),
        ("foo/", "foo", False),
        ("/foo", "a/foo", False),
        ("a/foo", "b/a/foo", False),
        ("foo/**", "foo/", False),
        ("foo/**", "foo/x", True),
        ("foo/**/", "foo/x", False),
        ("foo/**/", "foo/x/", True),
        ("*.py", "new\nline.py", True),
        ("**/x", "new\nline/x", True),
        ("foo", "foo\n", False),
        ("caf\udce9", "caf\udce9", True),
    ],
)
def test_a_path_matches_itself_only(line: str, path: str, expected: bool) -> None:
    pattern = compile_pattern(line)
    assert pattern is not None
    assert matches(pattern, path) is expected


@pytest.mark.parametrize("line", ["", "# note", "   ", "/", "trailing\\", "[z-a]", "[", "x" * 3000])
def test_lines_that_are_no_pattern(line: str) -> None:
    assert compile_pattern(line) is None


def test_the_last_line_of_the_nearest_file_decides() -> None:
    rules = (
        IgnoreRules().with_file("", b"*.log\r\n!keep.log\r\n").with_file("sub/", b"\xef\xbb\xbfkeep.log\n")
    )
    assert rules.ignored("a.log")
    assert not rules.ignored("keep.log")
    assert rules.ignored("sub/keep.log")
    assert not rules.ignored("sub/a.txt")


ATOMS = [
    "*",
    "?",
    "a",
    "b",
    "ab",
    "foo",
    "*.log",
    "x.*",
    "**",
    "[ab]",
    "[!a]",
    "*o*",
    "f*o",
    "\\a",
    ".h",
    "a*b*",
]


def _random_line(source: random.Random) -> str:
    line = "/".join(source.choice(ATOMS) for _ in range(source.randint(1, 3)))
    line = source.choice(["", "", "", "/"]) + line + source.choice(["", "", "", "/", "/**", "/**/", "/**/a"])
    return source.choice(["", "", "", "!"]) + line


@pytest.mark.parametrize("seed", range(25))
def test_git_ignores_the_same_files(repository: WorkingRepository, seed: int) -> None:
    source = random.Random(seed)
    names = ["a", "b", "ab", "foo", "x.log", "foo.log", ".h", "a b", "A"]
    directories = {Path(*source.choices(names, k=source.randint(0, 3))) for _ in range(12)}
    for directory in directories:
        if not any((repository.path / parent).is_file() for parent in (directory, *directory.parents)):
            for name in source.sample(names, 2):
                if not (repository.path / directory / name).exists():
                    repository.write(str(directory / name))
            if directory == Path() or source.random() < 0.4:
                lines = [_random_line(source) for _ in range(source.randint(1, 4))]
                repository.write(str(directory / ".gitignore"), "\n".join(lines).encode())
    wanted = repository.git("ls-files", "-z", "--others", "--exclude-standard").rstrip("\0").split("\0")
    assert paths(listing(repository.path, include_untracked=True)) == sorted(filter(None, wanted))


@pytest.mark.parametrize("seed", range(10))
def test_git_gives_files_the_same_attributes(repository: WorkingRepository, seed: int) -> None:
    source = random.Random(seed)
    lines = []
    for _ in range(8):
        pattern = _random_line(source).removeprefix("!")
        pattern = f'"{pattern.replace(chr(92), chr(92) * 2)}"' if source.random() < 0.3 else pattern
        lines.append(
            f"{pattern} {source.choice(['linguist-language', '!linguist-language', '-linguist-language'])}"
        )
        lines[-1] += (
            "" if "-linguist" in lines[-1] or "!" in lines[-1].rpartition(" ")[2] else f"=L{len(lines)}"
        )
    repository.write(".gitattributes", "\n".join(lines).encode())
    rules = parse_attributes("\n".join(lines).encode())
    for _ in range(40):
        path = "/".join(source.choices(["a", "b", "ab", "foo", "x.log", ".h"], k=source.randint(1, 4)))
        answer = repository.git("check-attr", "linguist-language", "--", path).rpartition(": ")[2]
        values = {name: value for rule in rules if rule.matches(path) for name, value in rule.values.items()}
        ours = _spoken(values.get("linguist-language"))
        assert ours == answer, (lines, path)


def _spoken(value: str | bool | None) -> str:
    """A value as `git check-attr` says it."""
    if isinstance(value, str):
        return value
    return {None: "unspecified", False: "unset", True: "set"}[value]
