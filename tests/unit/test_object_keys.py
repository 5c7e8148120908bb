"""Object keys: content-addressed, safe in every storage, and recognised only in that form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.safety.path import check_relative_path
from core.storage.keys import checksum_of, object_key, project_slug

CHECKSUM = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("demo", "demo"),
        ("My Project (v2)", "my-project-v2"),
        ("..", "project"),
        ("проект", "project"),
        ("x" * 100, "x" * 63),
        ("-a-", "a"),
    ],
)
def test_project_slugs(name: str, slug: str) -> None:
    assert project_slug(name) == slug


@pytest.mark.parametrize(
    ("path", "extension"),
    [
        ("data/big.csv", "csv"),
        ("A.TAR.GZ", "gz"),
        ("Makefile", "bin"),
        (".gitignore", "bin"),
        ("x.c++", "c"),
        ("a.\udcff", "bin"),
        ("e." + "x" * 40, "x" * 16),
        ("dir.d/file", "bin"),
    ],
)
def test_extension_slugs(path: str, extension: str) -> None:
    assert object_key("demo", CHECKSUM, path) == f"projects/demo/{'ab' * 32}.{extension}"


@given(st.text(max_size=100), st.text(max_size=60))
def test_every_key_is_plain_and_names_its_content(project: str, path: str) -> None:
    key = object_key(project, CHECKSUM, path)
    assert key.isascii()
    assert check_relative_path(key) == key
    assert checksum_of(key) == CHECKSUM


@pytest.mark.parametrize(
    "key",
    [
        "",
        "projects/demo/x.csv",
        f"projects/demo/{'ab' * 32}",
        f"projects/demo/{'AB' * 32}.csv",
        f"projects/../{'ab' * 32}.csv",
        f"projects/demo/../{'ab' * 32}.csv",
        f"secrets/demo/{'ab' * 32}.csv",
        f"projects/demo/{'ab' * 32}.csv\n",
        f"/projects/demo/{'ab' * 32}.csv",
    ],
)
def test_other_keys_name_nothing(key: str) -> None:
    assert checksum_of(key) is None
