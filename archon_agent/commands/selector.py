"""`archon-agent selector`: learn from the history which strategy is cheapest, judge it, show the model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from archon_agent import console
from archon_agent.exit_codes import ExitCode
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, with_settings
from archon_agent.running import run_now
from core import units

if TYPE_CHECKING:
    from core.history.store import Observation
    from core.history.training import Evaluation, Money
    from core.strategies.model import Leaf, Split

app = App(help="Strategies chosen by what they cost before.", no_args_is_help=True)


@app.command()
@with_settings("selector", "history", "cost")
def train(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Train on the history; activate the model unless it does worse than the rules on the newest part.

    Exit 1 where it was not activated.
    """
    from core.history import training
    from core.history.selection import activate

    history, money = _history(loaded)
    judged = training.evaluate(history, money, seed=loaded.settings.selector.seed, clock=time.thread_time)
    model = training.train(history, money, metrics=judged.to_json())
    refused = judged.verdict
    path = None if refused else activate(model, loaded.settings)
    if as_json:
        console.print_json(
            {"id": model.id, "digest": model.digest, "active": path is not None, **judged.to_json()}
        )
    else:
        _show_evaluation(judged)
        console.say(f"not activated: {refused}" if refused else f"model {model.id} is active: {path}")
    raise typer.Exit(ExitCode.SOME_FAILED if refused else ExitCode.OK)


@app.command()
@with_settings("selector", "history", "cost")
def evaluate(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Judge a model of the older 70 % of the history on the rest, against the rules and an oracle."""
    from core.history import training

    history, money = _history(loaded)
    judged = training.evaluate(history, money, seed=loaded.settings.selector.seed, clock=time.thread_time)
    if as_json:
        console.print_json(judged.to_json())
    else:
        _show_evaluation(judged)
        console.say(
            f"it would not be activated: {judged.verdict}" if judged.verdict else "it may be activated"
        )


@app.command()
@with_settings("selector", "cost")
def show(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Show the model that runs use: digest, training range, figures, trees."""
    from core.history.selection import active_model

    model = active_model(loaded.settings)
    if as_json:
        console.print_json({"id": model.id, "digest": model.digest, **model.model_dump(mode="json")})
        return
    trained = model.trained
    console.out.print(f"model {model.id}, schema {model.schema_version}, trained {trained.at}")
    console.out.print(f"digest {model.digest}")
    console.out.print(f"on {trained.files:,} files from {trained.first} to {trained.last}")
    for key, tree in model.trees.items():
        sizes = f"{units.size(tree.smallest)} to {units.size(tree.largest)}"
        console.out.print(f"\n{key} (learned from {' and '.join(tree.kinds)}, {sizes})")
        for line in _lines(tree.root, "  "):
            console.out.print(line)


def _history(loaded: Loaded) -> tuple[list[Observation], Money]:
    from core.history.training import Money

    settings = loaded.settings
    return run_now(lambda: _joined(loaded)), Money(settings.selector, settings.cost)


async def _joined(loaded: Loaded) -> list[Observation]:
    from core.assembly.stores import open_history

    async with open_history(loaded.settings) as history:
        return await history.joined()


def _show_evaluation(judged: Evaluation) -> None:
    rows = [
        (
            name,
            units.count(share.cases),
            units.precise(share.rules_s),
            units.precise(share.model_s),
            units.precise(share.oracle_s),
            f"{share.ratio:.2f}",
            "{:.2f}–{:.2f}".format(*share.ratio_95),
            units.precise(share.model_regret_s),
            "{}–{}".format(*map(units.precise, share.model_regret_95)),
        )
        for name, share in (("all", judged.whole), *judged.parts.items())
        if share
    ]
    columns = ("FILES", "CASES", "RULES", "MODEL", "ORACLE", "MODEL/RULES", "95 %", "REGRET", "95 %")
    console.out.print(console.table(columns, rows, right=frozenset(columns[1:])))
    console.say(f"{judged.held_out:,} held-out observations; a choice takes {judged.predict_us:.1f} µs")


def _lines(tree: Leaf | Split, indent: str) -> list[str]:
    """A tree as nested conditions."""
    from core.strategies.model import Leaf

    if isinstance(tree, Leaf):
        cost, error = units.precise(tree.cost_s), units.precise(tree.error_s)
        return [f"{indent}{cost} ± {error}, fails {tree.failure:.1%}, {tree.files:,} files"]
    below = _lines(tree.low, indent + "  ")
    above = _lines(tree.high, indent + "  ")
    return [f"{indent}{tree.feature} <= {tree.at:.2f}:", *below, f"{indent}else:", *above]
