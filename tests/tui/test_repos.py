"""Repos: what is found, adding by path and Git URL, and what is remembered."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from textual.pilot import Pilot
from textual.widgets import Input

from archon_tui.app import ArchonApp
from archon_tui.chosen import Chosen, chosen, wrong_source
from archon_tui.models.repos import Recent, discover
from archon_tui.models.run import RunState
from archon_tui.screens.dialogs import Ask
from archon_tui.screens.live import LivePage
from core.settings import load
from tests.bare_repositories import BareRepository
from tests.servers.git_http import GitHttpServer
from tests.tui.driving import page, session_for, until, words

TOKEN = "tok-3f9a0c"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHttpServer]:
    """A Git host with one repository."""
    served = tmp_path / "served"
    served.mkdir()
    BareRepository(served / "shop.git").commit({"app.py": b"x = 1\n", "lib/a.go": b"package lib\n"})
    with GitHttpServer(served) as running:
        yield running


def verdicts(pilot: Pilot[Any]) -> list[str]:
    return [words(pilot.app.screen.query_one(f"#verdict-{place}").lines) for place in (0, 1)]  # type: ignore[attr-defined]


async def type_in(pilot: Pilot[Any], field: int, text: str) -> None:
    """As if pasted: key by key would take a test's whole time."""
    list(pilot.app.screen.query(Input))[field].value = text
    await pilot.pause()


async def test_a_git_url_is_checked_as_typed_planned_run_and_remembered(
    tmp_path: Path, host: GitHttpServer
) -> None:
    flags = {"git.schemes": "https,http", "git.networks": "127.0.0.0/8"}
    session = session_for(tmp_path / "home", flags=flags)
    app = ArchonApp(session)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: page(pilot).is_mounted)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Ask) and app.screen.query(Input))
        for typed, reason in (
            (str(tmp_path / "nowhere"), "there is no such directory"),
            ("ftp://host/x.git", "only http, https"),
            ("https://me:secret@host/x.git", "carries a user name or password"),
        ):
            await type_in(pilot, 0, typed)
            assert reason in verdicts(pilot)[0]
        await type_in(pilot, 1, "ghp_thesecretitself")
        assert "that is not a credential reference" in verdicts(pilot)[1]
        assert "ghp_" not in verdicts(pilot)[1]
        await type_in(pilot, 0, host.url("shop.git"))
        await type_in(pilot, 1, "")
        assert ["✓" in verdict for verdict in verdicts(pilot)] == [True, True]
        await pilot.press("enter", "enter")
        await until(pilot, lambda: page(pilot).repos.current)
        assert page(pilot).repos.current.name == "shop"
        await pilot.press("enter")
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        assert session.plan
        assert [(row.path, str(row.strategy)) for row in session.plan.rows] == [
            ("app.py", "git_reference"),
            ("lib/a.go", "git_reference"),
        ]
        assert session.plan.commit
        await pilot.press("R", "y")
        await until(pilot, lambda: session.run and session.run.state.is_over)
        assert session.run
        assert (session.run.state, session.run.model.counts["analyzed"]) == (RunState.DONE, 2)
        await pilot.press("1", "r")
        await until(pilot, lambda: page(pilot).repos.current and page(pilot).repos.current.last)
        assert page(pilot).repos.current.last.header.path == host.url("shop.git")
    await session.close()
    assert Recent(session.data_file("recent.json")).read() == [chosen(host.url("shop.git"))]


async def test_a_private_repository_is_planned_with_a_reference_to_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    BareRepository(served / "shop.git").commit({"app.py": b"x = 1\n"})
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    flags = {"git.networks": "127.0.0.0/8", "git.ca_file": tmp_path / "ca.pem"}
    with GitHttpServer(served, tokens={"shop.git": TOKEN}, certificate=context) as host:
        for reference, state in ((None, "failed"), ("env:SHOP_TOKEN", "ready")):
            session = session_for(tmp_path / "home", flags=flags)
            session.choose(chosen(host.url("shop.git"), reference))
            async with ArchonApp(session, first="plan").run_test(size=(120, 36)) as pilot:
                await until(pilot, lambda plan=session: plan.plan and plan.plan.state != "planning")  # type: ignore[misc]
                assert session.plan
                assert session.plan.state == state, session.plan.message
                assert TOKEN not in session.plan.message
            await session.close()


def test_what_was_used_is_remembered_newest_first_with_its_reference(tmp_path: Path) -> None:
    recent = Recent(tmp_path / "recent.json")
    recent.add(chosen("/a"))
    recent.add(chosen("https://host/b.git", "env:B"))
    recent.add(chosen("/a"))
    assert recent.read() == [Chosen("/a", "a"), Chosen("https://host/b.git", "b", "env:B")]
    recent.forget("/a")
    assert json.loads((tmp_path / "recent.json").read_text()) == [
        {"where": "https://host/b.git", "credential_ref": "env:B"}
    ]


@pytest.mark.parametrize("text", ["", "{", "{}", '[1, null, {"where": 2}, {"credential_ref": "env:X"}, ""]'])
def test_a_damaged_list_is_an_empty_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "recent.json"
    file.write_text(text)
    assert Recent(file).read() == []


def test_a_named_directory_counts_only_where_no_repository_is_under_it(tmp_path: Path) -> None:
    plain, full = tmp_path / "plain", tmp_path / "full"
    (plain / "src").mkdir(parents=True)
    (full / "repo" / ".git").mkdir(parents=True)
    assert list(discover([plain, full], lambda: False)) == [plain, full / "repo"]


def test_what_cannot_be_looked_into_is_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / ".git").mkdir(parents=True)
    (tmp_path / "locked").mkdir()
    stat = os.stat

    def refusing(path: Any, *args: Any, **more: Any) -> os.stat_result:
        if "locked/" in os.fspath(path):
            raise PermissionError(13, "Permission denied")
        return stat(path, *args, **more)

    monkeypatch.setattr(os, "stat", refusing)  # a superuser may look anywhere
    assert list(discover([tmp_path], lambda: False)) == [tmp_path / "a"]
    assert wrong_source(load({}, environ={}).settings, f"{tmp_path}/locked/x") == "it cannot be looked at"
    assert wrong_source(load({}, environ={}).settings, "~nobody-of-this-name/x") == "it cannot be looked at"


def test_a_screen_that_leaves_a_part_out_cannot_be_made() -> None:
    class Half(LivePage[int]):
        NAME = "half"

    with pytest.raises(TypeError, match=r"abstract methods? .*detail"):
        Half()  # type: ignore[abstract]
