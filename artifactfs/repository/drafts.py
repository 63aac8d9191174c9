"""Drafts: versions in the making, to which several writers contribute parts. Nobody sees them but by name here.

    drafts = Drafts(repository)
    draft = drafts.find("animals", "epoch-1")
    for draft in drafts.iter_all(): draft.status, draft.parts
    drafts.drop("animals", "epoch-1"); drafts.drop_expired()

`contributing.py` adds parts and makes the version.

Used by prune, check, the SDK and the command line. Threading: a Drafts may be shared by threads.

Source: docs/format.md section 8; docs/design/drafts.md.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import DRAFTS_PREFIX, draft_key, draft_prefix, find_draft_key, find_seq
from artifactfs.errors import ArtifactFSError, BlobMissingError, DraftClosedError, DraftNotFoundError, MalformedError
from artifactfs.paths import check_collection_name, format_version
from artifactfs.repository.commit import Once, find_made
from artifactfs.repository.draft_steps import (
    STEP_ID_SIZE,
    Closed,
    Committed,
    Dropped,
    Part,
    Step,
    check_order,
    decode_draft_step,
    encode_draft_step,
    find_draft_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from artifactfs.model import Root
    from artifactfs.repository.repository import Repository

LIFETIME_NS: Final = 7 * 86400 * 10**9
"""How long after its last step an unfinished draft is kept."""
FORGET_NS: Final = 14 * 86400 * 10**9
"""How long the steps of a draft that has ended are kept, so that a late part finds that it is late."""
ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft, as it was when it was looked at.

    Attributes:
        collection: where the version goes.
        id: made from its name.
        steps: all of them, in order; of a draft that is being forgotten perhaps only the last ones.
    """

    collection: str
    id: str
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """By which its writers know it."""
        return self.steps[0].name

    @property
    def parts(self) -> tuple[Part, ...]:
        """What was contributed, in order."""
        return tuple(step for step in self.steps if isinstance(step, Part))

    @property
    def closed(self) -> Closed | None:
        """The step that closed it."""
        return next((step for step in self.steps if isinstance(step, Closed)), None)

    @property
    def end(self) -> Committed | Dropped | None:
        """The step that ended it."""
        last = self.steps[-1]
        return last if isinstance(last, Committed | Dropped) else None

    @property
    def expires_ns(self) -> int:
        """When it may be dropped, nanoseconds since 1970 UTC."""
        return max((step.expires_ns for step in self.steps if isinstance(step, Part | Closed)), default=0)

    @property
    def status(self) -> str:
        """`open`; `closed` while its version is not there yet; `committed` or `dropped`."""
        if self.end is not None:
            return "committed" if isinstance(self.end, Committed) else "dropped"
        return "open" if self.closed is None else "closed"

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"the draft {self.name!r} of {self.collection}"


