"""Writers, finishers and prunes of one draft, on a store without locks: the real code, in every order of its steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from artifactfs.blobstore.memory import MemoryStore
from artifactfs.errors import ArtifactFSError, ConflictError, DraftClosedError, PathConflictError
from artifactfs.repository import prune_reach
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.condemning import Look
from artifactfs.repository.contributing import Contribution, contribute, finish
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.prune import delete_garbage, find_garbage
from artifactfs.repository.reach import check_present
from artifactfs.repository.repository import Repository
from artifactfs.repository.roots import iter_roots
from artifactfs.testing.repositories import Content, commit_files, store_files
from tests.repository.prune.explorer import Actor, World, explore
from tests.repository.prune.support import Numbers, delete_version, open_listed
from tests.repository.prune.test_interleavings import open_as

ONE: dict[bytes, Content] = {b"a": {}}
TWO: dict[bytes, Content] = {b"b": "link"}


def drafts_of(repository: Repository, start: int) -> Drafts:
    return Drafts(repository, random=Numbers(start << 64))


def writer(start: int, files: dict[bytes, Content]) -> Callable[[Actor], None]:
    def act(actor: Actor) -> None:
        repository = open_as(actor, start)
        with suppress(DraftClosedError, PathConflictError):
            contribute(
                drafts_of(repository, start), "animals", "epoch", lambda: store_files(repository, files), Contribution()
            )

    return act


def finisher(start: int) -> Callable[[Actor], None]:
    def act(actor: Actor) -> None:
        finish(drafts_of(open_as(actor, start), start), "animals", "epoch", CommitOptions())

    return act


def pruner(start: int) -> Callable[[Actor], None]:
    def act(actor: Actor) -> None:
        repository = open_as(actor, start)
        with suppress(ConflictError):  # cancelled
            delete_garbage(repository, find_garbage(repository))

    return act


def prepared(parts: list[dict[bytes, Content]]) -> dict[str, bytes]:
    """Return a store with a deleted version that has what the writers will make anew, and a draft with some parts."""
    store = MemoryStore()
    repository = open_listed(store)
    for files in (ONE, TWO):
        delete_version(repository, commit_files(repository, "old", files).number, "old")
    for number, files in enumerate(parts):
        drafts = drafts_of(repository, 100 + number)
        contribute(drafts, "animals", "epoch", lambda files=files: store_files(repository, files), Contribution())  # type: ignore[misc]
    return store.objects


def make_world(parts: list[dict[bytes, Content]], actors: dict[str, Callable[[Actor], None]]) -> Callable[[], World]:
    objects = prepared(parts)

    def make() -> World:
        store = MemoryStore()
        store.objects = dict(objects)
        world = World(store)
        world.has_drafts = True
        for name, act in actors.items():
            world.add(name, act)
        return world

    return make


def check_draft(world: World) -> None:
    """All that is reached is there; at most one version; it has the parts before the end, and all of them."""
    for actor in world.actors:
        assert actor.error is None, (actor.name, actor.error)
    repository = open_listed(world.store)
    state = repository.log.load("animals")
    draft = Drafts(repository).find("animals", "epoch")
    roots = [root for _, root in iter_roots(state)]
    assert len(roots) <= 1
    if draft is not None and draft.end is None:
        roots += [part.root for part in draft.parts]
    for root in roots:
        try:
            check_present(world.store, repository.blobs, root)
        except ArtifactFSError as error:
            raise AssertionError(error.message) from error
    if state.versions:
        assert draft is not None
        assert draft.closed is not None
        names = frozenset[bytes]().union(*(NAMES[part.root.content] for part in draft.parts))
        assert NAMES[state.versions[0].root.content] == names


def _find_names() -> dict[str, frozenset[bytes]]:
    """Return names by the content digest of the directory that has them."""
    repository = open_listed()
    return {store_files(repository, files).content: frozenset(files) for files in (ONE, TWO, {**ONE, **TWO})}


NAMES = _find_names()


MORE = pytest.param(3, marks=pytest.mark.slow)


@pytest.mark.parametrize("preemptions", [2, MORE])
def test_two_finishers_make_one_version(preemptions: int) -> None:
    actors = {"commit one": finisher(1), "commit two": finisher(2)}
    found = explore(make_world([ONE, TWO], actors), check_draft, limit=20_000, preemptions=preemptions)
    assert found.finished > 10


@pytest.mark.parametrize("preemptions", [2, MORE])
def test_a_late_part_is_in_the_version_or_refused(preemptions: int) -> None:
    actors = {"commit one": finisher(1), "commit two": writer(2, TWO)}
    found = explore(make_world([ONE], actors), check_draft, limit=20_000, preemptions=preemptions)
    assert found.finished > 10


def test_two_writers_of_one_path_leave_one() -> None:
    actors = {"commit one": writer(1, TWO), "commit two": writer(2, TWO)}

    def check(world: World) -> None:
        check_draft(world)
        draft = Drafts(open_listed(world.store)).find("animals", "epoch")
        assert draft is None or len(draft.parts) == 1

    assert explore(make_world([], actors), check, limit=20_000, preemptions=3).finished > 5


def test_a_part_and_a_prune_in_any_order_of_few_preemptions() -> None:
    actors = {"commit one": writer(1, ONE), "prune two": pruner(2)}
    found = explore(make_world([], actors), check_draft, limit=20_000, preemptions=2)
    assert found.finished > 50


def test_a_finisher_and_a_prune_in_any_order_of_few_preemptions() -> None:
    actors = {"commit one": finisher(1), "prune two": pruner(2)}
    found = explore(make_world([ONE, TWO], actors), check_draft, limit=20_000, preemptions=2)
    assert found.finished > 20


@pytest.mark.slow
def test_everybody_at_once() -> None:
    actors = {
        "commit one": finisher(1),
        "commit two": finisher(2),
        "commit three": writer(3, TWO),
        "prune four": pruner(4),
    }
    assert explore(make_world([ONE], actors), check_draft, limit=50_000, preemptions=1).finished > 50


def never_look(patch: pytest.MonkeyPatch) -> None:
    """A writer adds its part without a last look at the lists of prunes."""
    patch.setattr(Look, "look", lambda _self, _root: None)


def forget_drafts(patch: pytest.MonkeyPatch) -> None:
    """A prune does not know drafts."""
    patch.setattr(prune_reach, "_hold_drafts", lambda _repository, _reach, _given_up: None)


@pytest.mark.parametrize("mutate", [never_look, forget_drafts])
def test_without_one_of_the_rules_an_object_is_lost(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    actors = {"commit one": writer(1, ONE), "prune two": pruner(2)}
    with pytest.raises(AssertionError) as caught:
        explore(make_world([], actors), check_draft, limit=20_000, preemptions=2)
    assert "the repository has no object" in str(caught.value.__cause__)


def take_any_record(patch: pytest.MonkeyPatch) -> None:
    """A finisher does not look for the commit of another one."""
    patch.setattr("artifactfs.repository.commit.find_made", lambda *_: None)
    patch.setattr("artifactfs.repository.drafts.find_made", lambda *_: None)


def test_without_a_look_at_the_log_there_are_two_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    take_any_record(monkeypatch)
    actors = {"commit one": finisher(1), "commit two": finisher(2)}
    with pytest.raises(AssertionError):
        explore(make_world([ONE, TWO], actors), check_draft, limit=20_000, preemptions=3)
