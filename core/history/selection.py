"""Which selector a run uses: the rules, or the active model of this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from core.batches import PackedFile
from core.errors import BackendUnavailable, ConfigurationError
from core.events.common import ContentStrategy
from core.safety.private import make_private, write_private
from core.settings import Settings
from core.strategies.learned import LearnedSelector
from core.strategies.model import Model, load
from core.strategies.selector import RuleSelector, Selector

logger = logging.getLogger(__name__)

MODEL: Final = "model.json"
DIGEST: Final = "digest"


def directory(settings: Settings) -> Path:
    """Where this machine's model is."""
    return settings.data_dir / "selector"


def activate(model: Model, settings: Settings) -> Path:
    """Write the model and its digest, so that runs from now on use it. Raises `BackendUnavailable`."""
    home = directory(settings)
    try:
        make_private(home)
        for name, text in ((MODEL, model.to_json()), (DIGEST, model.digest)):
            temporary = home / f"{name}.{os.getpid()}"
            write_private(temporary, text)
            temporary.replace(home / name)
    except OSError as error:
        raise BackendUnavailable(f"{home} cannot be written: {error.strerror}") from None
    return home / MODEL


def active_model(settings: Settings) -> Model:
    """The model that runs use. Raises `ConfigurationError`, which says why there is none."""
    chosen = settings.selector
    if chosen.use == "rules":
        raise ConfigurationError("selector.use is rules")
    if chosen.model:
        model = load(chosen.model, chosen.digest)
    else:
        home = directory(settings)
        if not (home / MODEL).exists():
            raise ConfigurationError("there is no model yet", hint="archon-agent selector train")
        try:
            digest = (home / DIGEST).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            digest = ""
        model = load(home / MODEL, digest)
    if (model.trained.usd_per_hour, model.trained.rates) != (
        chosen.usd_per_hour,
        settings.cost.model_dump(),
    ):
        raise ConfigurationError(
            "the model was trained at other rates than the settings have", hint="archon-agent selector train"
        )
    return model


def new_selector(
    settings: Settings, backends: Mapping[ContentStrategy, str], preferred: ContentStrategy | None = None
) -> Selector:
    """The selector of these settings; the rules where no model can be used, which know why.

    Raises `ConfigurationError` only for a model that the settings name themselves.
    """
    try:
        model = active_model(settings)
    except ConfigurationError as error:
        if settings.selector.model and settings.selector.use == "auto":
            raise
        logger.debug("the rules choose: %s", error)
        return RuleSelector(preferred, reason=str(error))
    rules = RuleSelector(preferred)
    return LearnedSelector(
        model, backends, rules, explore=settings.selector.explore, seed=settings.selector.seed
    )


def said_of_choice(files: Sequence[PackedFile], selector: str, model_id: str | None) -> dict[str, str]:
    """What an event's metadata say of the choice: who made it, and the mean costs expected."""
    said = {"selector": selector}
    if model_id:
        said["selector_model"] = model_id
    scores: dict[ContentStrategy, list[float]] = {}
    for file in files:
        for strategy, cost_s in file.scores:
            scores.setdefault(strategy, []).append(cost_s)
    for strategy, costs in scores.items():
        said[f"expected_ms_{strategy}"] = f"{1000 * sum(costs) / len(costs):.3f}"
    return said
