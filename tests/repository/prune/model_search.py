"""Breadth-first search of all states of a model, with the shortest way to one that is wrong.

Used by test_protocol_model.py. Threading: pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True)
class Found(Generic[State]):
    """What a search found.

    Attributes:
        states: how many states there are, those that differ in names alone counted once.
        moves: how many moves lead from one to another.
        wrong: what is wrong in the last state of the way, or nothing.
        way: the shortest one to it, as each move and the state after it.
    """

    states: int
    moves: int
    wrong: str = ""
    way: tuple[tuple[str, State], ...] = ()

    def __str__(self) -> str:
        """Return the way, a line for each move."""
        lines = [f"{number:3}. {move}" for number, (move, _) in enumerate(self.way, 1)]
        return "\n".join([*lines, f"  => {self.wrong}"])


def search(
    start: State,
    moves: Callable[[State], Iterable[tuple[str, State]]],
    check: Callable[[State], str],
    fold: Callable[[State], State],
) -> Found[State]:
    """Go to every state that can be reached, and stop at the first one that is wrong.

    Args:
        start: the first state.
        moves: gives what may happen in a state, and the state after it.
        check: says what is wrong in a state, or nothing.
        fold: gives the state that stands for all that differ in names alone.
    """
    start = fold(start)
    before: dict[State, State | None] = {start: None}
    row, count = [start], 0
    while row:
        after = []
        for state in row:
            if wrong := check(state):
                return Found(len(before), count, wrong, _trace(state, before, moves, fold))
            for _, following in moves(state):
                count += 1
                if following in before:
                    continue
                folded = fold(following)
                if folded not in before:
                    before[folded] = state
                    after.append(folded)
        row = after
    return Found(len(before), count)


def _trace(
    last: State,
    before: dict[State, State | None],
    moves: Callable[[State], Iterable[tuple[str, State]]],
    fold: Callable[[State], State],
) -> tuple[tuple[str, State], ...]:
    """Return the way to a state, with the same names from its beginning to its end."""
    states = list(_go_back(last, before))[::-1]
    here, way = states[0], []
    for wanted in states[1:]:
        move, here = next((move, state) for move, state in moves(here) if fold(state) == wanted)
        way.append((move, here))
    return tuple(way)


def _go_back(last: State, before: dict[State, State | None]) -> Iterator[State]:
    state: State | None = last
    while state is not None:
        yield state
        state = before[state]
