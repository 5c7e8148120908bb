"""One registry: keys that can be changed, never doubled, and shown where they work."""

from __future__ import annotations

import pytest

from archon_tui.actions import ACTIONS, BY_ID, SCREENS, hints, of_screen, with_keys
from archon_tui.reference import markdown
from archon_tui.screens.help import lines_of
from core.errors import ConfigurationError
from tests.tui.driving import words


def test_names_are_unique_and_no_key_is_doubled() -> None:
    assert len(BY_ID) == len(ACTIONS)
    assert with_keys({}) == ACTIONS


def test_a_key_can_be_changed() -> None:
    bound = {action.id: action for action in with_keys({"plan.run": "f5, P"})}
    assert bound["plan.run"].key_names == ("f5", "P")


def test_a_key_that_would_mean_two_things_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"\? is both"):
        with_keys({"plan.run": "?"})


def test_an_unknown_action_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigurationError, match=r"there is no action plan\.fly") as caught:
        with_keys({"plan.fly": "f"})
    assert caught.value.hint == "docs/dashboard-keys.md lists them"


def test_the_same_key_may_serve_two_screens() -> None:
    assert with_keys({"events.kind": "w"})


@pytest.mark.parametrize("screen", SCREENS)
def test_what_changes_something_is_marked_so(screen: str) -> None:
    for action in of_screen(ACTIONS, screen):
        assert action.writes == (action.shown_keys[:1] in (("R",), ("X",), ("D",), ("C",), ("W",)))


def test_the_footer_begins_with_what_the_screen_is_for() -> None:
    assert [action.id for action in hints(ACTIONS, "plan")][:3] == ["list.open", "plan.run", "plan.why"]


def test_help_says_why_not_now() -> None:
    actions = [(BY_ID["plan.run"], "the plan is still being made"), (BY_ID["app.quit"], None)]
    text = words(lines_of("Plan", actions, "about this", True))
    assert "about this" in text
    assert "publish this plan  – not now: the plan is still being made" in text
    assert "Filters" in text


def test_the_document_names_every_action() -> None:
    text = markdown()
    assert all(f"`{action.id}`" in text for action in ACTIONS)
