"""What the commits, the prunes, their killer and time may do next in a state of protocol_model.py.

Threading: pure functions over tuples.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.repository.prune.protocol_model import (
    ALL,
    BLOB,
    CANCELLED,
    CHECKING_BLOB,
    CHECKING_PAGE,
    DEAD,
    DELETING,
    FORGOTTEN,
    GONE,
    IDLE,
    LISTED,
    LIVE,
    LOOKING,
    NAMES,
    NEW,
    OVER,
    PAGE,
    PAGING,
    PASSING,
    READING,
    STORING,
    STRANDED,
    WAITING,
    Commit,
    Prune,
    Rules,
    State,
    is_in_window,
    is_over,
    put_commit,
    put_prune,
)

Moves = Iterator[tuple[str, State]]
GONE_COMMIT = Commit(GONE)


def moves(state: State, rules: Rules) -> Moves:
    """Yield whatever may happen next, and the state after it."""
    for number in range(len(state.commits)):
        yield from commit_moves(state, number, rules)
        yield from _commit_ends(state, number)
    for number in range(len(state.prunes)):
        yield from _prune_moves(state, number, rules)
        yield from time_moves(state, number, rules)


def commit_moves(state: State, number: int, rules: Rules) -> Moves:
    """Yield what a commit may do next; where it has a choice, first what brings it nearer to its end."""
    commit, who = state.commits[number], f"commit {number}"
    if commit.at == NEW:
        over = _find_over(state) if rules.notes_first else 0
        for noted in _subsets(over):
            yield (
                f"{who} begins, and notes as over: {_name_prunes(noted)}",
                put_commit(state, number, Commit(STORING, noted)),
            )
    elif commit.at in (STORING, PAGING):
        yield from _store(state, number, rules)
    elif commit.at == LOOKING:
        yield from _begin_look(state, number, rules)
    elif commit.at == PASSING:
        yield from _pass(state, number, rules)
    elif commit.at == WAITING and (is_over(state.prunes[commit.prune]) or not rules.waits):
        after = commit._replace(at=CHECKING_PAGE)
        yield f"{who} has waited for prune {commit.prune}", put_commit(state, number, after)
    elif commit.at in (CHECKING_PAGE, CHECKING_BLOB):
        yield from _check_waited(state, number, rules)
    if commit.sent and commit.at != GONE:
        yield f"what {who} sent arrives", put_commit(state, number, commit._replace(sent=0), state.stored | commit.sent)


def time_moves(state: State, number: int, rules: Rules) -> Moves:
    """Yield what time brings for a prune, and for what it sent."""
    prune, who = state.prunes[number], f"prune {number}"
    if rules.forgets:
        yield from _forget(state, number, rules)
    if prune.sent:
        stored = state.stored & ~prune.sent
        yield f"{who} deletes {NAMES[prune.sent]}", put_prune(state, number, prune._replace(sent=0), stored)
    if not rules.limit or (prune.sent and rules.slack):
        return
    if prune.at in (READING, DEAD) or (prune.at == DELETING and rules.stops):
        after = Prune(OVER, prune.condemned, sent=prune.sent)
        yield f"{who} has no time left", put_prune(state, number, after)
    elif prune.at == DELETING and not prune.is_late:
        yield f"{who} has no time left, and goes on", put_prune(state, number, prune._replace(is_late=1))


def _forget(state: State, number: int, rules: Rules) -> Moves:
    """Yield the end of a prune's steps when it has been over for long, and of one that took no verdict for long."""
    prune, who = state.prunes[number], f"prune {number}"
    if prune.at in (LISTED, STRANDED) and not prune.is_cancelled:
        yield f"another prune cancels {who}, since its list is old", put_prune(state, number, _cancel(prune))
    elif prune.at == LISTED and not rules.prompt:
        after = Prune(READING, prune.condemned, is_forgotten=1)
        yield f"{who}, cancelled and forgotten, takes a verdict", put_prune(state, number, after)
    elif prune.at == OVER and not prune.sent:
        commits = tuple(
            commit._replace(is_old=1)
            if commit.at not in (NEW, LIVE, GONE) and not commit.over & 1 << number
            else commit
            for commit in state.commits
        )
        text = f"{who} is forgotten"
        yield text, put_prune(State(state.stored, commits, state.prunes), number, Prune(FORGOTTEN, ALL))


