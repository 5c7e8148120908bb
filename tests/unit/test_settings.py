"""Settings: one order of precedence, one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings.model import load, options
from core.settings.option import parse_duration, parse_size


def source(key: str, **sources: object) -> tuple[object, str]:
    loaded = load(**sources)  # type: ignore[arg-type]
    return next((item.value, item.source) for item in loaded.provenance if item.option.key == key)


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "archon.toml").write_text("[publish]\nbatch_size = 3\n")
    environ = {"ARCHON_HOME": str(tmp_path)}
    key = "publish.batch_size"
    assert source(key, environ={}) == (100, "default")
    assert source(key, environ=environ) == (3, str(tmp_path / "archon.toml"))
    environ["ARCHON_BATCH_SIZE"] = "2"
    assert source(key, environ=environ) == (2, "environment ARCHON_BATCH_SIZE")
    assert source(key, environ=environ, flags={key: 1}) == (1, "flag --batch-size")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("102400", 102_400),
        ("100KB", 102_400),
        ("100 KiB", 102_400),
        ("1MiB", 1 << 20),
        ("1.5m", 1_572_864),
        ("0", 0),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("500ms", 0.5), ("5m", 300), ("24h", 86_400), ("30d", 2_592_000)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "KB", "-1", "1QB", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="give a size"):
        parse_size(text)


def test_an_error_names_setting_and_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"flag --batch-size: publish\.batch_size: .*greater than 0"):
        load({"publish.batch_size": 0}, environ={})
    with pytest.raises(ConfigurationError, match=r"environment ARCHON_INLINE_SIZE_LIMIT: .* give a size"):
        load(environ={"ARCHON_INLINE_SIZE_LIMIT": "many"})
    config = tmp_path / "archon.toml"
    config.write_text("[publish]\nbatch_sise = 3\n")
    with pytest.raises(ConfigurationError, match=r"archon\.toml: there is no setting publish\.batch_sise"):
        load(environ={}, config_file=config)
    config.write_text("publish = 3\n")
    with pytest.raises(ConfigurationError, match=r"publish"):
        load(environ={}, config_file=config)
    config.write_text("[publish\n")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(environ={}, config_file=config)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no configuration file"):
        load(environ={"ARCHON_CONFIG": str(tmp_path / "none.toml")})


def test_the_working_directory_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archon.toml").write_text("[publish]\nbatch_size = 3\n")
    monkeypatch.chdir(tmp_path)
    assert source("publish.batch_size", environ={"XDG_CONFIG_HOME": str(tmp_path / "none")}) == (
        100,
        "default",
    )


def test_nothing_is_read_behind_our_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLISH", '{"batch_size": 1}')
    monkeypatch.setenv("LOG", "x")
    assert load(environ={}).settings.publish.batch_size == 100


def test_names_are_unique() -> None:
    names = [name for item in options() for name in (item.flag, *item.env)]
    assert len(names) == len(set(names))
    assert all(item.help for item in options())


def test_a_table_of_credentials_comes_from_the_file_only(tmp_path: Path) -> None:
    config = tmp_path / "archon.toml"
    config.write_text('[git.credentials."git.example.com:8443"]\nrefs = ["env:TOKEN"]\nscheme = "bearer"\n')
    found = load({"git.schemes": "https"}, environ={}, config_file=config).settings.git
    assert found.credentials["git.example.com:8443"].refs == ("env:TOKEN",)
    assert "git.credentials" not in {item.key for item in options()}
    config.write_text('[git.credentials."git.example.com"]\nrefs = ["env:TOKEN"]\ntoken = "x"\n')
    with pytest.raises(ConfigurationError, match=r"there is no setting git\.credentials"):
        load(environ={}, config_file=config)


@pytest.mark.parametrize(("name", "value"), [("networks", "10.0.0.1/8"), ("schemes", "ftp"), ("schemes", "")])
def test_git_urls_are_held_to_known_schemes_and_networks(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"git.{name}"):
        load({f"git.{name}": value}, environ={})


def test_allowed_git_hosts_become_a_policy() -> None:
    policy = load({"git.allowed_hosts": "git.example.com", "git.networks": "10.0.0.0/8"}, environ={})
    assert policy.settings.git.url_policy().prefixes == ("https://git.example.com/", "ssh://git.example.com/")
    assert load(environ={"GIT_CLONE_CACHE_MAX_SIZE_GB": "1.5"}).settings.git.clone_cache_max_size_gb == 1.5


@pytest.mark.parametrize(
    ("given", "provider"),
    [
        ({}, "local"),
        ({"kafka.servers": "k:9092"}, "none"),
        ({"kafka.servers": "k:9092", "storage.provider": "local"}, "local"),
        ({"storage.provider": "none"}, "none"),
        ({"kafka.servers": "k:9092", "storage.provider": "s3"}, "s3"),
    ],
)
def test_the_default_store_is_a_directory_only_where_the_log_is_one(
    given: dict[str, str], provider: str
) -> None:
    assert load(given, environ={}).settings.object_storage.provider == provider


@pytest.mark.parametrize("key", ["http.max_body", "agent.grace"])
def test_a_number_without_end_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="too large"):
        load({key: "9" * 400}, environ={})
