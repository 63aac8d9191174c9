"""Contributing parts to a draft, and finishing it: the version of all parts.

    contribute(drafts, "animals", "epoch-1", store, Contribution(run=run))     # by each of many writers
    finish(drafts, "animals", "epoch-1", CommitOptions(aliases=("best",)))     # by one, or by several at once

Used by the SDK and the command line. Threading: functions over a Drafts; any number of processes and machines.

Source: docs/format.md section 8; docs/design/drafts.md.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from artifactfs.errors import (
    ArtifactFSError,
    BlobMissingError,
    DraftClosedError,
    PathConflictError,
    PrunedError,
    UsageError,
)
from artifactfs.model import NO_METADATA, DirectoryEntry
from artifactfs.paths import check_collection_name, printable
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions, CommitResult, Once, check_options, commit_once, store_safely
from artifactfs.repository.draft_options import closed_options, gather_options, make_closed
from artifactfs.repository.draft_steps import Dropped, Part, find_draft_id
from artifactfs.repository.drafts import LIFETIME_NS, Draft
from artifactfs.repository.joining import Joiner, find_clashes, place_root
from artifactfs.repository.reach import check_present
from artifactfs.repository.treebuilder import TreeBuilder, make_root
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from artifactfs.model import Root
    from artifactfs.repository.drafts import Drafts
    from artifactfs.repository.exclusion import Writing
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.trees import Placed

CLASHES_SHOWN: Final = 5
PARTS_AT_ONCE: Final = 16
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a part wants to be stated of the version; see `CommitOptions`.

    Attributes:
        lifetime_ns: how long the draft is kept at least if it is not finished.
    """

    type: str | None = None
    aliases: tuple[str, ...] = ()
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=lambda: NO_METADATA)
    tags: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    run: str | None = None
    lifetime_ns: int = LIFETIME_NS


def contribute(drafts: Drafts, collection: str, name: str, store: Callable[[], Root], given: Contribution) -> Draft:
    """Store a part and add it to a draft, which its first part begins. Nobody sees it before the draft is finished.

    The same part (by content) from the same run is there once, so that whoever got no answer may try again.

    Args:
        drafts: where to.
        collection: where the version will go; it need not exist yet.
        name: by which the writers of the draft know it.
        store: stores all of the part, flushes it, and returns its root.
        given: what else to record.

    Returns:
        The draft with the part.

    Raises:
        DraftClosedError: it was closed or dropped; the draft is as it was.
        PathConflictError: another part has one of the paths; the draft is as it was.
        UsageError: another type than the collection, or an earlier part, has; or metadata that is not JSON.
        InvalidNameError: a name, alias, type or tag that cannot be one.
        StorageFullError, ArtifactFSError: it could not be stored; the draft is as it was.
    """
    repository = drafts.repository
    repository.check_writable()
    _check_described(drafts, collection, given)
    draft = drafts.find(collection, name)
    if draft is not None:
        drafts.check_open(draft)
        _check_type(draft, given.type)
    trees = Trees(repository.blobs)

    def add(root: Root, writing: Writing) -> Draft:
        compared = 0
        while True:
            draft = drafts.find(collection, name)
            if draft is not None:
                drafts.check_open(draft)
                _check_type(draft, given.type)
                if any(_is_same(part, given, root) for part in draft.parts):
                    return draft
                try:
                    _check_disjoint(repository, trees, draft, root, compared)
                except BlobMissingError as error:
                    _explain_missing(drafts, draft, root, error)
                    raise
                compared = len(draft.parts)
            writing.look(root)
            after = drafts.add(draft, _make_part(drafts, collection, name, given, root))
            if after is not None:
                return after

    return store_safely(repository, store, add)


def _explain_missing(drafts: Drafts, draft: Draft, root: Root, error: BlobMissingError) -> None:
    """Return if what is missing is damage, and nothing that a prune took meanwhile.

    Raises:
        DraftClosedError: the draft was given up, and so was what its parts have.
        PrunedError: it is missing in the part that is to be added, which nothing names yet.
    """
    drafts.check_open(drafts.find(draft.collection, draft.name) or draft)
    try:
        check_present(drafts.repository.store, drafts.repository.blobs.in_place, root)
    except BlobMissingError:
        raise PrunedError(error.message, hint="run the same command again", subject=error.subject) from error


def _is_same(part: Part, given: Contribution, root: Root) -> bool:
    return bool(given.run) and part.run == given.run and part.root.content == root.content


def _make_part(drafts: Drafts, collection: str, name: str, given: Contribution, root: Root) -> Part:
    repository = drafts.repository
    now_ns = repository.clock.now_ns()
    return Part(
        collection,
        find_draft_id(name),
        name,
        drafts.new_step_id(),
        repository.author,
        now_ns,
        now_ns + given.lifetime_ns,
        type=given.type,
        aliases=given.aliases,
        description=given.description,
        metadata=dict(given.metadata),
        tags=given.tags,
        inputs=given.inputs,
        run=given.run,
        root=root,
    )


