"""Help texts: `--help` fits one screen, `--help-all` shows every setting with its section and variable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from core.settings.option import Option

SETTINGS = "Settings"
"""The panel of flags that set a setting."""

_ALL = "--help-all"
_TYPES = {"<str>": "TEXT", "<int>": "N", "<float>": "NUMBER", "<path>": "PATH", "<directory>": "PATH"}


_LONGEST_KIND = 14
"""Longer lists of choices stand in the description, so that the column of names stays narrow."""

Record = tuple[str, str]


class Command(TyperCommand):
    """A command whose help is grouped in panels, with examples at the end."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_common_flags(self, super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _write_help(self, ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_examples(self, formatter)


class Group(TyperGroup):
    """A group of commands with the same kind of help."""

    command_class = Command

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_common_flags(self, super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _write_help(self, ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, _first_paragraph(command.help)) for name, command in commands if command]
        with formatter.section(typer.style("Commands", bold=True)):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_examples(self, formatter)


F = TypeVar("F", bound=Callable[..., Any])


class App(typer.Typer):
    """A `typer.Typer` whose commands and groups print archon's help. `examples` are command lines."""

    def __init__(self, *, examples: tuple[str, ...] = (), **settings: Any) -> None:
        settings = {"cls": Group, "add_completion": False, "rich_markup_mode": None, **settings}
        super().__init__(epilog="\n".join(examples) or None, **settings)

    def command(
        self, name: str | None = None, *, examples: tuple[str, ...] = (), **settings: Any
    ) -> Callable[[F], F]:
        return super().command(name, **{"cls": Command, "epilog": "\n".join(examples) or None, **settings})


def _with_common_flags(command: Any, params: list[Any]) -> list[Any]:
    """The parameters of `command`, its `--help-all`, and `--debug`, which may stand after any command."""
    if not command.add_help_option or any(_ALL in param.opts for param in params):
        return params
    if not hasattr(command, "_common"):  # cached, as typer does with --help
        command._common = [_help_all_option(), _debug_option()]  # noqa: SLF001
    known = {opt for param in params for opt in param.opts}
    return [*params, *(flag for flag in command._common if known.isdisjoint(flag.opts))]  # noqa: SLF001


def _help_all_option() -> Any:
    def show(ctx: Any, _param: Any, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[_ALL] = True
            typer.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    def command(
        help_all: bool = typer.Option(False, _ALL, help="show every setting, then exit", is_eager=True),
    ) -> None: ...

    option = _option_of(command)
    option.callback = show
    return option


def _debug_option() -> Any:
    """A flag that `archon_agent.ending` reads from the command line."""

    def command(
        debug: bool = typer.Option(False, "--debug", help="show tracebacks", hidden=True),
    ) -> None: ...

    return _option_of(command)


def _option_of(command: Callable[..., None]) -> Any:
    """The one option of `command`; it passes nothing to the command that it is added to."""
    probe = typer.Typer(add_completion=False)
    probe.command()(command)
    option: Any = next(
        param for param in typer.main.get_command(probe).params if param.param_type_name == "option"
    )
    option.expose_value = False
    return option


def _write_help(command: Any, ctx: Any, formatter: Any) -> None:
    command.format_usage(ctx, formatter)
    if command.help:
        formatter.write_paragraph()
        formatter.write_text(command.help.strip())
    command.format_options(ctx, formatter)
    command.format_epilog(ctx, formatter)


def _write_options(command: Any, ctx: Any, formatter: Any) -> None:
    panels: dict[str, list[Record]] = {"Arguments": []}
    rest = 0
    for param in command.get_params(ctx):
        if param.hidden:
            continue
        panel = param.rich_help_panel or ("Arguments" if param.param_type_name == "argument" else "Options")
        setting = _settings().get(param.opts[0]) if panel == SETTINGS else None
        if panel != SETTINGS or (setting is None and not ctx.meta.get(_ALL)):
            panels.setdefault(panel, []).append(_record(param, ctx))
        elif ctx.meta.get(_ALL):
            title = f"{SETTINGS}: {setting.section or 'general'}" if setting else SETTINGS
            panels.setdefault(title, []).append(_full_record(param, ctx, setting))
        elif setting and setting.common:
            panels.setdefault(SETTINGS, []).append(_record(param, ctx, setting))
        else:
            rest += 1
    for title, records in panels.items():
        if not records:
            continue
        more = f" ({_ALL} shows {rest} more)" if title == SETTINGS and rest else ""
        with formatter.section(typer.style(title + more, bold=True)):
            formatter.write_dl(records, col_max=34)


@cache
def _settings() -> dict[str, Option]:
    """Every setting by its flag."""
    from core.settings.model import options

    return {item.flag: item for item in options()}


def _record(param: Any, ctx: Any, setting: Option | None = None) -> Record:
    if param.param_type_name == "argument":
        name = param.make_metavar(ctx) if hasattr(param, "make_metavar") else param.display_name_raw
        return str(name).strip("[]").upper(), param.help or ""
    _, text = param.get_help_record(ctx)
    name = _name(param, ctx, setting)
    if setting and name.endswith(" NAME"):
        text = f"{text} [one of {setting.metavar.replace('|', ', ')}]"
    return name, text


def _full_record(param: Any, ctx: Any, setting: Option | None) -> Record:
    name, text = _record(param, ctx, setting)
    return name, f"{text} [{setting.env[0]}]" if setting else text


def _name(param: Any, ctx: Any, setting: Option | None) -> str:
    """The flags of an option and what it takes: `-p, --project TEXT`, `--[no-]history`."""
    flags = ", ".join(sorted(param.opts, key=len))
    if param.secondary_opts:
        return flags.replace("--", "--[no-]", 1)
    if param.is_flag or param.count:
        return flags
    kind = setting.metavar if setting else param.metavar or _TYPES.get(param.display_type(ctx))
    kind = kind or param.display_type(ctx).strip("<>")
    kind = "N" if kind.endswith(" range") else kind
    return f"{flags} {kind if len(kind) <= _LONGEST_KIND else 'NAME'}"


def _write_examples(command: Any, formatter: Any) -> None:
    if command.epilog:
        with formatter.section(typer.style("Examples", bold=True)):
            for line in _lines(command.epilog):
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").partition("\n\n")[0].split())


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip())
