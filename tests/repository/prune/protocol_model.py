"""The protocol of commits and prunes on a store without locks, as a model small enough to be searched to its end.

Two commits need the same two objects: an old blob, which is there and which nothing reaches, and a new page. Two prunes
may condemn any of them. Each may be killed at any step, and versions may be removed. A state is a tuple of what is
stored, where each commit is, and where each prune is. The moves between states are in protocol_moves.py:

| Move                       | Code in artifactfs/repository                                                       |
|----------------------------|-------------------------------------------------------------------------------------|
| begins, and notes          | `store_safely` enters `ListExclusion.writing`: `Look.__init__`                      |
| finds, puts (before looks) | the `store` of `store_safely`: puts an object if it is not there, and flushes       |
| begins to look             | `Look.look`: one turn of its loop, which lists `prune/`                             |
| looks at prune             | `Look._settle`: the list, then the verdict or `cancel`; `_find_needed` reads pages  |
| has waited                 | `Look._settle`: its loop                                                            |
| finds, misses (after that) | `Look._settle`: sizes of what is wanted; `PrunedError` makes `store_safely` begin   |
| began too long ago         | `Look._check_age`                                                                   |
| records, is overtaken      | `Log.append`, which runs the change of `commit._append` just before, each time      |
| condemns                   | `find_garbage`, then `ListExclusion.deleting` up to its sleep                       |
| takes its verdict          | `ListExclusion._take_verdict`                                                       |
| reads the log              | `delete_garbage`: `read_logs` and `_add_roots`                                      |
| sends, deletes             | `delete_garbage`: `may_delete`, then `store.delete`; pages first                    |
| is done                    | `ListExclusion.deleting`: its end                                                   |
| has no time left           | `Verdict.until_ns`, which `is_ended_by` reads, and `may_delete` some minutes before |
| cancels, is forgotten      | `forget_prunes`                                                                     |

What is left out changes nothing. Looking for an object and putting it is one move: either way it is there when the put
arrives or the look finds it. Reading a verdict and cancelling is one, since a verdict does not change. What a prune
found at first does not matter, since that may be as old as its user likes: it condemns what it likes. Logs are read one
by one, in any order, and a listing may or may not have seen what came while it ran.

Time is as docs/design/prune.md assumes. A prune's hour is over only when each commit whose last look began before the
list was there has recorded, waits, began anew or was killed. What a prune sent has arrived, or never will, before its
time is over. A prune is forgotten at any time after its end; a commit then notices that it began long before.

Threading: pure functions over tuples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

BLOB, PAGE = 1, 2
ALL = BLOB | PAGE
NAMES = ("nothing", "the blob", "the page", "both")
SWAPPED = (0, 2, 1, 3)
"""Sets of two are bits: this swaps the two."""

NEW, STORING, PAGING, LOOKING, PASSING, WAITING, CHECKING_PAGE, CHECKING_BLOB, LIVE, GONE = range(10)
"""Where a commit is; gone is killed, or removed later."""
IDLE, LISTED, STRANDED, CANCELLED, READING, DELETING, DEAD, OVER, FORGOTTEN = range(9)
"""Where a prune is; stranded was killed before its verdict, dead after it."""


class Commit(NamedTuple):
    """A commit.

    Attributes:
        at: where it is.
        over: the prunes that it knows to be over.
        left: those that it has not looked at in this turn.
        unlisted: those of them that were not there yet when the turn began.
        has_waited: whether it waited in this turn.
        prune: the one that it waits for.
        sent: what was put and has not arrived; nothing where commits flush.
        is_old: whether a prune that it does not know to be over was forgotten since it began.
    """

    at: int = NEW
    over: int = 0
    left: int = 0
    unlisted: int = 0
    has_waited: int = 0
    prune: int = 0
    sent: int = 0
    is_old: int = 0


class Prune(NamedTuple):
    """A prune.

    Attributes:
        at: where it is.
        condemned: what is on its list.
        others: the commits whose look its hour outlasts; later those whose logs it has read again.
        left: what it still deletes.
        sent: the delete that has not arrived.
        is_cancelled: whether it was cancelled while it waits for its hour.
        is_late: whether it goes on although its time is over; never where it stops.
        is_forgotten: whether it goes on although its list was deleted; never where it is prompt.
    """

    at: int = IDLE
    condemned: int = 0
    others: int = 0
    left: int = 0
    sent: int = 0
    is_cancelled: int = 0
    is_late: int = 0
    is_forgotten: int = 0


class State(NamedTuple):
    """Everything."""

    stored: int
    commits: tuple[Commit, ...]
    prunes: tuple[Prune, ...]


@dataclass(frozen=True)
class Rules:
    """The rules of the protocol, each of which may be left out.

    Attributes:
        any_list: a prune condemns what it likes, instead of what nothing reaches right now.
        forgets: the steps of prunes are deleted 14 days after their end; without it, they stay.
        looks: a commit looks at the lists before its record.
        hour: a prune waits for its hour.
        first_verdict: the verdict is put if absent.
        reads_again: a prune reads the logs after its verdict.
        waits: a commit waits for a prune that has a verdict to delete.
        checks: a commit that has waited looks for what was deleted, and stores it again.
        looks_anew: a commit that has waited looks at all prunes again.
        notes_first: a commit notes which prunes are over before its first object, not when it looks.
        flushes: what a commit sent has arrived before it looks.
        slack: what a prune sent has arrived before its time is over.
        arrives: what a prune sent has arrived before it sends more, or is done.
        stops: a prune sends nothing once its time is over.
        limit: a verdict says when the time is over.
        young: a commit that began so long ago that prunes may be forgotten begins anew.
        prompt: a prune takes no verdict so long after its list that it may be forgotten.
    """

    any_list: bool = True
    forgets: bool = False
    looks: bool = True
    hour: bool = True
    first_verdict: bool = True
    reads_again: bool = True
    waits: bool = True
    checks: bool = True
    looks_anew: bool = True
    notes_first: bool = True
    flushes: bool = True
    slack: bool = True
    arrives: bool = True
    stops: bool = True
    limit: bool = True
    young: bool = True
    prompt: bool = True


def begin(commits: int, prunes: int) -> State:
    """Return the state in which nobody has begun."""
    return State(BLOB, (Commit(),) * commits, (Prune(),) * prunes)


def fold(state: State) -> State:
    """Return the one of the states that differ in names alone which stands for all of them."""
    images = [state]
    if len(state.commits) == 2:
        images.append(_swap_commits(state))
    if len(state.prunes) == 2:
        images += [_swap_prunes(image) for image in images]
    return min(images)


def check_safe(state: State) -> str:
    """Return what is wrong in a state, or nothing: what a record reaches is there."""
    if state.stored != ALL and any(commit.at == LIVE for commit in state.commits):
        return f"a record reaches {NAMES[ALL & ~state.stored]}, which is gone"
    return ""


def put_commit(state: State, number: int, commit: Commit, stored: int | None = None) -> State:
    """Return a state with another commit, which is taken out of the hours that it does not hold up any more."""
    commits, prunes, bit, before = list(state.commits), state.prunes, 1 << number, state.commits[number]
    goes_on = is_in_window(commit) and before.at == PASSING and commit.left != before.left
    commits[number] = commit
    if not goes_on and any(prune.others & bit and prune.at == LISTED for prune in prunes):
        prunes = tuple(p._replace(others=p.others & ~bit) if p.at == LISTED else p for p in prunes)
    return State(state.stored if stored is None else stored, tuple(commits), prunes)


def put_prune(state: State, number: int, prune: Prune, stored: int | None = None) -> State:
    """Return a state with another prune."""
    prunes = list(state.prunes)
    prunes[number] = prune
    return State(state.stored if stored is None else stored, state.commits, tuple(prunes))


def is_in_window(commit: Commit) -> bool:
    """Return whether the record may follow without another look."""
    return commit.at == PASSING and not commit.has_waited


def is_over(prune: Prune) -> bool:
    """Return whether a commit takes a prune for one that deletes nothing any more."""
    return prune.at in (CANCELLED, OVER, FORGOTTEN) or bool(prune.is_cancelled or prune.is_late)


def _swap_commits(state: State) -> State:
    prunes = tuple(p._replace(others=SWAPPED[p.others]) if p.others else p for p in state.prunes)
    return State(state.stored, state.commits[::-1], prunes)


def _swap_prunes(state: State) -> State:
    commits = tuple(_swap_seen(commit) for commit in state.commits)
    return State(state.stored, commits, state.prunes[::-1])


def _swap_seen(commit: Commit) -> Commit:
    at, over, left, unlisted, has_waited, prune, sent, is_old = commit
    if at in (WAITING, CHECKING_PAGE, CHECKING_BLOB):
        prune = 1 - prune
    return Commit(at, SWAPPED[over], SWAPPED[left], SWAPPED[unlisted], has_waited, prune, sent, is_old)
