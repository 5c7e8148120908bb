"""`archon-agent config`: every setting, its value and where it came from."""

from __future__ import annotations

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, with_settings
from core.settings.model import SECTIONS

app = App(help="Show the settings.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """Show the settings."""


@app.command()
@with_settings(*SECTIONS)
def show(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Print each setting's value and its source; secrets are masked."""
    rows = [
        {
            "setting": item.option.key,
            "value": item.option.shown(item.value),
            "source": item.source,
            "environment": item.option.env[0],
            "flag": item.option.flag,
        }
        for item in loaded.provenance
    ]
    if as_json:
        console.print_json(rows)
        return
    cells = [(row["setting"], row["value"], row["source"], row["environment"]) for row in rows]
    console.out.print(console.table(("SETTING", "VALUE", "SOURCE", "ENVIRONMENT"), cells))
