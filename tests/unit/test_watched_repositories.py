"""`[[watch.repositories]]`: what may stand there, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.assembly.watching import watched_repositories
from core.errors import ConfigurationError
from core.settings import Settings, load
from core.watching.model import Watched

TABLE = """
[watch]
interval = "5m"

[[watch.repositories]]
git_url = "https://git.example.com/Team/shop.git"
branch = "release/1"
credentials_ref = "env:SHOP_TOKEN"
interval = "10s"

[[watch.repositories]]
git_url = "git@git.example.com:team/shop.git"
project_name = "shop over ssh"
branch = "refs/heads/main"
"""


def settings(tmp_path: Path, toml: str) -> Settings:
    (tmp_path / "archon.toml").write_text(toml)
    return load({"home": str(tmp_path)}, environ={}).settings


def test_entries_become_what_is_watched(tmp_path: Path) -> None:
    assert watched_repositories(settings(tmp_path, TABLE)) == [
        Watched("https://git.example.com/Team/shop.git", "shop", "release/1", "env:SHOP_TOKEN", 10.0),
        Watched("git@git.example.com:team/shop.git", "shop over ssh", "main", None, 300.0),
    ]


def test_nothing_is_watched_by_default(tmp_path: Path) -> None:
    assert watched_repositories(settings(tmp_path, "")) == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('git_url = "http://git.example.com/a"', "entry 1: http://git.example.com/a is not allowed"),
        ('git_url = "https://u:secret@git.example.com/a"', "carries a user name or password"),
        ('git_url = "ext::sh -c id"', "not a Git URL"),
        ('git_url = "--upload-pack=x"', "not a Git URL"),
        ('git_url = "https://127.0.0.1/a"', "not public"),
        ('git_url = "https://h.example/a"\nbranch = "--x"', "is not a branch"),
        ('git_url = "https://h.example/a"\nbranch = ""', "is not a branch"),
        ('git_url = "https://h.example/a"\ncredentials_ref = "hunter2"', "not a credential reference"),
        ('git_url = "https://h.example/a"\nproject_name = ""', "a project name has"),
        ('git_url = "https://h.example/a"\ninterval = "10ms"', "repositories.0.interval"),
        ('git_url = "https://h.example/a"\ninterval = "often"', "give a duration"),
        ('git_url = "https://h.example/a"\nbrunch = "main"', "no setting watch.repositories.0.brunch"),
        ('branch = "main"', "watch.repositories.0.git_url: Field required"),
    ],
)
def test_a_wrong_entry_is_named_without_its_secret(tmp_path: Path, entry: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        watched_repositories(settings(tmp_path, f"[[watch.repositories]]\n{entry}\n"))
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_two_repositories_are_not_one_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="entry 2: another one is the project shop too") as caught:
        watched_repositories(settings(tmp_path, TABLE.replace('project_name = "shop over ssh"', "")))
    assert "project_name" in (caught.value.hint or "")