def _commit_ends(state: State, number: int) -> Moves:
    """Yield a commit's kill, and the removal of its version."""
    commit = state.commits[number]
    if commit.at == LIVE:
        yield f"the version of commit {number} is removed", put_commit(state, number, GONE_COMMIT)
    elif commit.at not in (NEW, GONE):
        yield f"commit {number} is killed", put_commit(state, number, GONE_COMMIT)


def _store(state: State, number: int, rules: Rules) -> Moves:
    commit = state.commits[number]
    digest, then = (BLOB, PAGING) if commit.at == STORING else (PAGE, LOOKING)
    text = f"commit {number} {'finds' if state.stored & digest else 'puts'} {NAMES[digest]}"
    if rules.flushes or state.stored & digest:
        yield text, put_commit(state, number, commit._replace(at=then), state.stored | digest)
    else:
        yield f"{text}, not flushed", put_commit(state, number, commit._replace(at=then, sent=commit.sent | digest))


def _begin_look(state: State, number: int, rules: Rules) -> Moves:
    commit = state.commits[number]
    if commit.is_old and rules.young:
        yield f"commit {number} began too long ago, and begins anew", put_commit(state, number, Commit())
        return
    over = commit.over if rules.notes_first else _find_over(state)
    there = sum(1 << prune for prune, found in enumerate(state.prunes) if found.at != FORGOTTEN)
    left = there & ~over if rules.looks else 0
    idle = sum(1 << prune for prune, found in enumerate(state.prunes) if found.at == IDLE)
    after = Commit(PASSING, over, left, left & idle, sent=commit.sent)
    yield f"commit {number} begins to look", put_commit(state, number, after)


def _pass(state: State, number: int, rules: Rules) -> Moves:
    """Yield a look at one of the prunes that are left in this turn, or what follows the turn."""
    commit, who = state.commits[number], f"commit {number}"
    if commit.left:
        for prune in range(len(state.prunes)):
            if commit.left & 1 << prune:
                yield from _look(state, number, prune)
    elif commit.has_waited and rules.looks_anew:
        yield from _begin_look(state, number, rules)
    else:
        yield f"{who} records", put_commit(state, number, Commit(LIVE, sent=commit.sent))
        if len(state.commits) > 1:
            yield f"{who} is overtaken", put_commit(state, number, Commit(LOOKING, commit.over, sent=commit.sent))


def _look(state: State, number: int, prune: int) -> Moves:
    """Yield what a look at one prune gives; a listing need not have seen what came while it ran."""
    commit, found, text = state.commits[number], state.prunes[prune], f"commit {number} looks at prune {prune}"
    rest = ~(1 << prune)
    passed = commit._replace(left=commit.left & rest, unlisted=commit.unlisted & rest)
    if found.at == IDLE:
        yield f"{text}: nothing there", put_commit(state, number, passed)
        return
    if commit.unlisted & ~rest:
        yield f"{text}: not in its listing", put_commit(state, number, passed)
    seen = passed._replace(over=commit.over | 1 << prune)
    if found.at == CANCELLED or found.is_cancelled:
        yield f"{text}: cancelled", put_commit(state, number, seen)
    elif found.at in (LISTED, STRANDED):
        yield f"{text}: cancels it", put_commit(put_prune(state, prune, _cancel(found)), number, seen)
    elif found.is_forgotten or found.at == FORGOTTEN:
        after = passed._replace(at=CHECKING_PAGE, has_waited=1, prune=prune)
        yield f"{text}: its list is gone", put_commit(state, number, after)
    else:
        after = passed._replace(at=WAITING, has_waited=1, prune=prune)
        yield f"{text}: it has a verdict to delete {NAMES[found.condemned]}", put_commit(state, number, after)
    if not state.stored & PAGE:
        yield f"{text}: its page is gone", put_commit(state, number, Commit())


def _check_waited(state: State, number: int, rules: Rules) -> Moves:
    """Yield one look for what a prune that is over wanted, the page first."""
    commit = state.commits[number]
    prune = state.prunes[commit.prune]
    wanted = ALL if prune.is_forgotten else prune.condemned
    is_page = commit.at == CHECKING_PAGE and bool(wanted & PAGE)
    digest = PAGE if is_page else BLOB
    passed = commit._replace(at=PASSING, over=commit.over | 1 << commit.prune, prune=0)
    after = commit._replace(at=CHECKING_BLOB) if is_page and wanted & BLOB else passed
    if not rules.checks:
        yield f"commit {number} goes on", put_commit(state, number, passed)
    elif state.stored & digest:
        yield f"commit {number} finds {NAMES[digest]}", put_commit(state, number, after)
    else:
        yield f"commit {number} misses {NAMES[digest]}", put_commit(state, number, Commit(sent=commit.sent))