def finish(drafts: Drafts, collection: str, name: str, options: CommitOptions) -> CommitResult:
    """Close a draft and make the version of its parts; or return the version that was made of it already.

    Parts that come later are refused. When this is interrupted, doing it again goes on from there, with what was asked
    for the first time.

    Args:
        drafts: where.
        collection: where the version goes.
        name: by which the writers of the draft know it.
        options: what to record, besides what the parts ask for; its description and type take the place of theirs.

    Raises:
        DraftNotFoundError: nobody contributed to it.
        DraftClosedError: it was dropped.
        VersionNotFoundError: its version was deleted since.
        UsageError, InvalidNameError: see `commit_stored`; the draft is open.
        ArtifactFSError: the version could not be stored; the draft is closed, and can be finished again.
    """
    drafts.repository.check_writable()
    draft = drafts.get(collection, name)
    while draft.status == "open":
        draft = _close(drafts, draft, options)
    found = _find_result(drafts, draft)
    if found is not None:
        return found
    closed = draft.closed
    if isinstance(draft.end, Dropped) or closed is None:
        msg = f"{draft} was dropped"
        raise DraftClosedError(msg, hint="begin another, under another name", subject=draft.name)
    try:
        once = Once(closed.change, closed.seq)
        store = partial(_store_joined, drafts, draft)
        result = commit_once(drafts.repository, collection, store, closed_options(closed), once)
    except BlobMissingError:
        # Whoever finished it at the same time was faster, and a prune came after that.
        found = _find_result(drafts, drafts.get(collection, name))
        if found is None:
            raise
        return found
    with suppress(ArtifactFSError):  # the version is there; the next prune notes it
        drafts.note_version(draft, result.version.number)
    return result


def _close(drafts: Drafts, draft: Draft, options: CommitOptions) -> Draft:
    """Close a draft, unless somebody added something first, and return it as it is then."""
    asked = gather_options(draft, options)
    state = drafts.repository.log.load(draft.collection)
    check_options(state, asked)
    after = drafts.add(draft, make_closed(drafts, draft, asked, state.seq))
    return drafts.get(draft.collection, draft.name) if after is None else after


def _find_result(drafts: Drafts, draft: Draft) -> CommitResult | None:
    """Return the version that was made of a draft already; None when there is none yet."""
    number = drafts.find_version(draft)
    if number is None:
        return None
    if draft.end is None:
        with suppress(ArtifactFSError):
            drafts.note_version(draft, number)
    state = drafts.repository.log.load(draft.collection)
    return CommitResult(state, changes.get_version(state, number), created=False)


def _store_joined(drafts: Drafts, draft: Draft) -> Root:
    """Store the tree that has what all parts have."""
    repository, roots = drafts.repository, [place_root(part.root) for part in draft.parts]
    largest = max(range(len(roots)), key=lambda index: roots[index][0].count)
    trees = Trees(repository.blobs)
    _map(repository, partial(_load_ahead, trees), draft.parts)
    with repository.blobs.begin() as batch:
        joiner = Joiner(trees, TreeBuilder(batch, trees), settle=_refuse)
        stored = joiner.join(roots[largest], roots[:largest] + roots[largest + 1 :])
        batch.flush()
    return make_root(stored)


def _load_ahead(trees: Trees, part: Part) -> None:
    """Read the pages of a part that others are likely to have, too: the top, and the directories in it."""
    for entry, place in trees.load_entries(*place_root(part.root)):
        if isinstance(entry, DirectoryEntry):
            trees.load_page(entry.tree, place)


def _refuse(path: bytes, found: Sequence[Placed]) -> Placed:
    msg = f"{printable(path)!r} is in {len(found)} parts"
    raise PathConflictError(msg, subject=printable(path))


def _check_disjoint(repository: Repository, trees: Trees, draft: Draft, root: Root, compared: int) -> None:
    def compare(part: Part) -> list[bytes]:
        return list(islice(find_clashes(trees, place_root(part.root), place_root(root)), CLASHES_SHOWN + 1))

    parts = draft.parts[compared:]
    for number, (part, clashes) in enumerate(zip(parts, _map(repository, compare, parts), strict=True), compared + 1):
        if clashes:
            shown = ", ".join(sorted(repr(printable(path)) for path in clashes[:CLASHES_SHOWN]))
            more = " and more" if len(clashes) > CLASHES_SHOWN else ""
            msg = f"part {number} of {draft}, by {part.author}, has {shown}{more} already"
            hint = "leave it out, or give it another path; the draft and its other parts are as they were"
            raise PathConflictError(msg, hint=hint, subject=printable(clashes[0]))


def _map(repository: Repository, function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Apply a function to parts, to many at once where each means requests to a store far away."""
    if not repository.is_remote or len(parts) < 2:
        return [function(part) for part in parts]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (costs local commands 8 ms)

    with ThreadPoolExecutor(PARTS_AT_ONCE, "part") as threads:
        return list(threads.map(function, parts))


def _check_type(draft: Draft, wanted: str | None) -> None:
    there = next((part.type for part in draft.parts if part.type is not None), None)
    if wanted is not None and there is not None and wanted != there:
        msg = f"{draft} has the type {there!r}, not {wanted!r}"
        raise UsageError(msg, hint="use the same type in all parts", subject=draft.name)


def _check_described(drafts: Drafts, collection: str, given: Contribution) -> None:
    options = CommitOptions(
        type=given.type,
        aliases=given.aliases,
        description=given.description,
        metadata=given.metadata,
        tags=given.tags,
    )
    check_options(drafts.repository.load_state(check_collection_name(collection)), options)