class Drafts:
    """The drafts of a repository. May be shared by threads."""

    def __init__(self, repository: Repository, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self.repository = repository
        self._random = random

    def find(self, collection: str, name: str) -> Draft | None:
        """Return the draft that its writers call `name`, or None when nobody contributed to it.

        Raises:
            InvalidNameError: a name that cannot be one.
            MalformedError, DigestMismatchError: a step is damaged.
        """
        return self._load(check_collection_name(collection), find_draft_id(name))

    def get(self, collection: str, name: str) -> Draft:
        """Return the draft that its writers call `name`.

        Raises:
            DraftNotFoundError: nobody contributed to it.
            InvalidNameError, MalformedError, DigestMismatchError: see `find`.
        """
        found = self.find(collection, name)
        if found is None:
            msg = f"there is no draft {name!r} of {collection}"
            raise DraftNotFoundError(msg, hint="`artifactfs drafts` lists them", subject=name)
        return found

    def iter_all(self, collection: str | None = None) -> Iterator[Draft]:
        """Yield all drafts, or those of one collection, also those that have ended, in order of collections.

        Raises:
            MalformedError, DigestMismatchError: a step is damaged.
        """
        store = self.repository.store
        found = store.iter_children(DRAFTS_PREFIX) if collection is None else [check_collection_name(collection)]
        for name in sorted(found):
            for draft in sorted(store.iter_children(f"{DRAFTS_PREFIX}{name}/")):
                if find_draft_key(draft_key(name, draft, 1)) is not None:
                    loaded = self._load(name, draft)
                    if loaded is not None:
                        yield loaded

    def iter_roots(self, *, given_up: Collection[Draft] = ()) -> Iterator[tuple[str, Root]]:
        """Yield what must be kept whole: the parts of all drafts that have not ended, and what to call them.

        Args:
            given_up: drafts to leave out, unless somebody added a step since.
        """
        for draft in self.iter_all():
            if draft.end is None and draft not in given_up:
                for number, part in enumerate(draft.parts, 1):
                    yield f"{draft.collection} (draft {draft.name!r}, part {number})", part.root

    def add(self, draft: Draft | None, step: Step) -> Draft | None:
        """Add the next step to a draft, and return what it is then; None when another writer took the number.

        Args:
            draft: as it was read; None for one without steps.
            step: what to add.

        Raises:
            StorageFullError: there is no room; nothing was added.
            RemoteError: the store does not answer; nothing was added as far as can be seen.
        """
        steps = () if draft is None else draft.steps
        key = draft_key(step.collection, step.draft, len(steps) + 1)
        if not self._create(key, step):
            return None
        return Draft(step.collection, step.draft, (*steps, step))

    def new_step_id(self) -> str:
        """Return an id for a step, or for a change."""
        return self._random(STEP_ID_SIZE).hex()

    def drop(self, collection: str, name: str) -> Draft:
        """Give a draft up: what was contributed is no version, and prune deletes it. Returns the draft.

        Raises:
            DraftNotFoundError: there is none.
            DraftClosedError: it is committed.
        """
        return self._drop(self.get(collection, name))

    def drop_expired(self, listed: Iterable[Draft] | None = None, *, dry_run: bool = False) -> list[Draft]:
        """Drop the drafts that nobody finished in time, and return them; with `dry_run` only return them.

        One whose version is there, though nobody noted that, is noted as committed.

        Args:
            listed: what an earlier call returned: no others are dropped, nor those that go on.
            dry_run: only list them.
        """
        now_ns = self.repository.clock.now_ns()
        if listed is None:
            listed = [draft for draft in self.iter_all() if draft.end is None and draft.expires_ns < now_ns]
        if dry_run:
            return list(listed)
        dropped = []
        for draft in listed:
            with suppress(DraftClosedError):
                dropped.append(self._drop(draft, only_expired=True))
        return dropped

    def forget_ended(self) -> None:
        """Delete the steps of drafts that ended long ago; the last step, which says so, goes last."""
        limit_ns = self.repository.clock.now_ns() - FORGET_NS
        for draft in list(self.iter_all()):
            if draft.end is not None and draft.end.time_ns < limit_ns:
                prefix = draft_prefix(draft.collection, draft.id)
                keys = sorted(prefix + child for child in self.repository.store.iter_children(prefix))
                for some in (keys[:-1], keys[-1:]):
                    self.repository.store.delete(some)

    def note_version(self, draft: Draft, version: int) -> Draft:
        """Note that the version of a closed draft is there, unless somebody else did, and return the draft."""
        after = self.add(draft, Committed(*self._name(draft), version=version))
        return self._reload(draft) if after is None else after

    def find_version(self, draft: Draft) -> int | None:
        """Return the number of the version that was made of a draft, or None when there is none yet."""
        if isinstance(draft.end, Committed):
            return draft.end.version
        closed = draft.closed
        if closed is None:
            return None
        return find_made(self.repository, draft.collection, Once(closed.change, closed.seq))

    def check_open(self, draft: Draft) -> None:
        """Return if a part may be added.

        Raises:
            DraftClosedError: it was closed or dropped.
        """
        if draft.status == "open":
            return
        was = "was dropped" if isinstance(draft.end, Dropped) else "is closed"
        if isinstance(draft.end, Committed):
            was = f"is closed; it is {draft.collection}:{format_version(draft.end.version)}"
        msg = f"{draft} {was}"
        raise DraftClosedError(msg, hint="begin another, under another name", subject=draft.name)

    def _drop(self, draft: Draft, *, only_expired: bool = False) -> Draft:
        while draft.end is None:
            if only_expired and draft.expires_ns >= self.repository.clock.now_ns():
                msg = f"{draft} goes on"
                raise DraftClosedError(msg, subject=draft.name)
            made = self.find_version(draft)
            if made is not None:
                draft = self.note_version(draft, made)
                continue
            after = self.add(draft, Dropped(*self._name(draft)))
            draft = self._reload(draft) if after is None else after
        if isinstance(draft.end, Committed):
            self.check_open(draft)
        return draft

    def _name(self, draft: Draft) -> tuple[str, str, str, str, str, int]:
        repository = self.repository
        identity = (draft.collection, draft.id, draft.name)
        return (*identity, self.new_step_id(), repository.author, repository.clock.now_ns())

    def _reload(self, draft: Draft) -> Draft:
        found = self._load(draft.collection, draft.id)
        if found is None:
            msg = f"{draft} was dropped and forgotten"
            raise DraftNotFoundError(msg, subject=draft.name)
        return found

    def _load(self, collection: str, draft: str, *, attempts: int = ATTEMPTS) -> Draft | None:
        store, prefix = self.repository.store, draft_prefix(collection, draft)
        numbers = sorted(filter(None, map(find_seq, store.iter_children(prefix))))
        if not numbers:
            return None
        keys = [draft_key(collection, draft, number) for number in numbers]
        try:
            read = store.read_many(keys)
            steps = [decode_draft_step(data, key=key) for key, data in zip(keys, read, strict=True)]
        except BlobMissingError:
            if attempts == 1:
                raise
            return self._load(collection, draft, attempts=attempts - 1)  # it is being forgotten
        if numbers != list(range(1, numbers[-1] + 1)):
            if not isinstance(steps[-1], Committed | Dropped):
                msg = f"a step of the draft {prefix} is missing"
                raise MalformedError(msg, hint="restore it from a copy of the repository", subject=prefix)
            return Draft(collection, draft, tuple(steps))
        check_order(steps, key=prefix)
        return Draft(collection, draft, tuple(steps))

    def _create(self, key: str, step: Step) -> bool:
        """Create a step and return True; return False when another writer took its number.

        As with log records, neither an error nor "it exists" says what was stored; what lies there does.
        """
        data = encode_draft_step(step)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if self.repository.store.create(key, data):
                    return True
            except ArtifactFSError as error:
                found = self._find(key)
                if found is not None and found.step != step.step:
                    return False
                if attempt == ATTEMPTS or not (found or error.retryable):
                    raise
            else:
                found = self._find(key)
                return found is not None and found.step == step.step
        raise AssertionError  # the last attempt returns or raises

    def _find(self, key: str) -> Step | None:
        try:
            return decode_draft_step(self.repository.store.read(key), key=key)
        except BlobMissingError:
            return None