def _cancel(prune: Prune) -> Prune:
    """Return a prune with a verdict that cancels it. (Only without put-if-absent does it go on.)"""
    return prune._replace(is_cancelled=1) if prune.at == LISTED else Prune(CANCELLED)


def _prune_moves(state: State, number: int, rules: Rules) -> Moves:
    prune, who = state.prunes[number], f"prune {number}"
    if prune.at == IDLE:
        window = sum(1 << commit for commit, at in enumerate(state.commits) if is_in_window(at))
        for some in range(1, ALL + 1) if rules.any_list else _find_garbage(state):
            yield f"{who} condemns {NAMES[some]}", put_prune(state, number, Prune(LISTED, some, window))
    elif prune.at == LISTED:
        yield from _decide(state, number, rules)
        yield f"{who} is killed", put_prune(state, number, _kill_listed(prune))
    elif prune.at == READING:
        yield from _read(state, number)
    elif prune.at == DELETING and not (prune.sent and rules.arrives):
        yield from _send(state, number)
    if prune.at in (READING, DELETING):
        yield f"{who} is killed", put_prune(state, number, Prune(DEAD, prune.condemned, sent=prune.sent))
        if prune.sent:
            yield f"{who} is killed, and what it sent is lost", put_prune(state, number, Prune(DEAD, prune.condemned))


def _kill_listed(prune: Prune) -> Prune:
    return Prune(CANCELLED) if prune.is_cancelled else Prune(STRANDED, prune.condemned)


def _decide(state: State, number: int, rules: Rules) -> Moves:
    """Yield the verdict of a prune, once its hour is over."""
    prune, who = state.prunes[number], f"prune {number}"
    if prune.is_cancelled and rules.first_verdict:
        yield f"{who} is cancelled", put_prune(state, number, Prune(CANCELLED))
    elif not (prune.others and rules.hour) and not (prune.is_cancelled and rules.forgets):
        at = Prune(READING, prune.condemned, is_cancelled=prune.is_cancelled)
        if not rules.reads_again:
            at = at._replace(at=DELETING, left=prune.condemned)
        yield f"{who} takes its verdict", put_prune(state, number, at)


def _read(state: State, number: int) -> Moves:
    """Yield the second reading of one log; what a version there reaches is kept."""
    prune, everybody = state.prunes[number], (1 << len(state.commits)) - 1
    for commit, found in enumerate(state.commits):
        read = prune.others | 1 << commit
        text = f"prune {number} reads the log of commit {commit}"
        if prune.others & 1 << commit:
            continue
        if found.at == LIVE:
            yield f"{text}, keeps all, and is done", put_prune(state, number, Prune(OVER, prune.condemned))
        elif read != everybody:
            yield f"{text}: no version", put_prune(state, number, prune._replace(others=read))
        else:
            after = prune._replace(at=DELETING, others=0, left=prune.condemned)
            yield f"{text}: no version", put_prune(state, number, after)


def _send(state: State, number: int) -> Moves:
    """Yield the next delete that is sent, the page first, or the end."""
    prune, who = state.prunes[number], f"prune {number}"
    if not prune.left:
        done = Prune(OVER, prune.condemned, sent=prune.sent, is_cancelled=prune.is_cancelled)
        yield f"{who} is done", put_prune(state, number, done)
        return
    digest = PAGE if prune.left & PAGE else BLOB
    after = prune._replace(left=prune.left & ~digest, sent=prune.sent | digest)
    yield f"{who} sends that {NAMES[digest]} be deleted", put_prune(state, number, after)


def _find_over(state: State) -> int:
    return sum(1 << number for number, prune in enumerate(state.prunes) if is_over(prune))


def _find_garbage(state: State) -> tuple[int, ...]:
    """Return what nothing reaches now."""
    is_live = any(commit.at == LIVE for commit in state.commits)
    return (state.stored,) if state.stored and not is_live else ()


def _subsets(bits: int) -> Iterator[int]:
    return (some for some in range(bits + 1) if some & bits == some)


def _name_prunes(bits: int) -> str:
    return " ".join(str(number) for number in range(2) if bits & 1 << number) or "none"
