"""How a setting is declared: once, and rendered as flag, environment variable, toml key and docs row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from core.safety.redact import MASK
from core.settings.url import Url, UrlMark, shown_text, shown_url

# 1 KB is 1,024 bytes everywhere: the contract's "100 KB" is 102,400 bytes.
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$", re.IGNORECASE)
_MOST = 1e15
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*$", re.IGNORECASE)


def parse_size(value: object) -> object:
    """Bytes from `102400`, `100KB`, `100 KiB`, `1.5MB`; anything else is left to the field's validation."""
    if isinstance(value, str):
        if not (match := _SIZE.match(value)):
            raise ValueError("give a size such as 102400, 100KB or 1MiB")
        return int(_finite(match[1]) * _UNITS[match[2].lower()])
    return value


def parse_duration(value: object) -> object:
    """Seconds from `90`, `90s`, `500ms`, `5m`, `24h`, `30d`."""
    if isinstance(value, str):
        if not (match := _DURATION.match(value)):
            raise ValueError("give a duration such as 30s, 5m or 24h")
        return _finite(match[1]) * _SECONDS[(match[2] or "").lower()]
    return value


def _finite(digits: str) -> float:
    """Raises `ValueError` for a number that no size or time has."""
    if (number := float(digits)) > _MOST:
        raise ValueError("that is too large")
    return number


def parse_list(value: object) -> object:
    """A list from comma-separated text."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
StringList = Annotated[tuple[str, ...], BeforeValidator(parse_list)]
UrlList = Annotated[tuple[Url, ...], BeforeValidator(parse_list)]


class Section(BaseModel):
    """A table of archon.toml."""

    model_config = {"extra": "forbid", "frozen": True}


def option(
    default: Any,
    help: str,  # noqa: A002 - the word every option library uses
    *,
    flag: str | None = None,
    env: tuple[str, ...] = (),
    secret: bool = False,
    common: bool = False,
) -> Any:
    """Declare a setting. `flag` defaults to `<section>-<field>`; `env` are further variable names.

    `secret` masks the value wherever settings are shown. A `common` setting stands in a command's
    `--help`; the others stand in `--help-all` only.
    """
    extra: JsonDict = {"flag": flag, "env": list(env), "secret": secret, "common": common}
    if isinstance(default, list | dict):
        return Field(
            default_factory=lambda: type(default)(default), description=help, json_schema_extra=extra
        )
    return Field(default, description=help, json_schema_extra=extra, validate_default=True)


@dataclass(frozen=True, slots=True)
class Option:
    """A declared setting under all its names."""

    section: str | None
    field: str
    flag: str
    env: tuple[str, ...]
    help: str
    secret: bool
    common: bool
    default: Any
    annotation: Any
    metavar: str
    """What its flag takes: the choices, or SIZE, DURATION, LIST, PATH, N, NUMBER or TEXT."""
    is_url: bool
    """Whether it holds one URL or several."""

    @property
    def key(self) -> str:
        """Its dotted name, as in archon.toml."""
        return f"{self.section}.{self.field}" if self.section else self.field

    def shown(self, value: Any) -> Any:
        """`value` of this setting as every face may show it: text without secrets, the rest as it is."""
        if self.secret:
            return MASK if value else value
        if isinstance(value, tuple | list):
            return ", ".join(str(self.shown(item)) for item in value)
        if isinstance(value, dict):
            return "; ".join(f"{key}={self.shown(item)}" for key, item in value.items())
        if value is None or isinstance(value, bool | int | float):
            return value
        return shown_url(str(value)) if self.is_url else shown_text(str(value))


def options_of(model: type[BaseModel], section: str | None = None) -> Iterator[Option]:
    """Every option of a settings model, sections included, in declaration order.

    A field that was not declared with `option` is a table that only archon.toml can hold.
    """
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from options_of(info.annotation, name)
            continue
        if not isinstance(extra := info.json_schema_extra, dict):
            continue
        flag = str(extra.get("flag") or "-".join(filter(None, [section, name])).replace("_", "-"))
        own = "ARCHON_" + flag.upper().replace("-", "_")
        aliases = extra.get("env") or []
        assert isinstance(aliases, list)  # noqa: S101 - narrows pydantic's JSON type
        yield Option(
            section=section,
            field=name,
            flag=f"--{flag}",
            env=(own, *map(str, aliases)),
            help=info.description or "",
            secret=bool(extra.get("secret")),
            common=bool(extra.get("common")),
            default=info.get_default(call_default_factory=True, validated_data={}),
            annotation=info.annotation,
            metavar=_metavar(info),
            is_url=any(isinstance(mark, UrlMark) for mark in info.metadata) or _has_mark(info.annotation),
        )


_KINDS = {tuple: "LIST", dict: "LIST", Path: "PATH", int: "N", float: "NUMBER"}
_PARSERS: dict[Any, str] = {parse_size: "SIZE", parse_duration: "DURATION"}


def _metavar(info: FieldInfo) -> str:
    for validator in info.metadata:
        if isinstance(validator, BeforeValidator) and validator.func in _PARSERS:
            return _PARSERS[validator.func]
    leaves = list(_leaves(info.annotation))
    if choices := [leaf for leaf in leaves if isinstance(leaf, str)]:
        return "|".join(choices)
    return next((word for kind, word in _KINDS.items() if kind in leaves), "TEXT")


def _has_mark(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated and any(
        isinstance(mark, UrlMark) for mark in get_args(annotation)
    ):
        return True
    return any(_has_mark(argument) for argument in get_args(annotation))


def _leaves(annotation: Any) -> Iterator[Any]:
    """The plain types and literal values that an annotation is made of."""
    origin = get_origin(annotation)
    if origin in (tuple, dict):
        yield origin
    elif origin is None:
        yield annotation
    else:
        for argument in get_args(annotation)[: 1 if origin is Annotated else None]:
            yield from _leaves(argument)


class Provenance(NamedTuple):
    """A setting's value and where it came from: `flag`, `environment NAME`, `archon.toml`, `default`."""

    option: Option
    value: Any
    source: str
