"""The agent's HTTP server over a real agent: what it answers, and whom it refuses."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from archon_agent.http import answers
from archon_agent.http.agent import agent_handlers
from archon_agent.http.guard import is_loopback
from archon_agent.http.server import make_app, serving
from archon_agent.openapi import document
from core.agent import Agent
from core.assembly.consuming import consuming
from core.errors import ConfigurationError
from core.events.agent import AgentStatus
from core.settings import Settings, load
from core.settings.http import HttpSettings

ANYWHERE = "127.0.0.1:0"
CODE = "def twice(x):\n    return 2 * x\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    given = {
        "agent.local_roots": str(tmp_path),
        "home": tmp_path / "home",
        "agent.workers": 1,
        "health.check_max_age": "0.01",
    }
    return load(given, environ={}).settings


@asynccontextmanager
async def served(
    settings: Settings, options: HttpSettings
) -> AsyncIterator[tuple[aiohttp.ClientSession, Agent]]:
    """A working agent's server, and a client of it."""
    stop = asyncio.Event()
    async with consuming(settings) as agent, serving(agent_handlers(agent), options) as url:
        running = asyncio.create_task(agent.run(drain=False, stop=stop))
        try:
            async with aiohttp.ClientSession(url) as client:
                while (await client.get("/ready")).status != 200:
                    assert not running.done(), running.result()
                yield client, agent
        finally:
            stop.set()
            await running


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    async with served(settings, HttpSettings(address=ANYWHERE)) as (client, _agent):
        yield client


async def generate(client: aiohttp.ClientSession, **request: Any) -> tuple[int, dict[str, Any]]:
    async with client.post("/api/bridge/generate-intelligence", json=request) as answer:
        return answer.status, await answer.json()


async def test_it_tells_of_health_metrics_status_and_caches(client: aiohttp.ClientSession) -> None:
    for path in ("/health", "/ready"):
        answer = await client.get(path)
        assert (answer.status, (await answer.json())["state"]) == (200, "ok")
    status = AgentStatus.model_validate(await (await client.get("/api/status")).json())
    assert status.partitions
    caches = await (await client.get("/api/cache")).json()
    assert (caches["object"]["entries"], caches["object"]["hit_rate"]) == (0, None)
    metrics = await client.get("/metrics")
    assert metrics.content_type == "text/plain"
    families = {family.name for family in text_string_to_metric_families(await metrics.text())}
    assert {"archon_inflight_messages", "archon_assigned_partitions"} <= families


async def test_content_becomes_intelligence(client: aiohttp.ClientSession) -> None:
    checksum = f"sha256:{sha256(CODE.encode()).hexdigest()}"
    status, answer = await generate(
        client, file_path="src/twice.py", content=CODE, checksum=checksum, project_name="p"
    )
    assert (status, answer["success"]) == (200, True)
    record = answer["intelligence"]
    assert (record["project"], record["path"], record["checksum"]) == ("p", "src/twice.py", checksum)
    assert record["checksum_verified"] is True
    assert [symbol["name"] for symbol in record["analysis"]["symbols"]] == ["twice"]


async def test_content_is_preferred_and_a_path_is_the_fallback(
    client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "there.py").write_text("on_disk = 1\n")
    asked = {"file_path": str(tmp_path / "there.py"), "project_path": str(tmp_path)}
    _, by_path = await generate(client, **asked)
    assert by_path["intelligence"]["content_source"] == "local_path"
    assert by_path["intelligence"]["path"] == "there.py"
    _, by_content = await generate(client, **asked, content=CODE)
    assert by_content["intelligence"]["content_source"] == "inline"
    assert by_content["intelligence"]["size_bytes"] == len(CODE)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"file_path": "a.py", "content": CODE, "checksum": "sha256:" + "0" * 64}, "checksum_mismatch"),
        ({"file_path": "../a.py", "content": CODE}, "unsafe_input"),
        ({"file_path": "a.py"}, "content_missing"),
        ({"file_path": "/etc/passwd", "project_path": "/srv"}, "unsafe_input"),
    ],
)
async def test_what_cannot_be_had_is_answered_with_its_reason(
    client: aiohttp.ClientSession, request_: dict[str, Any], reason: str
) -> None:
    status, answer = await generate(client, **request_)
    assert (status, answer["success"], answer["error_reason"]) == (200, False, reason)


async def test_warming_fetches_and_tells(client: aiohttp.ClientSession) -> None:
    event = json.loads((Path(__file__).parents[1] / "samples/v2-mixed.json").read_text())
    async with client.post("/api/cache/warm", json=event) as answer:
        report = await answer.json()
    assert answer.status == 200
    assert report["files"] == len(event["payload"]["files"]) == len(report["results"])
    assert report["failed"] == sum(result["reason"] is not None for result in report["results"])
    assert report["bytes"] == sum(result["bytes"] for result in report["results"]) > 0


