"""The protocol of prunes and commits on a store without locks: the real code, in every order of its steps.

Time is as docs/design/prune.md assumes: a prune's hour passes only when each commit that looked before its list was
there has written its record or was killed; the time in which a prune may delete passes only when it has ended or
was killed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from msgspec import structs

from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import ArtifactFSError, ConflictError, PrunedError
from artifactfs.repository import prune as prune_module
from artifactfs.repository.condemning import ListExclusion
from artifactfs.repository.format import find_format
from artifactfs.repository.looking import Look
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.prune_steps import Verdict
from artifactfs.repository.reach import ObjectSet, check_present
from artifactfs.repository.repack import repack
from artifactfs.repository.repository import Repository
from artifactfs.repository.roots import iter_roots
from artifactfs.repository.usage import choose_packs
from artifactfs.testing.repositories import TIME_NS, Content, commit_files
from tests.repository.prune.explorer import Actor, ActorStore, World, explore
from tests.repository.prune.support import Numbers, delete_version, open_listed

FILES: dict[bytes, Content] = {b"a": b"alpha"}
PACKED_BELOW = 1 << 20
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


def open_as(actor: Actor, start: int, *, packed_below: int = 0) -> Repository:
    store = ActorStore(actor)
    found = find_format(actor.world.store)
    assert found is not None
    repository = Repository(
        store,  # type: ignore[arg-type]
        repository_format=found,
        location="/nowhere",
        state_directory="/dev/null",
        author=actor.name,
        clock=ActorClock(actor),
        random=Numbers(start << 64),
        index=None,
        packed_below=packed_below,
    )
    forget_grace(repository)
    return repository


def forget_grace(repository: Repository) -> None:
    assert isinstance(repository.exclusion, ListExclusion)
    repository.exclusion.timing = replace(repository.exclusion.timing, grace_seconds=0)


def commit(
    collection: str, start: int, files: dict[bytes, Content], *, packed_below: int = 0
) -> Callable[[Actor], None]:
    def act(actor: Actor) -> None:
        actor.collection = collection
        commit_files(open_as(actor, start, packed_below=packed_below), collection, files)

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
    for name in ("animals", "plants", "old"):
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


@pytest.mark.parametrize("preemptions", [3, pytest.param(1 << 30, marks=pytest.mark.slow)])
def test_a_commit_and_a_prune_in_any_order(preemptions: int) -> None:
    actors = actors_of(1, 1, FILES, have_looked=False)
    found = explore(make_world(FILES, actors), check_whole, limit=5_000, preemptions=preemptions)
    assert found.finished > 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("commits", "prunes", "have_looked", "preemptions"),
    [
        pytest.param(2, 1, True, 2, id="two-commits-one-prune"),
        pytest.param(1, 2, True, 2, id="one-commit-two-prunes"),
        pytest.param(2, 2, True, 1, id="two-commits-two-prunes"),
        pytest.param(2, 2, False, 1, id="two-commits-two-prunes-from-their-first-look"),
    ],
)
def test_commits_and_prunes_in_any_order_of_few_preemptions(
    commits: int, prunes: int, have_looked: bool, preemptions: int
) -> None:
    actors = actors_of(commits, prunes, NOTHING, have_looked=have_looked)
    found = explore(make_world(NOTHING, actors), check_whole, limit=20_000, preemptions=preemptions)
    assert found.finished > 300


def never_look(patch: pytest.MonkeyPatch) -> None:
    """Commits write their records without a last look at the lists."""
    patch.setattr(Look, "look", lambda _self, *_roots: None)


def delete_against_the_verdict(patch: pytest.MonkeyPatch) -> None:
    """A prune does not read who took the verdict first."""
    real = ListExclusion.find_verdict

    def find_verdict(self: ListExclusion, prune: str) -> Verdict | None:
        found = real(self, prune)
        is_own = self._author.startswith("prune")
        return structs.replace(found, delete=True, until_ns=10**30) if found is not None and is_own else found

    patch.setattr(ListExclusion, "find_verdict", find_verdict)


def trust_the_logs_of_before(patch: pytest.MonkeyPatch) -> None:
    """A prune deletes what it found without reading the logs again."""
    real = prune_module.read_logs
    patch.setattr(prune_module, "read_logs", lambda repository, known: known or real(repository, known))


def do_not_wait_for_commits(patch: pytest.MonkeyPatch) -> None:
    """A prune takes its verdict at once."""
    patch.setattr(ActorClock, "sleep", lambda _self, _seconds: None)


def do_not_wait_for_prunes(patch: pytest.MonkeyPatch) -> None:
    """A commit that finds a verdict to delete goes on at once."""
    patch.setattr(ListExclusion, "is_over", lambda _self, _prune: True)


def take_back_no_object(patch: pytest.MonkeyPatch) -> None:
    """A commit that has waited does not look for what was deleted meanwhile."""

    def settle(self: Look, prune: str, _needed: ObjectSet) -> bool:
        exclusion = self._exclusion
        verdict = exclusion.find_verdict(prune) or exclusion.cancel(prune)
        while verdict.delete and not exclusion.is_over(prune):
            exclusion.clock.sleep(exclusion.timing.poll_seconds)
        self._over.add(prune)
        return verdict.delete

    patch.setattr(Look, "_settle", settle)


@pytest.mark.parametrize(
    "mutate",
    [
        never_look,
        delete_against_the_verdict,
        trust_the_logs_of_before,
        do_not_wait_for_commits,
        do_not_wait_for_prunes,
        take_back_no_object,
    ],
)
def test_a_protocol_without_one_of_its_rules_loses_an_object(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    actors = actors_of(1, 1, NOTHING, have_looked=True)
    with pytest.raises(AssertionError, match="after") as caught:
        explore(make_world(NOTHING, actors), check_whole, limit=5_000)
    assert "the repository has no object" in str(caught.value.__cause__)


@pytest.mark.slow
def test_a_commit_and_a_prune_that_repacks_in_any_order_of_few_preemptions() -> None:
    """The commit stores a file anew whose pack the prune empties and deletes."""
    prepared = MemoryStore()
    repository = open_listed(prepared, packed_below=PACKED_BELOW)
    commit_files(repository, "old", {b"a": b"alpha", b"b": bytes(1000)})
    commit_files(repository, "old", {b"a": b"alpha"})
    delete_version(repository, 0, "old")

    def act(actor: Actor) -> None:
        pruning = open_as(actor, 3, packed_below=PACKED_BELOW)
        garbage = find_garbage(pruning)
        repacking = choose_packs(pruning.store, garbage.usage)
        assert repacking.packs
        with suppress(ConflictError, PrunedError):
            repack(pruning, repacking, garbage.roots)
            delete_garbage(pruning, find_garbage(pruning))

    def make() -> World:
        store = MemoryStore()
        store.objects = dict(prepared.objects)
        world = World(store)
        world.add("commit animals", commit("animals", 1, {b"b": b"alpha"}, packed_below=PACKED_BELOW))
        world.add("prune", act)
        return world

    found = explore(make, check_whole, limit=20_000, preemptions=2)
    assert found.finished > 50
