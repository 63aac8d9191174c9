"""The protocol of prunes and commits on a store without locks: the real code, in every order of its steps.

Time is as docs/design.md assumes: a prune's hour passes only when each commit that looked before its list was there has
written its record or was killed; the time in which a prune may delete passes only when it has ended or was killed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import ArtifactFSError, ConflictError
from artifactfs.model import Collection, Root
from artifactfs.repository import prune as prune_module
from artifactfs.repository.condemning import ListExclusion, Look
from artifactfs.repository.format import find_format
from artifactfs.repository.prune import _read_logs, delete_garbage, find_garbage
from artifactfs.repository.reach import check_present
from artifactfs.repository.repository import Repository
from artifactfs.repository.roots import iter_roots
from artifactfs.testing.repositories import TIME_NS, Content, commit_files
from tests.repository.prune.explorer import Actor, ActorStore, World, explore
from tests.repository.prune.support import Numbers, delete_version, open_listed

FILES: dict[bytes, Content] = {b"a": b"alpha"}
NOTHING: dict[bytes, Content] = {}
"""One object, the empty directory: enough where a commit and a prune alone were tried with more."""


class ActorClock:
    """Time passes when the assumptions let it; see the module's description."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._now_ns = TIME_NS

    def now_ns(self) -> int:
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        world, me = self._actor.world, self._actor
        me.window = -1.0
        if seconds >= 3600:  # a prune's hour
            begun = world.time
            me.step(lambda: not any(_is_in_window(other, begun) for other in world.actors if other is not me))
        else:  # a commit waits for prunes
            prunes = [other for other in world.actors if other.name.startswith("prune")]
            done = len([key for key in world.store.objects if key.endswith("/done")])
            me.step(
                lambda: (
                    len([key for key in world.store.objects if key.endswith("/done")]) > done
                    or all(other.is_over or other.is_killed for other in prunes)
                )
            )
            if all(other.is_over or other.is_killed for other in prunes):
                self._now_ns += 10**15
        me.note(self._now_ns)


def _is_in_window(actor: Actor, begun: float) -> bool:
    live = not (actor.is_over or actor.is_killed)
    return live and actor.name.startswith("commit") and 0 <= actor.window <= begun


def open_as(actor: Actor, start: int) -> Repository:
    store = ActorStore(actor)
    found = find_format(actor.world.store)
    assert found is not None
    repository = Repository(
        store,  # type: ignore[arg-type]
        repository_format=found,
        location="/nowhere",
        state_directory="/nowhere",
        author=actor.name,
        clock=ActorClock(actor),
        random=Numbers(start << 64),
        index=None,
        packed_below=0,
    )
    forget_grace(repository)
    return repository


def forget_grace(repository: Repository) -> None:
    assert isinstance(repository.exclusion, ListExclusion)
    repository.exclusion.timing = replace(repository.exclusion.timing, grace_seconds=0)


def commit(collection: str, start: int, files: dict[bytes, Content]) -> Callable[[Actor], None]:
    def act(actor: Actor) -> None:
        actor.collection = collection
        commit_files(open_as(actor, start), collection, files)

    return act


def prune(start: int, files: dict[bytes, Content], *, has_looked: bool = False) -> Callable[[Actor], None]:
    """Return a prune; one that has looked found everything that was there before anybody began."""

    def act(actor: Actor) -> None:
        repository = open_as(actor, start)
        if has_looked:
            looking = open_listed(before(files))
            forget_grace(looking)
            garbage = find_garbage(looking)
        else:
            garbage = find_garbage(repository)
        with suppress(ConflictError):  # cancelled
            delete_garbage(repository, garbage)

    return act


def prepared(files: dict[bytes, Content]) -> dict[str, bytes]:
    """Return a store with a deleted version, whose content the commits will make anew."""
    store = MemoryStore()
    repository = open_listed(store, packed_below=0)
    commit_files(repository, "old", files)
    delete_version(repository, 0, "old")
    return store.objects


PREPARED = {len(files): prepared(files) for files in (FILES, NOTHING)}


def before(files: dict[bytes, Content]) -> MemoryStore:
    store = MemoryStore()
    store.objects = dict(PREPARED[len(files)])
    return store


def make_world(files: dict[bytes, Content], actors: dict[str, Callable[[Actor], None]]) -> Callable[[], World]:
    def make() -> World:
        world = World(before(files))
        for name, act in actors.items():
            world.add(name, act)
        return world

    return make


def check_whole(world: World) -> None:
    """Whatever a live version reaches is there, and nobody failed."""
    for actor in world.actors:
        assert actor.error is None, (actor.name, actor.error)
    repository = open_listed(world.store, packed_below=0)
    for name in ("animals", "plants"):
        for _, root in iter_roots(repository.log.load(name)):
            try:
                check_present(world.store, repository.blobs, root)
            except ArtifactFSError as error:
                raise AssertionError(error.message) from error


def actors_of(
    commits: int, prunes: int, files: dict[bytes, Content], *, have_looked: bool
) -> dict[str, Callable[[Actor], None]]:
    names = ("animals", "plants")
    return {
        **{f"commit {name}": commit(name, number, files) for number, name in enumerate(names[:commits], 1)},
        **{f"prune {number}": prune(number, files, has_looked=have_looked) for number in range(3, 3 + prunes)},
    }


def test_a_commit_and_a_prune_in_any_order() -> None:
    actors = actors_of(1, 1, FILES, have_looked=False)
    assert explore(make_world(FILES, actors), check_whole, limit=5_000).finished > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("commits", "prunes", "files", "have_looked", "preemptions"),
    [
        pytest.param(2, 2, FILES, True, 1, id="two-commits-two-prunes"),
        pytest.param(2, 2, NOTHING, False, 1, id="two-commits-two-prunes-from-their-first-look"),
        pytest.param(2, 1, NOTHING, True, 2, id="two-commits-one-prune"),
        pytest.param(1, 2, NOTHING, True, 2, id="one-commit-two-prunes"),
    ],
)
def test_commits_and_prunes_in_any_order(
    commits: int, prunes: int, files: dict[bytes, Content], have_looked: bool, preemptions: int
) -> None:
    actors = actors_of(commits, prunes, files, have_looked=have_looked)
    found = explore(make_world(files, actors), check_whole, limit=20_000, preemptions=preemptions)
    assert found.finished > 300


def _no_look(self: Look, root: Root) -> None:
    """A commit that does not look at lists before its record."""


def _no_second_reading(repository: Repository, known: dict[str, Collection]) -> dict[str, Collection]:
    """A prune that believes what the logs said when it looked for garbage."""
    return known or _read_logs(repository, known)


def _no_wait(self: ActorClock, seconds: float) -> None:
    """A prune's hour that is over at once."""
    self._actor.window = -1.0
    self._actor.step()


def _no_verdict(self: ListExclusion, prune: str) -> int:
    """A prune that deletes though a commit cancelled it."""
    return 1 << 62


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        pytest.param(Look, "look", _no_look, id="a-commit-does-not-look"),
        pytest.param(prune_module, "_read_logs", _no_second_reading, id="a-prune-does-not-read-again"),
        pytest.param(ActorClock, "sleep", _no_wait, id="a-prune-does-not-wait"),
        pytest.param(ListExclusion, "_take_verdict", _no_verdict, id="a-prune-does-not-decide"),
    ],
)
def test_every_part_of_the_protocol_is_needed(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, broken: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, name, broken)
    actors = actors_of(1, 1, FILES, have_looked=True)
    with pytest.raises(AssertionError, match="after"):
        explore(make_world(FILES, actors), check_whole, limit=5_000)
