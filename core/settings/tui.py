"""The section of archon.toml for the dashboard."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from core.settings.option import Section, option


def parse_keys(value: object) -> object:
    """A table from `plan.run=f5,R; app.quit=Q`; a table is left as it is."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(";") if part.strip()]
    if any(not sign for _, sign, _ in pairs):
        raise ValueError("give actions and keys such as plan.run=f5,R; app.quit=Q")
    return {action.strip(): keys.strip() for action, _, keys in pairs}


Keys = Annotated[dict[str, str], BeforeValidator(parse_keys)]


class TuiSettings(Section):
    """How the dashboard looks and which keys it knows."""

    theme: str = option(
        "textual-dark",
        "colour theme of the dashboard; archon-safe for the colour-blind",
        flag="theme",
        common=True,
    )
    keys: Keys = option("", "keys of the dashboard's actions, such as plan.run=f5,R; app.quit=Q")
