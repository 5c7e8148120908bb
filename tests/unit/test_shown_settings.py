"""No face shows a secret that somebody put into a setting, whichever setting it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.safety.redact import redact
from core.settings.model import load, options
from core.settings.option import Option
from core.settings.url import shown_url
from tests.integration.test_agent_command import Agent

PASSWORD = "settings-canary/p?w#9"
URL = f"https://somebody:{PASSWORD}@host.example:8443/path?token={PASSWORD}"
TEXTS = [item for item in options() if item.metavar in ("TEXT", "LIST", "PATH")]


def names(items: list[Option]) -> list[str]:
    return [item.key for item in items]


def test_settings_that_hold_urls_are_marked() -> None:
    urls = [item.key for item in options() if item.is_url]
    assert set(urls) >= {
        "telemetry.pushgateway",
        "telemetry.otlp_endpoint",
        "storage.endpoint",
        "storage.link_origins",
        "kafka.servers",
    }
    said = {item.key for item in options() if "URL of" in item.help or "origins" in item.help}
    assert said <= set(urls), "a setting that says that it holds a URL has its type"


@pytest.mark.parametrize("item", TEXTS, ids=names(TEXTS))
def test_no_setting_shows_the_userinfo_of_a_url(item: Option) -> None:
    assert "settings-canary" not in what_is_shown(item, "https://somebody:settings-canary@host.example/")


def what_is_shown(item: Option, given: str) -> str:
    """The error of a setting that is given `given`, or else how its value is shown."""
    try:
        loaded = load({item.key: given}, environ={})
    except ConfigurationError as error:
        return str(error)
    (found,) = (each for each in loaded.provenance if each.option.key == item.key)
    return str(found.option.shown(found.value))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://push.example:9091", "http://push.example:9091"),
        ("http://u:p@push.example:9091/x", "http://***@push.example:9091/x"),
        (URL, "https://***@host.example:8443/path?***"),
        ("HTTPS://token-alone@host", "HTTPS://***@host"),
        ("user:pw@host:9092", "***@host:9092"),
        ("//u:p@host", "//***@host"),
        ("http://u:a@b@host/#frag", "http://***@host/#***"),
        ("host:9092", "host:9092"),
    ],
)
def test_a_url_is_shown_without_what_proves_who_asks(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_the_password_of_a_url_is_known_wherever_it_turns_up_later() -> None:
    load({"telemetry.pushgateway": "http://u:by%2Ditself-canary@push.example"}, environ={})
    assert redact("push failed: by-itself-canary") == "push failed: ***"
    assert redact("push failed: by%2Ditself-canary") == "push failed: ***"


def test_config_show_masks_every_url(tmp_path: Path) -> None:
    (tmp_path / "archon.toml").write_text(
        f'[telemetry]\npushgateway = "{URL}"\notlp_endpoint = "{URL}"\n'
        f'[storage]\nendpoint = "{URL}"\nlink_origins = ["{URL}"]\n'
    )
    agent = Agent(tmp_path)
    for arguments in (("config", "show"), ("config", "show", "--json")):
        done = agent.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert "settings-canary" not in done.stdout + done.stderr
    rows = {row["setting"]: row["value"] for row in json.loads(done.stdout)}
    assert rows["telemetry.pushgateway"] == "https://***@host.example:8443/path?***"
