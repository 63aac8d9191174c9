"""Runs real code of several actors in every order of their steps that can matter, by running it again and again.

Each actor is a thread that stops before each call on the store that another actor could notice. A scheduler lets one
of them go at a time. The tree of choices is searched depth first: a run follows the choices that were made before and
goes on with the first one that is left; a state that was met before (what is stored, and what each actor was answered
so far) is not gone into again. An actor that is never let go again has been killed, so kills anywhere are among the
orders; where somebody waits for an actor, its kill is a choice of its own.

Used by test_interleavings.py. Threading: one run at a time.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from artifactfs.blobstore.base import ObjectBatch, ObjectFile
from artifactfs.blobstore.memory import MemoryBatch, MemoryStore

KILL = "kill "


class Killed(BaseException):
    """This actor goes on no further."""


@dataclass
class Actor:
    """One participant: a thread with its own view of the store."""

    name: str
    act: Callable[[Actor], None]
    world: World
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    may_go: Callable[[], bool] = lambda: True
    is_over: bool = False
    is_killed: bool = False
    error: BaseException | None = None
    trace: bytes = b""
    steps: int = 0
    collection: str = "-"
    window: float = -1.0

    def step(self, may_go: Callable[[], bool] = lambda: True) -> None:
        """Stop until the scheduler lets this actor go, which it may once `may_go()` is true."""
        if self.is_killed:
            raise Killed  # what it would still do on its way out is not done either
        self.may_go = may_go
        self.world.turn.release()
        self.go.acquire()
        self.steps += 1
        if self.is_killed:
            raise Killed

    def note(self, answer: object) -> None:
        """Remember an answer: what an actor does follows from the answers that it got."""
        self.trace = hashlib.sha256(self.trace + repr(answer).encode()).digest()

    def run(self) -> None:
        """Act; the thread's main function."""
        try:
            self.step()
            self.act(self)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 (told by the test)
            self.error = error
        self.is_over = True
        self.world.turn.release()


class World:
    """One run. `time` counts the steps."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.turn = threading.Semaphore(0)
        self.actors: list[Actor] = []
        self.time = 0
        self.has_changed = True
        self.has_drafts = False

    def add(self, name: str, act: Callable[[Actor], None]) -> None:
        self.actors.append(Actor(name, act, self))

    def begin(self) -> None:
        for actor in self.actors:
            threading.Thread(target=actor.run, daemon=True).start()
            self.turn.acquire()

    def choices(self) -> list[str]:
        """Return what may happen next: an actor's step, or the kill of one that another waits for."""
        live = [actor for actor in self.actors if not (actor.is_over or actor.is_killed)]
        able = [actor.name for actor in live if actor.may_go()]
        waiting = len(able) < len(live)
        return able + ([KILL + name for name in able] if waiting else [])

    def take(self, choice: str) -> None:
        self.time += 1
        if choice.startswith(KILL):
            self._get(choice.removeprefix(KILL)).is_killed = True
        else:
            actor = self._get(choice)
            actor.go.release()
            self.turn.acquire()

    def end(self) -> None:
        """Let threads end that wait."""
        for actor in self.actors:
            if not actor.is_over:
                actor.is_killed = True
                actor.go.release()

    def fingerprint(self) -> bytes:
        """Return bytes that tell this state from every other one."""
        windows = sorted((actor.window, actor.name) for actor in self.actors)
        order = [name for _, name in windows], [window >= 0 for window, _ in windows]
        parts = [(actor.name, actor.steps, actor.trace, actor.is_over, actor.is_killed) for actor in self.actors]
        return hashlib.sha256(repr((sorted(self.store.objects.items()), parts, order)).encode()).digest()

    def _get(self, name: str) -> Actor:
        return next(actor for actor in self.actors if actor.name == name)