@pytest.mark.parametrize("path", ["/api/bridge/generate-intelligence", "/api/cache/warm"])
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "application/json", 400),
        (b'{"file_path": "a", "content": 7}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
    ],
)
async def test_bodies_that_are_not_what_is_asked_for_are_refused(
    client: aiohttp.ClientSession, path: str, body: bytes, kind: str, status: int
) -> None:
    async with client.post(path, data=body, headers={"Content-Type": kind}) as answer:
        assert answer.status == status
        assert set(await answer.json()) == {"error"}


@pytest.mark.parametrize("field", ["project_name", "language", "checksum", "correlation_id"])
async def test_text_that_no_database_takes_is_refused_and_the_agent_goes_on(
    client: aiohttp.ClientSession, field: str
) -> None:
    status, answer = await generate(client, file_path="a.py", content=CODE, **{field: "\ud800"})
    assert status == 400
    assert field in answer["error"]
    assert (await generate(client, file_path="a.py", content=CODE))[0] == 200


async def test_a_projects_name_has_the_limits_of_events(client: aiohttp.ClientSession) -> None:
    for name in ("", "x" * 101):
        assert (await generate(client, file_path="a.py", content=CODE, project_name=name))[0] == 400


async def test_a_body_over_the_limit_is_refused(settings: Settings) -> None:
    options = HttpSettings(address=ANYWHERE, max_body=10_000)
    async with served(settings, options) as (client, _agent):
        status, _ = await generate(client, file_path="a.py", content="x" * 20_000)
        assert status == 413
        status, _ = await generate(client, file_path="a.py", content="x" * 5_000)
        assert status == 200


async def test_a_body_that_does_not_come_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "BODY_DEADLINE_S", 0.2)

    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with served(settings, HttpSettings(address=ANYWHERE)) as (client, _agent):
        headers = {"Content-Type": "application/json"}
        async with client.post("/api/cache/warm", data=trickle(), headers=headers) as answer:
            assert answer.status == 408


async def test_a_page_in_a_browser_cannot_reach_it_under_another_name(
    client: aiohttp.ClientSession,
) -> None:
    for path in ("/metrics", "/api/status"):
        assert (await client.get(path, headers={"Host": "rebound.example:9464"})).status == 403
    assert (await client.get("/api/status", headers={"Host": "localhost:9464"})).status == 200


async def test_with_a_token_changes_need_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHON_TEST_TOKEN", "open sesame")
    options = HttpSettings(address=ANYWHERE, token="env:ARCHON_TEST_TOKEN")
    async with served(settings, options) as (client, _agent):
        for given, status in ((None, 401), ("Bearer wrong", 401), ("Bearer open sesame", 200)):
            headers = {} if given is None else {"Authorization": given}
            body = {"file_path": "a.py", "content": CODE}
            url = "/api/bridge/generate-intelligence"
            async with client.post(url, json=body, headers=headers) as answer:
                assert answer.status == status
                assert "sesame" not in await answer.text()
        assert (await client.get("/metrics")).status == 200


async def test_a_token_of_any_bytes_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHON_TEST_TOKEN", "open sesame")
    async with served(settings, HttpSettings(address=ANYWHERE, token="env:ARCHON_TEST_TOKEN")) as (client, _):
        base = client._base_url
        assert base is not None
        reader, writer = await asyncio.open_connection(base.host, base.port)
        writer.write(
            b"POST /api/bridge/generate-intelligence HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Authorization: Bearer \xff\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        )
        assert (await reader.readline()).split()[1] == b"401"
        writer.close()


async def test_bound_to_the_network_without_a_token_nothing_can_be_changed(settings: Settings) -> None:
    async with consuming(settings) as agent:
        app = make_app(agent_handlers(agent), HttpSettings(), token=None, on_loopback=False)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        try:
            site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
                status, answer = await generate(client, file_path="a.py", content=CODE)
                assert status == 403
                assert "http.token" in answer["error"]
                assert (await client.get("/metrics", headers={"Host": "agent:9464"})).status == 200
        finally:
            await runner.cleanup()


async def test_before_it_joined_its_group_it_is_not_ready(settings: Settings) -> None:
    async with (
        consuming(settings) as agent,
        serving(agent_handlers(agent), HttpSettings(address=ANYWHERE)) as url,
        aiohttp.ClientSession(url) as client,
        client.get("/ready") as answer,
    ):
        assert answer.status == 503
        assert "joined" in await answer.text()


async def test_an_address_in_use_is_a_configuration_error(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with consuming(settings) as agent:
            with pytest.raises(ConfigurationError, match="cannot listen") as caught:
                async with serving(agent_handlers(agent), HttpSettings(address=address)):
                    pass
            assert "--no-http" in (caught.value.hint or "")


async def test_answers_are_what_the_document_says(client: aiohttp.ClientSession) -> None:
    described = document()
    assert await (await client.get("/openapi.json")).json() == described
    for path, operations in described["paths"].items():
        if "get" not in operations or path == "/metrics":
            continue
        schema = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": described["components"]}
        jsonschema.validate(await (await client.get(path)).json(), whole)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - that it is not loopback is the point
        ("::", False),
        ("localhost.example", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
