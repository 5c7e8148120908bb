"""Settings as command-line flags: declared once in `core.settings`, rendered here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from archon_agent.help import SETTINGS
from core.settings.model import Loaded, load, options
from core.settings.option import Option

JsonFlag = Annotated[bool, typer.Option("--json", help="print JSON to stdout")]
Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, show_default=False, help="say more; twice for everything"),
]
ProjectFlag = Annotated[
    str | None, typer.Option("--project", "-p", help="only this project", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]

Command = Callable[..., Any]


def with_settings(*sections: str) -> Callable[[Command], Command]:
    """Give a command the flags of these settings sections, and the loaded settings as `loaded`.

    `--config` and `--home` come with every one.
    """

    def decorate(command: Command) -> Command:
        wanted = [item for item in options() if item.section in sections or item.key == "home"]
        parameters = {_name(item): item for item in wanted}

        @functools.wraps(command)
        def wrapper(*args: Any, config: Path | None, **given: Any) -> Any:
            flags = {item.key: given.pop(name) for name, item in parameters.items()}
            return command(*args, loaded=load(flags, config_file=config), **given)

        own = inspect.signature(command, eval_str=True)
        added = [_parameter(name, item) for name, item in parameters.items()]
        added.append(_keyword("config", _CONFIG))
        kept = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in own.parameters.values()
            if parameter.name != "loaded"
        ]
        signature = own.replace(parameters=[*kept, *added])
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {name: item.annotation for name, item in signature.parameters.items()}
        return wrapper

    return decorate


_CONFIG = Annotated[
    Path | None,
    typer.Option("--config", help="archon.toml to read", show_default=False, rich_help_panel=SETTINGS),
]


def _name(item: Option) -> str:
    return item.key.replace(".", "__")


def _parameter(name: str, item: Option) -> inspect.Parameter:
    boolean = isinstance(item.default, bool)
    flag = f"{item.flag}/--no-{item.flag.removeprefix('--')}" if boolean else item.flag
    shown = "" if item.default in (None, "") or item.secret else f" [default: {_shown(item)}]"
    declared = typer.Option(flag, help=item.help + shown, show_default=False, rich_help_panel=SETTINGS)
    return _keyword(name, Annotated[bool | None if boolean else str | None, declared])


def _shown(item: Option) -> str:
    if isinstance(item.default, bool):
        return "yes" if item.default else "no"
    return str(item.default)


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


__all__ = ["JsonFlag", "Loaded", "ProjectFlag", "Verbose", "Yes", "with_settings"]