class ActorStore:
    """The store as one actor sees it: it stops where the order of calls can be noticed."""

    keeps_checksums = False

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._store = actor.world.store

    def read(self, key: str) -> bytes:
        # Only what prune deletes, or what is not there yet, can be read differently a moment later.
        if (key not in self._store.objects or _may_go(key)) and not self._is_own(key):
            self._actor.step()
        found = self._store.objects.get(key)
        self._actor.note((key, found))
        return self._store.read(key)

    def read_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        return map(self.read, keys)

    def open(self, key: str) -> ObjectFile:
        self._actor.step()
        self._actor.note((key, key in self._store.objects))
        return self._store.open(key)

    def find_size(self, key: str) -> int | None:
        if key.startswith(("blobs/", "packs/")):
            self._actor.window = -1.0  # a commit that looks for blobs has not come to its last look
        if self._actor.name.startswith("prune") and _may_go(key):
            return self._store.find_size(key)  # for what it tells the user: it decides nothing
        if key not in self._store.objects or _may_go(key):
            self._actor.step()
        found = self._store.find_size(key)
        self._actor.note((key, found))
        return found

    def iter_keys(self, prefix: str) -> Iterator[str]:
        if prefix not in ("format/", "drafts/", "sums/"):  # where nobody here writes
            self._actor.step()
        found = sorted(self._store.iter_keys(prefix))
        self._actor.note((prefix, found))
        return iter(found)

    def iter_children(self, prefix: str) -> Iterator[str]:
        if not self._is_own(prefix) and (self._actor.world.has_drafts or not prefix.startswith("drafts/")):
            self._actor.step()
        if prefix == "prune/":
            self._actor.window = self._actor.world.time
        found = sorted(self._store.iter_children(prefix))
        self._actor.note((prefix, found))
        return iter(found)

    def _is_own(self, key: str) -> bool:
        """Return whether nobody else writes there: the log of an actor's own collection, and those that rest."""
        return key.startswith((f"collections/{self._actor.collection}/", "collections/old/"))

    def create(self, key: str, data: bytes) -> bool:
        self._actor.step()
        created = self._store.create(key, data)
        self._actor.world.has_changed = True
        if ("/log/" in key or key.startswith("drafts/")) and created:
            self._actor.window = -1.0
        self._actor.note((key, created))
        return created

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._actor.step()
            self._store.delete([key])
            self._actor.world.has_changed = True

    def begin_batch(self) -> ObjectBatch:
        return MemoryBatch(self)  # type: ignore[arg-type]

    def put(self, key: str, data: bytes) -> None:
        self._actor.step()
        self._store.put(key, data)

    def find_signature(self, key: str) -> bytes:
        return self._store.find_signature(key)


def _may_go(key: str) -> bool:
    return key.startswith(("blobs/", "trees/", "packs/", "treepacks/"))


@dataclass
class Explored:
    """What a search did."""

    runs: int = 0
    states: int = 0
    finished: int = 0


def _check(world: World, check: Callable[[World], None], taken: list[str]) -> None:
    if not world.has_changed and not any(actor.error for actor in world.actors):
        return
    try:
        check(world)
    except AssertionError as error:
        msg = f"after {taken}"
        raise AssertionError(msg) from error
    world.has_changed = False


def explore(
    make: Callable[[], World], check: Callable[[World], None], *, limit: int, preemptions: int = 1 << 30
) -> Explored:
    """Run everything in every order, and check each state.

    Args:
        make: makes a world as it is at the beginning.
        check: raises AssertionError where a state is wrong.
        limit: runs at most.
        preemptions: how often, in one order, another actor goes on though the last one could, or one is killed. Few
            are enough for most errors ("Iterative Context Bounding", Musuvathi and Qadeer, 2007), and they keep large
            worlds small.

    Raises:
        AssertionError: from `check`, with the order that led there; or there were more than `limit` runs.
    """
    found = Explored()
    least: dict[tuple[bytes, str], int] = {}  # with how few preemptions a state was met, by who went last
    waiting: list[list[str]] = [[]]
    while waiting:
        prefix = waiting.pop()
        found.runs += 1
        assert found.runs <= limit, f"more than {limit} runs"
        world = make()
        world.begin()
        try:
            _follow(world, prefix, check, least, waiting, preemptions, found)
        finally:
            world.end()
    found.states = len({state for state, _ in least})
    return found


def _follow(
    world: World,
    prefix: list[str],
    check: Callable[[World], None],
    least: dict[tuple[bytes, str], int],
    waiting: list[list[str]],
    preemptions: int,
    found: Explored,
) -> None:
    """Make the choices of `prefix`, then the first one everywhere; the others are left for later."""
    taken: list[str] = []
    spent = 0
    last = ""
    for position in itertools.count():
        choices = able = world.choices()
        if position >= len(prefix):
            state = world.fingerprint(), last
            if least.get(state, 1 << 30) <= spent:
                return
            least[state] = spent
            _check(world, check, taken)
            if not choices:
                found.finished += 1
                return
            choices.sort(key=lambda choice: choice != last)
            if last in choices and spent >= preemptions:
                choices = [last]
            elif spent >= preemptions:
                choices = [choice for choice in choices if not choice.startswith(KILL)] or choices
            waiting += [[*taken, choice] for choice in choices[1:]]
            choice = choices[0]
        else:
            choice = prefix[position]
        is_kill = choice.startswith(KILL)
        spent += is_kill or (last in able and choice != last)
        world.take(choice)
        taken.append(choice)
        last = last if is_kill else choice
