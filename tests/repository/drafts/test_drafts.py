"""Versions in parts: who contributes, who finishes, what is refused, and what becomes of what nobody finishes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import DRAFTS_PREFIX, draft_key, log_key, tree_key
from artifactfs.errors import (
    ArtifactFSError,
    BlobMissingError,
    DraftClosedError,
    DraftNotFoundError,
    InvalidNameError,
    MalformedError,
    PathConflictError,
    UsageError,
    VersionNotFoundError,
)
from artifactfs.model import Root
from artifactfs.repository.check import check_repository
from artifactfs.repository.contributing import Contribution, contribute
from artifactfs.repository.drafts import FORGET_NS, LIFETIME_NS, Drafts
from artifactfs.repository.repository import Repository
from artifactfs.repository.usage import choose_packs
from artifactfs.testing.faulty import LOSE_ANSWER, FaultyStore
from artifactfs.testing.repositories import Content, commit_files, make_repository, store_files
from tests.repository.drafts.support import add, finish_it, read_version
from tests.repository.prune.support import StoppedClock, delete_version, open_listed, prune

ONE: dict[bytes, Content] = {b"a": b"alpha", b"dir": {b"b": b"beta", b"deep": {b"c": b"gamma"}}}
TWO: dict[bytes, Content] = {b"z": b"omega", b"dir": {b"d": b"delta", b"empty": {}}}
BOTH = {b"a": b"alpha", b"dir/b": b"beta", b"dir/d": b"delta", b"dir/deep/c": b"gamma", b"z": b"omega"}


@pytest.fixture(params=["memory", "memory, packs", "local"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    clock = StoppedClock()
    if request.param == "local":
        with make_repository(tmp_path, clock=clock) as found:
            yield found
    else:
        yield open_listed(clock=clock, packed_below=1 << 20 if "packs" in request.param else 0)


def test_the_version_has_what_all_parts_have(repository: Repository) -> None:
    commit_files(repository, "animals", {b"old": b"old"})
    add(repository, ONE, tags=("raw",), inputs=("birds:v0",), metadata={"a": 1}, description="some", run="r1")
    assert len(repository.get_collection("animals").versions) == 1
    add(repository, TWO, tags=("new",), inputs=("fish:v2", "birds:v0"), metadata={"b": 2}, aliases=("best",))
    result = finish_it(repository, message="all", inputs=("cats:v1",), metadata={"b": 3}, run="r3")
    version = result.version
    assert result.created
    assert (version.name, read_version(repository, version)) == ("v1", BOTH)
    assert (version.tags, version.metadata, version.description) == (("new", "raw"), {"a": 1, "b": 3}, "some")
    assert (version.inputs, version.run, version.message) == (("birds:v0", "fish:v2", "cats:v1"), "r3", "all")
    assert repository.get_collection("animals").aliases == {"latest": 1, "best": 1}
    draft = Drafts(repository).get("animals", "epoch")
    assert (draft.status, len(draft.parts)) == ("committed", 2)
    again = finish_it(repository)
    assert (again.version, again.created) == (version, False)
    assert check_repository(repository, share=1.0).damage == ()


def test_the_order_of_parts_makes_no_difference(repository: Repository) -> None:
    add(repository, ONE, name="one")
    add(repository, TWO, name="one")
    add(repository, TWO, name="two")
    add(repository, ONE, name="two")
    first, second = finish_it(repository, name="one").version, finish_it(repository, name="two").version
    whole = commit_files(
        repository,
        "animals",
        {
            b"a": b"alpha",
            b"dir": {b"b": b"beta", b"d": b"delta", b"deep": {b"c": b"gamma"}, b"empty": {}},
            b"z": b"omega",
        },
    )
    assert first.root.tree == second.root.tree == whole.root.tree


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({b"dir": {b"b": b"beta"}}, "dir/b"),
        ({b"dir": {b"deep": b"a file"}}, "dir/deep"),
        ({b"a": {b"below": b"x"}}, "'a'"),
        ({b"a": "link"}, "'a'"),
        (ONE, "dir/deep/c"),
    ],
)
def test_a_path_in_two_parts_is_refused_and_nothing_is_lost(
    repository: Repository, files: dict[bytes, Content], path: str
) -> None:
    add(repository, ONE)
    with pytest.raises(PathConflictError, match=f"part 1 .*{path}"):
        add(repository, {**files, b"more": b"more"})
    add(repository, TWO)
    assert read_version(repository, finish_it(repository).version) == BOTH


def test_the_same_part_of_one_run_is_there_once(repository: Repository) -> None:
    add(repository, ONE, run="r1")
    assert len(add(repository, ONE, run="r1").parts) == 1
    with pytest.raises(PathConflictError):
        add(repository, ONE, run="r2")


def test_a_late_part_finds_that_it_is_late(repository: Repository) -> None:
    add(repository, ONE)
    finish_it(repository)
    with pytest.raises(DraftClosedError, match="animals:v0"):
        add(repository, TWO)
    assert len(repository.get_collection("animals").versions) == 1


def test_what_cannot_be_stated_is_refused_before_anything_is_stored(repository: Repository) -> None:
    commit_files(repository, "animals", ONE)
    before = set(repository.store.iter_keys(""))
    for given in ({"type": "model"}, {"metadata": {"a": object()}}, {"tags": ("no/tag",)}, {"aliases": ("v1",)}):
        with pytest.raises((UsageError, InvalidNameError)):
            add(repository, TWO, **given)  # type: ignore[arg-type]
    for name in ("", "x" * 513, "\udc80"):
        with pytest.raises(InvalidNameError):
            add(repository, TWO, name=name)
    assert set(repository.store.iter_keys("")) == before
    add(repository, TWO, to="plants", type="model")
    with pytest.raises(UsageError, match="model"):
        add(repository, ONE, to="plants", type="dataset")
    with pytest.raises(InvalidNameError):
        finish_it(repository, of="plants", aliases=("v3",))
    assert Drafts(repository).get("plants", "epoch").status == "open"
    assert finish_it(repository, of="plants").collection.type == "model"


def test_finishing_what_is_not_there_dropped_or_deleted(repository: Repository) -> None:
    with pytest.raises(DraftNotFoundError):
        finish_it(repository)
    add(repository, ONE)
    drafts = Drafts(repository)
    assert drafts.drop("animals", "epoch").status == "dropped"
    assert drafts.drop("animals", "epoch").status == "dropped"
    with pytest.raises(DraftClosedError, match="dropped"):
        finish_it(repository)
    with pytest.raises(DraftClosedError, match="dropped"):
        add(repository, TWO)
    add(repository, ONE, name="other")
    finish_it(repository, name="other")
    with pytest.raises(DraftClosedError):
        drafts.drop("animals", "other")
    commit_files(repository, "animals", TWO)
    delete_version(repository, 0)
    with pytest.raises(VersionNotFoundError):
        finish_it(repository, name="other")


def test_prune_keeps_what_an_unfinished_draft_has(repository: Repository) -> None:
    add(repository, ONE)
    prune(repository)
    add(repository, TWO)
    prune(repository)
    assert read_version(repository, finish_it(repository).version) == BOTH
    prune(repository)  # pages of the parts that the version does not have
    assert read_version(repository, repository.get_collection("animals").versions[0]) == BOTH


def delete_page(repository: Repository, root: Root) -> None:
    repository.store.delete([tree_key(root.as_entry().tree)])


def test_a_part_of_which_a_prune_took_a_page_is_stored_again() -> None:
    """Between its pages and the look at prunes, while it is compared with the others."""
    repository = open_listed()
    add(repository, ONE)
    stored: list[Root] = []

    def store() -> Root:
        stored.append(store_files(repository, TWO))
        if len(stored) == 1:
            delete_page(repository, stored[0])
        return stored[-1]

    contribute(Drafts(repository), "animals", "epoch", store, Contribution())
    assert len(stored) == 2
    assert read_version(repository, finish_it(repository).version) == BOTH


def test_damage_to_another_part_is_no_reason_to_store_again() -> None:
    repository = open_listed()
    draft = add(repository, ONE)
    delete_page(repository, draft.parts[0].root)
    stored: list[Root] = []

    def store() -> Root:
        stored.append(store_files(repository, TWO))
        return stored[-1]

    with pytest.raises(BlobMissingError):
        contribute(Drafts(repository), "animals", "epoch", store, Contribution())
    assert len(stored) == 1

    def store_late() -> Root:
        Drafts(repository).drop("animals", "epoch")
        return store()

    with pytest.raises(DraftClosedError):
        contribute(Drafts(repository), "animals", "epoch", store_late, Contribution())


def test_what_nobody_finishes_is_dropped_and_forgotten(repository: Repository) -> None:
    clock = repository.clock
    assert isinstance(clock, StoppedClock)
    drafts = Drafts(repository)
    add(repository, ONE)
    clock.time_ns += LIFETIME_NS - 1
    add(repository, TWO)  # it goes on
    clock.time_ns += LIFETIME_NS
    assert drafts.drop_expired() == []
    clock.time_ns += 2
    assert [draft.name for draft in drafts.drop_expired(dry_run=True)] == ["epoch"]
    assert drafts.get("animals", "epoch").status == "open"
    assert [draft.status for draft in drafts.drop_expired()] == ["dropped"]
    objects = {
        key for key in repository.store.iter_keys("") if key.startswith(("blobs", "trees", "packs", "treepacks"))
    }
    assert objects
    assert prune(repository).count == len(objects)
    assert drafts.get("animals", "epoch").status == "dropped"
    clock.time_ns += FORGET_NS + 1
    drafts.forget_ended()
    assert list(repository.store.iter_keys(DRAFTS_PREFIX)) == []
    add(repository, ONE)
    assert finish_it(repository).version.name == "v0"


def test_a_draft_that_goes_on_after_it_was_listed_is_kept(repository: Repository) -> None:
    from artifactfs.repository.prune import delete_garbage, find_garbage

    clock = repository.clock
    assert isinstance(clock, StoppedClock)
    drafts = Drafts(repository)
    add(repository, ONE)
    clock.time_ns += LIFETIME_NS + 1
    listed = drafts.drop_expired(dry_run=True)
    assert find_garbage(repository).total.count == 0
    garbage = find_garbage(repository, given_up=listed)
    assert garbage.total.count
    add(repository, TWO)
    assert drafts.drop_expired(listed) == []
    assert delete_garbage(repository, garbage).count == 0
    assert find_garbage(repository, given_up=listed).total.count == 0


def test_a_closed_draft_that_nobody_committed_goes_on(repository: Repository) -> None:
    """The writer was killed between closing and committing, or before it noted that."""
    clock = repository.clock
    assert isinstance(clock, StoppedClock)
    drafts = Drafts(repository)
    add(repository, ONE)
    append, repository.append = repository.append, _raise  # type: ignore[method-assign, assignment]
    with pytest.raises(ArtifactFSError, match="killed"):
        finish_it(repository, message="the first")
    repository.append = append  # type: ignore[method-assign]
    assert drafts.get("animals", "epoch").status == "closed"
    with pytest.raises(DraftClosedError):
        add(repository, TWO)
    prune(repository)
    result = finish_it(repository, message="another")
    assert (result.version.message, result.created) == ("the first", True)
    repository.store.delete([draft_key("animals", drafts.get("animals", "epoch").id, 3)])
    assert drafts.get("animals", "epoch").status == "closed"
    clock.time_ns += LIFETIME_NS * 2
    assert drafts.drop_expired() == []
    assert drafts.get("animals", "epoch").status == "committed"


def _raise(*_: object, **__: object) -> None:
    msg = "killed"
    raise ArtifactFSError(msg)


def test_its_commit_is_found_among_later_records(repository: Repository) -> None:
    add(repository, ONE)
    first = finish_it(repository)
    drafts = Drafts(repository)
    draft = drafts.get("animals", "epoch")
    repository.store.delete([draft_key("animals", draft.id, 3)])
    for number in range(3):
        commit_files(repository, "animals", {b"n": b"%d" % number})
    again = finish_it(repository)
    assert (again.version.number, again.created) == (first.version.number, False)
    assert len(repository.get_collection("animals").versions) == 4


def test_packs_of_drafts_are_not_repacked(tmp_path: Path) -> None:
    from artifactfs.repository.prune import find_garbage

    repository = open_listed(packed_below=1 << 20)
    add(repository, {b"small": b"s"})
    whole = commit_files(repository, "animals", {b"large": b"l" * 9000, b"other": b"o"})
    kept = store_files(repository, {b"other": b"o"})
    drafts = Drafts(repository)
    contribute(drafts, "animals", "epoch", lambda: kept, Contribution())
    delete_version(repository, whole.number)
    usage = find_garbage(repository).usage
    assert choose_packs(repository.store, usage).packs == frozenset()


def test_an_answer_that_was_lost_adds_one_part() -> None:
    memory = open_listed()
    store = FaultyStore(memory.store, fail=dict.fromkeys(range(1, 20, 2), LOSE_ANSWER))
    repository = open_listed(store, start=1 << 32)  # type: ignore[arg-type]
    assert len(add(repository, ONE).parts) == 1
    assert len(add(repository, TWO).parts) == 2
    assert finish_it(repository).created
    assert len(repository.get_collection("animals").versions) == 1


def test_damage_to_a_step_is_told(repository: Repository) -> None:
    add(repository, ONE)
    add(repository, TWO)
    draft = Drafts(repository).get("animals", "epoch")
    key = draft_key("animals", draft.id, 1)
    data = repository.store.read(key)
    repository.store.delete([key])
    with pytest.raises(MalformedError):
        finish_it(repository)
    with pytest.raises(MalformedError):
        prune(repository)
    repository.store.create(key, data.replace(b'"collection":"animals"', b'"collection":"plants!"'))
    assert [found.key for found in check_repository(repository).damage] == [key]
    repository.store.delete([key])
    repository.store.create(key, data)
    repository.store.create(f"{DRAFTS_PREFIX}animals/stray", b"")
    report = check_repository(repository, share=1.0)
    assert (report.damage, report.strays, report.unreached) == ((), (f"{DRAFTS_PREFIX}animals/stray",), 0)


def test_check_names_the_part_that_damage_touches() -> None:
    repository = open_listed()
    draft = add(repository, ONE)
    key = next(key for key in repository.store.iter_keys("blobs/") if repository.store.read(key) == b"gamma")
    repository.store.delete([key])
    (damage,) = check_repository(repository).damage
    assert damage.key == key
    assert f"animals (draft {draft.name!r}, part 1)" in repr(damage.places)


def run_all(actions: list[Callable[[], object]]) -> list[object]:
    answers: list[object] = [None] * len(actions)
    barrier = threading.Barrier(len(actions))

    def act(number: int) -> None:
        barrier.wait()
        try:
            answers[number] = actions[number]()
        except ArtifactFSError as error:
            answers[number] = error

    threads = [threading.Thread(target=act, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_many_writers_and_finishers_at_once(repository: Repository) -> None:
    count = 12
    files: list[dict[bytes, Content]] = [{b"%d" % number: b"data %d" % number} for number in range(count)]
    answers = run_all([lambda part=part: add(repository, part) for part in files])  # type: ignore[misc]
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    late: dict[bytes, Content] = {b"late": b"late"}
    answers = run_all([*[lambda: finish_it(repository)] * 4, lambda: add(repository, late)])
    results = answers[:4]
    assert {result.version.name for result in results} == {"v0"}  # type: ignore[attr-defined]
    expected = {name: data for part in files for name, data in part.items()}
    if isinstance(answers[4], Exception):
        assert isinstance(answers[4], DraftClosedError)
    else:
        expected |= late
    assert read_version(repository, repository.get_collection("animals").versions[0]) == expected
    assert repository.store.find_size(log_key("animals", 2)) is None


def test_two_of_the_same_path_at_once_leave_one(repository: Repository) -> None:
    files: list[dict[bytes, Content]] = [{b"same": b"%d" % number, b"%d" % number: b"x"} for number in range(8)]
    answers = run_all([lambda part=part: add(repository, part) for part in files])  # type: ignore[misc]
    refused = [answer for answer in answers if isinstance(answer, PathConflictError)]
    assert len(refused) == 7
    assert len(read_version(repository, finish_it(repository).version)) == 2
