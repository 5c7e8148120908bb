"""Writes the documents that come from code: `make docs`. A test fails when one is stale."""

from __future__ import annotations

import json
from pathlib import Path

from archon_agent import openapi
from core.events.schema import documents
from core.settings.model import options

ROOT = Path(__file__).parents[1]


def generated() -> dict[Path, str]:
    """Path below the repository's root -> the text it should have."""
    files = {
        Path("docs/events") / (f"{name}.json" if name == "asyncapi" else f"{name}.schema.json"): _json(
            document
        )
        for name, document in documents().items()
    }
    files[Path("docs/configuration.md")] = _configuration()
    files[Path("docs/openapi.json")] = _json(openapi.document())
    return files


def _json(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"


def _configuration() -> str:
    lines = [
        "# Settings",
        "",
        "Generated from the settings model by `make docs`.",
        "A flag beats the environment, the environment beats `archon.toml`, that beats the default.",
        "The file is `--config` or `$ARCHON_CONFIG`, else `archon.toml` in `$ARCHON_HOME` or the user's",
        "configuration directory. Sizes: 1 KB is 1,024 bytes.",
        "`archon-agent config show` prints each value and where it comes from.",
        "",
        "| archon.toml | flag | environment | default | |",
        "|---|---|---|---|---|",
    ]
    for item in options():
        default = "" if item.default is None else f"`{item.default}`"
        environment = ", ".join(f"`{name}`" for name in item.env)
        lines.append(f"| `{item.key}` | `{item.flag}` | {environment} | {default} | {item.help} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write every generated document."""
    for path, text in generated().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
