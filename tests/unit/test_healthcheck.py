"""What the container's HEALTHCHECK runs, against answers of every kind."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from archon_agent.healthcheck import main
from tests.servers.ports import free_port


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
async def test_it_says_what_the_agent_says(
    status: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def health(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="the loop stands still")

    app = web.Application()
    app.router.add_get("/health", health)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        assert await asyncio.to_thread(main, f"0.0.0.0:{port}") == code
    finally:
        await runner.cleanup()
    assert ("the loop stands still" in capsys.readouterr().err) == bool(code)


def test_no_answer_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"127.0.0.1:{free_port()}") == 1
    assert "no answer" in capsys.readouterr().err
