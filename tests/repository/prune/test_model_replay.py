"""What the model loses without a rule, the real code loses without it, too, by the very same moves; and not with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from artifactfs.blobstore.keys import CONDEMNED, VERDICT, log_key
from tests.repository.prune.explorer import Actor, World
from tests.repository.prune.model_search import search
from tests.repository.prune.protocol_model import ALL, Rules, begin, check_safe, fold
from tests.repository.prune.protocol_moves import moves
from tests.repository.prune.test_interleavings import (
    FILES,
    actors_of,
    check_whole,
    delete_against_the_verdict,
    do_not_wait_for_commits,
    make_world,
    never_look,
    trust_the_logs_of_before,
)

Mutate = Callable[[pytest.MonkeyPatch], None]
RULES = [
    pytest.param(Rules(any_list=False, looks=False), never_look, id="looks"),
    pytest.param(Rules(any_list=False, hour=False), do_not_wait_for_commits, id="hour"),
    pytest.param(Rules(any_list=False, first_verdict=False), delete_against_the_verdict, id="first-verdict"),
    pytest.param(Rules(any_list=False, reads_again=False), trust_the_logs_of_before, id="reads-again"),
]
FIRST_RECORD = log_key("animals", 1)
NAMES = {"commit 0": "commit animals", "prune 0": "prune 3"}


def find_way(rules: Rules) -> list[str]:
    """Return the model's way to a loss, where blob and page are both there, as in the prepared repository."""
    found = search(begin(1, 1)._replace(stored=ALL), partial(moves, rules=rules), check_safe, fold)
    assert found.wrong
    return [move for move, _ in found.way]


class Replay:
    """The real actors, led along a way of the model."""

    def __init__(self) -> None:
        self.world: World = make_world(FILES, actors_of(1, 1, FILES, have_looked=True))()
        self.answers: dict[str, list[str]] = {}
        for actor in self.world.actors:
            self._listen(actor)
        self.world.begin()

    def follow(self, way: list[str]) -> bool:
        """Return whether all moves could be made, in this order."""
        return all(self._make(move) for move in way)

    def finish(self) -> None:
        """Let whoever can go on come to the end."""
        while choices := self.world.choices():
            self.world.take(choices[0])

    def _listen(self, actor: Actor) -> None:
        answers = self.answers[actor.name] = []
        note = actor.note

        def listen(answer: object) -> None:
            if isinstance(answer, tuple):
                # A create alone is answered with whether it was done.
                answers.append(f"{'create ' if isinstance(answer[1], bool) else ''}{answer[0]}")
            note(answer)

        actor.note = listen  # type: ignore[method-assign]

    def _make(self, move: str) -> bool:
        """Let the actor of a move go on until it has made it."""
        name = next(real for model, real in NAMES.items() if move.startswith(model))
        while not self._is_made(move, self.answers[name]):
            if name not in self.world.choices():
                return False
            self.world.take(name)
        return True

    def _is_made(self, move: str, answers: list[str]) -> bool:
        """Return whether the calls that a move stands for were made."""
        stored = self.world.store.objects
        if "deletes" in move:
            return not any(key.startswith("trees/" if "page" in move else "blobs/") for key in stored)
        if "finds the" in move:
            return any(key.startswith("trees/" if "page" in move else "blobs/") for key in answers)
        if "begins" in move:
            return answers.count("prune/") > ("begins to look" in move)
        if "reads the log" in move:
            return "collections/" in answers
        made = {"condemns": CONDEMNED, "takes its verdict": VERDICT, "cancels it": VERDICT, "records": FIRST_RECORD}
        wanted = [step for words, step in made.items() if words in move]
        return not wanted or any(key.startswith("create ") and key.endswith(wanted[0]) for key in answers)


@pytest.mark.parametrize(("rules", "mutate"), RULES)
def test_the_real_code_without_a_rule_loses_what_the_model_does(
    rules: Rules, mutate: Mutate, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    way = [move for move in find_way(rules) if rules.looks or "begins to look" not in move]
    replay = Replay()
    try:
        assert replay.follow(way), way
        with pytest.raises(AssertionError, match="no object"):
            check_whole(replay.world)
    finally:
        replay.world.end()


@pytest.mark.parametrize(("rules", "mutate"), RULES)
def test_the_real_code_with_all_rules_does_not_go_that_way(rules: Rules, mutate: Mutate) -> None:
    del mutate
    replay = Replay()
    try:
        assert not replay.follow(find_way(rules))
        replay.finish()
        check_whole(replay.world)
    finally:
        replay.world.end()
