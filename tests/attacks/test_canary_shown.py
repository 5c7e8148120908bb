"""A secret for a Git host is shown by no face: not by an agent's HTTP answers, and on no dashboard screen."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import trustme

from archon_agent.http.agent import agent_handlers
from archon_agent.http.server import serving
from archon_tui.actions import SCREENS
from archon_tui.app import ArchonApp
from archon_tui.chosen import chosen
from archon_tui.session import Session
from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import RemoteTarget, Target
from core.settings import Settings, load
from tests.attacks.test_canary import CANARY, shapes
from tests.bare_repositories import BareRepository
from tests.servers.git_http import GitHttpServer
from tests.tui.driving import until

REFERENCE = "env:ARCHON_CANARY"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHttpServer]:
    """A host whose one repository wants the canary as its token."""
    served = tmp_path / "served"
    served.mkdir()
    BareRepository(served / "private.git").commit({"app.py": b"x = 1\n"})
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(certificate)
    with GitHttpServer(served, tokens={"private.git": CANARY}, certificate=certificate) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, server: GitHttpServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ARCHON_CANARY", CANARY)
    config = tmp_path / "archon.toml"
    config.write_text(
        f'[git]\nnetworks = ["127.0.0.0/8"]\nca_file = "{tmp_path}/ca.pem"\n'
        f'[git.credentials."127.0.0.1:{server.port}"]\nrefs = ["{REFERENCE}"]\n'
        '[agent]\nworkers = 1\n[http]\naddress = "127.0.0.1:0"\n'
    )
    return load({"home": tmp_path / "home"}, environ={}, config_file=config).settings


def leaks(shown: str) -> list[str]:
    return [form.decode() for form in shapes(CANARY) if form.decode() in shown]


async def test_what_an_agent_answers(settings: Settings, server: GitHttpServer) -> None:
    url = server.url("private.git")
    async with ingestion(settings, Target(RemoteTarget(url), credential_ref=REFERENCE)) as job:
        await job.publisher.publish(job.planner.stream())
    shown = ""
    async with consuming(settings, service=False) as agent:
        done = await agent.run(drain=True, stop=asyncio.Event())
        assert done.files_processed == 1
        async with serving(agent_handlers(agent), settings.http) as base, aiohttp.ClientSession() as web:
            for path in ("/metrics", "/ready", "/api/status", "/api/cache"):
                async with web.get(f"{base}{path}") as answer:
                    shown += await answer.text()
            for reference in (REFERENCE, CANARY):  # the second is the secret, in place of its reference
                repository = {"git_url": url, "credentials": {"type": "token", "credential_ref": reference}}
                body = {"repositories": [repository]}
                async with web.post(f"{base}/api/cache/warm", json=body) as answer:
                    shown += await answer.text()
    assert "archon_" in shown
    assert leaks(shown) == []


async def test_what_the_dashboard_draws(settings: Settings, server: GitHttpServer) -> None:
    session = Session(settings, roots=(), read_only=False)
    session.choose(chosen(server.url("private.git"), REFERENCE))
    app = ArchonApp(session, first="plan")
    shown = ""
    async with app.run_test(size=(200, 50)) as pilot:
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        await pilot.press("w")
        shown += app.export_screenshot()
        await pilot.press("escape", "R")
        await until(pilot, lambda: app.screen is not app.page)
        shown += app.export_screenshot()
        await pilot.press("y")
        await until(pilot, lambda: session.run and session.run.state.is_over)
        server.tokens["private.git"] = "another"  # from now on the host refuses it
        for screen in SCREENS:
            await app.go(screen)
            await pilot.press("r")
            await pilot.pause()
            shown += app.export_screenshot()
    await session.close()
    assert "private" in shown
    assert leaks(shown) == []
