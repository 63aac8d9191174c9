"""The model of commits and prunes is searched to its end, and each rule is found to be needed."""

from __future__ import annotations

import dataclasses
from functools import partial
from itertools import chain

import pytest

from tests.repository.prune.model_search import Found, search
from tests.repository.prune.protocol_model import GONE, LIVE, Rules, State, begin, check_safe, fold
from tests.repository.prune.protocol_moves import commit_moves, moves, time_moves

FULL = Rules()
FORGETFUL = Rules(forgets=True)
CAREFUL = Rules(any_list=False)
"""Prunes condemn only what nothing reaches: what is lost then is not lost because of an odd list."""


def find_stuck(state: State, rules: Rules, known: set[tuple[int, State]]) -> str:
    """Return which commit does not come to its end where everybody else is dead and time goes on, or nothing.

    Args:
        state: where to begin.
        rules: the protocol.
        known: commits and states in which they do; more are added.
    """
    for number, commit in enumerate(state.commits):
        if commit.at in (LIVE, GONE):
            continue
        here, way = state, []
        while (number, here) not in known and here.commits[number].at != LIVE:
            way.append((number, here))
            alone = chain(commit_moves(here, number, rules), time_moves(here, here.commits[number].prune, rules))
            _, following = next(alone, ("", here))
            if following in (item[1] for item in way):
                return f"commit {number} waits for ever"
            here = following
        known.update(way)
    return ""


def search_model(commits: int, prunes: int, rules: Rules, *, with_progress: bool = True) -> Found[State]:
    known: set[tuple[int, State]] = set()

    def check(state: State) -> str:
        return check_safe(state) or (find_stuck(state, rules, known) if with_progress else "")

    return search(begin(commits, prunes), partial(moves, rules=rules), check, fold)


@pytest.mark.parametrize(
    ("commits", "prunes", "rules", "states"),
    [
        pytest.param(1, 1, FULL, 399, id="one-of-each"),
        pytest.param(2, 1, FULL, 2_333, id="two-commits"),
        pytest.param(1, 2, FULL, 14_437, id="two-prunes"),
        pytest.param(2, 2, FULL, 172_794, id="two-of-each", marks=pytest.mark.slow),
        pytest.param(2, 1, FORGETFUL, 2_944, id="two-commits-and-prunes-are-forgotten"),
        pytest.param(1, 2, FORGETFUL, 20_720, id="two-prunes-that-are-forgotten"),
        pytest.param(2, 2, FORGETFUL, 264_554, id="two-of-each-and-prunes-are-forgotten", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(900)
def test_nothing_is_lost_and_nobody_waits_for_ever(commits: int, prunes: int, rules: Rules, states: int) -> None:
    found = search_model(commits, prunes, rules)
    assert not found.wrong, f"\n{found}"
    assert found.states == states


LOSING = {
    "looks": (1, 1),
    "hour": (1, 1),
    "first_verdict": (1, 1),
    "reads_again": (1, 1),
    "waits": (1, 1),
    "checks": (1, 1),
    "looks_anew": (1, 2),
    "notes_first": (1, 1),
    "flushes": (1, 1),
    "slack": (1, 1),
    "arrives": (1, 1),
    "stops": (1, 1),
    "young": (1, 1),
    "prompt": (1, 1),
}


@pytest.mark.parametrize("rule", LOSING)
def test_without_one_of_the_rules_something_is_lost(rule: str) -> None:
    rules = dataclasses.replace(CAREFUL, forgets=rule in ("young", "prompt"), **{rule: False})
    found = search_model(*LOSING[rule], rules, with_progress=False)
    print(f"without {rule}:\n{found}")
    assert found.wrong.startswith("a record reaches")
    assert len(found.way) <= 17  # as docs/design/prune.md says


def test_without_a_limit_a_commit_waits_for_ever_for_a_dead_prune() -> None:
    found = search_model(1, 1, dataclasses.replace(CAREFUL, limit=False))
    print(found)
    assert found.wrong == "commit 0 waits for ever"


def test_every_rule_is_tried() -> None:
    settings = {"any_list", "forgets"}
    assert {field.name for field in dataclasses.fields(Rules)} == {*LOSING, "limit", *settings}


def test_every_move_of_the_table_is_made() -> None:
    """No part of the model is out of reach."""
    seen: set[str] = set()

    def note(state: State) -> list[tuple[str, State]]:
        found = list(moves(state, FORGETFUL))
        seen.update(move for move, _ in found)
        return found

    search(begin(1, 2), note, check_safe, fold)
    for words in (
        "begins, and notes as over: none",
        "begins, and notes as over: 0",
        "finds the blob",
        "puts the page",
        "nothing there",
        "not in its listing",
        "cancels it",
        ": cancelled",
        "it has a verdict to delete both",
        "its list is gone",
        "its page is gone",
        "has waited",
        "misses the page",
        "records",
        "is removed",
        "is killed, and what it sent is lost",
        "takes its verdict",
        "keeps all, and is done",
        "deletes the blob",
        "is done",
        "has no time left",
        "is forgotten",
        "begins anew",
    ):
        assert any(words in move for move in seen), words
