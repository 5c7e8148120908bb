"""The whole of the settings, and how they are read."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, ValidationError

from core.errors import ConfigurationError
from core.safety.redact import redact
from core.settings.git import GitSettings
from core.settings.http import HttpSettings
from core.settings.kafka import KafkaSettings
from core.settings.operations import CostSettings, HealthSettings, TelemetrySettings
from core.settings.option import Option, Provenance, Section, option, options_of
from core.settings.sections import (
    AgentSettings,
    BreakerSettings,
    HistorySettings,
    LogSettings,
    PublishSettings,
    SelectorSettings,
)
from core.settings.storage import CacheSettings, StorageSettings
from core.settings.tui import TuiSettings
from core.settings.watch import WatchSettings

Values = dict[str, Any]


class Settings(Section):
    """Every setting, validated. Build it with `load`: nothing else reads a file or the environment."""

    home: Path | None = option(None, "directory of all state", common=True)
    publish: PublishSettings = Field(default_factory=PublishSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    git: GitSettings = Field(default_factory=GitSettings)
    history: HistorySettings = Field(default_factory=HistorySettings)
    selector: SelectorSettings = Field(default_factory=SelectorSettings)
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    agent: AgentSettings = Field(default_factory=AgentSettings)
    watch: WatchSettings = Field(default_factory=WatchSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    cost: CostSettings = Field(default_factory=CostSettings)
    tui: TuiSettings = Field(default_factory=TuiSettings)

    @property
    def data_dir(self) -> Path:
        """Where logs, indexes and state live."""
        return self.home / "data" if self.home else _of_user(platformdirs.user_data_path)

    @property
    def journal_dir(self) -> Path:
        """Where the journals of runs are kept."""
        return self.data_dir / "journals"

    @property
    def clone_cache_dir(self) -> Path:
        """Where clones of Git repositories are kept."""
        return self.git.clone_cache_dir or self.cache_dir / "git"

    @property
    def cache_dir(self) -> Path:
        """Where what can be fetched again lives."""
        return self.home / "cache" if self.home else _of_user(platformdirs.user_cache_path)

    @property
    def content_cache_dir(self) -> Path:
        """Where fetched contents are cached."""
        return self.cache.dir or self.cache_dir / "content"

    @property
    def object_storage(self) -> StorageSettings:
        """The storage settings with their provider decided."""
        return self.storage.decided(shared_log=bool(self.kafka.servers))

    @property
    def objects_dir(self) -> Path:
        """Where the local object store is."""
        return self.storage.directory or self.data_dir / "objects"


def _of_user(directory: Callable[..., Path]) -> Path:
    """A directory of the user's own. Raises `ConfigurationError` where the user has no home directory."""
    try:
        return directory("archon", appauthor=False)
    except RuntimeError:
        raise ConfigurationError(
            "there is no home directory to keep state in", hint="set ARCHON_HOME to a directory"
        ) from None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with the file they were read from and each value's provenance."""

    settings: Settings
    config_file: Path | None
    provenance: tuple[Provenance, ...]


SECTIONS = tuple(name for name in Settings.model_fields if name != "home")


@cache
def options() -> tuple[Option, ...]:
    """Every option there is."""
    return tuple(options_of(Settings))


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> Loaded:
    """Read the settings.

    `flags` maps dotted keys (`publish.batch_size`) to values; None means not given. The file is
    `config_file`, else `$ARCHON_CONFIG`, else archon.toml in `$ARCHON_HOME` or the user's configuration
    directory. The working directory is not searched: it may be a stranger's repository.
    Raises `ConfigurationError` naming the setting and where its value came from.
    """
    environ = os.environ if environ is None else environ
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    path = _find_config(given, environ, config_file)
    toml = _read_toml(path) if path else {}
    environment, names = _from_environment(environ)
    try:
        settings = Settings(**_overlay(_overlay(toml, environment), given))
    except ValidationError as error:
        raise _explain(error, given, names, path) from None
    provenance = tuple(
        Provenance(item, _get(settings, item), _source_of(item, given, names, toml, path))
        for item in options()
    )
    return Loaded(settings, path, provenance)


def _find_config(flags: Mapping[str, Any], environ: Mapping[str, str], explicit: Path | None) -> Path | None:
    if explicit or environ.get("ARCHON_CONFIG"):
        path = explicit or Path(environ["ARCHON_CONFIG"])
        if not path.is_file():
            raise ConfigurationError(
                f"there is no configuration file {path}", hint="see --config and ARCHON_CONFIG"
            )
        return path
    home = flags.get("home") or environ.get("ARCHON_HOME")
    try:
        directory = Path(home) if home else _of_user(platformdirs.user_config_path)
    except ConfigurationError:
        return None
    path = directory / "archon.toml"
    try:
        return path if path.is_file() else None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}", hint="ARCHON_HOME=DIR names another directory"
        ) from None


def _read_toml(path: Path) -> Values:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> tuple[Values, dict[str, str]]:
    """Values by dotted key, and for each the variable that gave it."""
    values: Values = {}
    names: dict[str, str] = {}
    for item in options():
        if name := next((name for name in item.env if environ.get(name)), None):
            values[item.key] = environ[name]
            names[item.key] = name
    return values, names


def _overlay(nested: Mapping[str, Any], flat: Mapping[str, Any]) -> Values:
    """`nested` with the dotted keys of `flat` set in it."""
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in nested.items()}
    for key, value in flat.items():
        section, _, field = key.rpartition(".")
        table = result.setdefault(section, {}) if section else result
        if isinstance(table, dict):  # a table spelled as a value is validation's to report
            table[field] = value
    return result


def _get(settings: Settings, item: Option) -> Any:
    return getattr(getattr(settings, item.section) if item.section else settings, item.field)


def _source_of(
    item: Option, flags: Mapping[str, Any], names: Mapping[str, str], toml: Values, path: Path | None
) -> str:
    if item.key in flags:
        return f"flag {item.flag}"
    if item.key in names:
        return f"environment {names[item.key]}"
    table = toml.get(item.section, {}) if item.section else toml
    return str(path) if isinstance(table, dict) and item.field in table else "default"


def _explain(
    error: ValidationError, flags: Mapping[str, Any], names: Mapping[str, str], path: Path | None
) -> ConfigurationError:
    first = error.errors(include_url=False)[0]
    whole = ".".join(str(part) for part in first["loc"])
    key = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "extra_forbidden":
        return ConfigurationError(
            f"{path or 'archon.toml'}: there is no setting {whole}", hint="archon-agent config show"
        )
    known = {item.key: item for item in options()}
    where = (
        f"flag {known[key].flag}"
        if key in flags
        else f"environment {names[key]}"
        if key in names
        else str(path or "settings")
    )
    message = first["msg"].removeprefix("Value error, ")
    # An error of a whole section has the section as its input, secrets included.
    shown = ""
    if key in known and not known[key].secret:
        given = first["input"]
        safe = repr(known[key].shown(given)) if isinstance(given, str) else redact(repr(given))
        shown = f" (given: {safe})"
    name = key if key in known else whole
    return ConfigurationError(f"{where}: {name}: {message}{shown}")
