"""Commits and prunes on a store without locks: immutable lists of what is condemned, verdicts, and looks at them.

A prune writes its list, waits, and takes a verdict. A commit looks at the lists just before its record: it either
looked before the list was there, and then its record is there before the prune reads the logs again, or it finds the
list, and then it cancels the prune or waits for its end.

Used by the repository. Threading: a ListExclusion may be shared by threads; a look belongs to one.

Source: docs/format.md section 9; docs/design/prune.md has the assumptions about time.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.blobstore.keys import CONDEMNED, DONE, PRUNE_PREFIX, VERDICT, is_prune_id, prune_key
from artifactfs.errors import ArtifactFSError, BlobMissingError, ConflictError, IntegrityError
from artifactfs.repository.exclusion import tell_log, wait_silently
from artifactfs.repository.looking import Look
from artifactfs.repository.prune_steps import (
    Condemned,
    Done,
    Verdict,
    condemned_objects,
    decode_step,
    encode_step,
    list_objects,
)
from artifactfs.repository.storetime import check_clock, find_created_ns, find_rest_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.clock import Clock
    from artifactfs.repository.exclusion import Writing
    from artifactfs.repository.reach import ObjectSet
    from artifactfs.repository.trees import PageReader

ID_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take on a store.

    Attributes:
        wait_seconds: from the list to the first delete, by the clock of this machine and by that of the store. A
            commit's record comes in half of it after its look.
        look_seconds: which a look may take; one that took longer is made anew.
        delete_seconds: from the verdict to the last delete.
        slack_seconds: in which a delete that was sent arrives.
        skew_seconds: by which clocks of two machines may differ: object stores refuse requests whose time is more than
            15 minutes off.
        stranded_seconds: from the list until others cancel a prune without verdict, so that commits need not read it.
        forget_seconds: from the end of a prune until its steps may be deleted.
        poll_seconds: between looks of a commit that waits.
        grace_seconds: for which deleted versions are kept.
    """

    wait_seconds: float = 3600
    look_seconds: float = 900
    delete_seconds: float = 3600
    slack_seconds: float = 300
    skew_seconds: float = 1800
    stranded_seconds: float = 86400
    forget_seconds: float = 14 * 86400
    poll_seconds: float = 10
    grace_seconds: float = 14 * 86400


class ListExclusion:
    """Lists of what is condemned. May be shared by threads.

    Args:
        store: where the repository lies.
        reader: reads its pages.
        clock: the time of this machine.
        random: makes ids of prunes.
        author: who prunes and commits.
        timing: how long things may take.

    Attributes:
        tell: see `Exclusion`.
    """

    def __init__(
        self,
        store: ObjectStore,
        reader: PageReader,
        *,
        clock: Clock,
        random: Callable[[int], bytes],
        author: str = "",
        timing: Timing | None = None,
    ) -> None:
        self.store = store
        self.reader = reader
        self.clock = clock
        self.timing = timing or Timing()
        self.tell: Callable[[str], None] = tell_log
        self._random = random
        self._author = author

    @property
    def grace_seconds(self) -> float:
        """For how long a deleted version is kept."""
        return self.timing.grace_seconds

    @property
    def memory_ns(self) -> int:
        """For how long after its list a prune is sure not to have been forgotten when what relies on that is done."""
        return int((self.timing.forget_seconds - self.timing.wait_seconds) * 1e9)

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """Note which prunes are over; see `Look`."""
        yield Look(self)

    @contextmanager
    def deleting(
        self, condemned: ObjectSet, *, waiting: Callable[[int], None] = wait_silently
    ) -> Iterator[Callable[[int], None]]:
        """Write the list, tell `waiting` until when, wait, take the verdict; afterwards say that it is done.

        When a delete failed or was interrupted, it may still arrive: then nothing is said, and commits wait until the
        time is over. Where one was sent again until it was answered, the first may arrive: that is waited for.

        Raises:
            ConflictError: a commit cancelled it.
            ConfigurationError: the clock of this machine is wrong.
        """
        prune, limit_ns, stored_ns = self._condemn(condemned, waiting)
        end_ns = self._take_verdict(prune, limit_ns)
        deleted = 0

        def may_delete(count: int) -> None:
            nonlocal deleted
            if self.clock.now_ns() >= end_ns:
                msg = "the time in which this prune may delete is over"
                raise ConflictError(msg, hint="prune again: it goes on with what is left")
            deleted += count

        doubtful = self._count_doubtful()
        try:
            decided_ns = find_created_ns(self.store, prune_key(prune, VERDICT))
            if rest := find_rest_seconds(stored_ns, decided_ns, self.timing.wait_seconds):
                self.clock.sleep(rest)
            yield may_delete
            if self._count_doubtful() != doubtful:
                waiting(self.clock.now_ns() + int(self.timing.slack_seconds * 1e9))
                self.clock.sleep(self.timing.slack_seconds)
        except BaseException:
            if not deleted:
                with suppress(ArtifactFSError):
                    self._create(prune, DONE, encode_step(Done(prune, self.clock.now_ns(), 0)))
            raise
        self._create(prune, DONE, encode_step(Done(prune, self.clock.now_ns(), deleted)))

    def is_over(self, prune: str) -> bool:
        """Return whether a prune deletes nothing any more: it is done, cancelled, or dead."""
        if self.is_done(prune):
            return True
        verdict = self.find_verdict(prune)
        return verdict is not None and self.is_ended_by(verdict)

    def is_done(self, prune: str) -> bool:
        """Return whether a prune said that it has come to its end."""
        return self.store.find_size(prune_key(prune, DONE)) is not None

    def is_ended_by(self, verdict: Verdict) -> bool:
        """Return whether a prune with this verdict deletes nothing (any more), whatever time its machine has."""
        return not verdict.delete or self.clock.now_ns() > verdict.until_ns + int(self.timing.skew_seconds * 1e9)

    def find_verdict(self, prune: str) -> Verdict | None:
        """Return the verdict of a prune, or None before it is taken."""
        key = prune_key(prune, VERDICT)
        try:
            return decode_step(self.store.read(key), Verdict, key=key)
        except BlobMissingError:
            return None

    def find_condemned(self, prune: str) -> ObjectSet | None:
        """Return what a prune condemned, or None when its list was deleted."""
        key = prune_key(prune, CONDEMNED)
        try:
            return condemned_objects(decode_step(self.store.read(key), Condemned, key=key))
        except BlobMissingError:
            return None

    def cancel(self, prune: str) -> Verdict:
        """Cancel a prune unless there is a verdict, and return the verdict that it has."""
        verdict = Verdict(prune, self._author, self.clock.now_ns(), delete=False)
        try:
            if self.store.create(prune_key(prune, VERDICT), encode_step(verdict)):
                return verdict
        except ArtifactFSError:
            found = self.find_verdict(prune)
            if found is None:
                raise
            return found
        return self.find_verdict(prune) or verdict

    def list_prunes(self) -> dict[str, set[str]]:
        """Return the names of the steps of each prune that there are, by its id: what one listing tells."""
        found: dict[str, set[str]] = {}
        for key in self.store.iter_keys(PRUNE_PREFIX):
            prune, _, step = key.removeprefix(PRUNE_PREFIX).partition("/")
            if is_prune_id(prune):
                found.setdefault(prune, set()).add(step)
        return found

    def iter_prunes(self) -> Iterator[str]:
        """Yield the ids of all prunes that there are steps of."""
        yield from filter(is_prune_id, self.store.iter_children(PRUNE_PREFIX))

    def _condemn(self, condemned: ObjectSet, waiting: Callable[[int], None]) -> tuple[str, int, int | None]:
        """Write the list and wait. Returns the prune, its last time for a verdict, and the store's of the list."""
        prune = self._random(ID_SIZE).hex()
        listed = Condemned(prune, self._author, self.clock.now_ns(), list_objects(condemned))
        self._create(prune, CONDEMNED, encode_step(listed))
        try:
            stored_ns = find_created_ns(self.store, prune_key(prune, CONDEMNED))
            between = listed.created_ns, self.clock.now_ns()
            check_clock(stored_ns, between=between, tolerance_seconds=self.timing.skew_seconds / 2)
            waiting(self.clock.now_ns() + int(self.timing.wait_seconds * 1e9))
            self.clock.sleep(self.timing.wait_seconds)
        except BaseException:
            with suppress(ArtifactFSError):  # or the next commit that needs something of it does
                self.cancel(prune)
            raise
        return prune, listed.created_ns + self.memory_ns, stored_ns

    def _take_verdict(self, prune: str, limit_ns: int) -> int:
        """Decide to delete, and return the time at which the last delete must have been sent."""
        now_ns = self.clock.now_ns()
        if now_ns > limit_ns:  # where its steps were forgotten, nobody would see the verdict, nor it a cancelling one
            self.cancel(prune)
            msg = "this prune was stopped for so long that its list may be forgotten"
            raise ConflictError(msg, hint="prune again", subject=prune)
        until_ns = now_ns + int((self.timing.delete_seconds + self.timing.slack_seconds) * 1e9)
        verdict = Verdict(prune, self._author, now_ns, delete=True, until_ns=until_ns)
        self._create(prune, VERDICT, encode_step(verdict))
        found = self.find_verdict(prune)
        if found is None or not found.delete:
            by = f" by {found.author}" if found is not None and found.author else ""
            msg = f"the prune was cancelled{by}: a commit needs something that it would have deleted"
            raise ConflictError(msg, hint="prune again when commits have ended", subject=prune)
        return found.until_ns - int(self.timing.slack_seconds * 1e9)

    def _count_doubtful(self) -> int:
        """Return how many deletes were sent more than once, so that one of them may arrive yet."""
        found: int = getattr(self.store, "doubtful_deletes", 0)
        return found

    def _create(self, prune: str, step: str, data: bytes) -> None:
        """Create a step; an answer that was lost is no error if it, or another's, is there."""
        key = prune_key(prune, step)
        try:
            self.store.create(key, data)
        except ArtifactFSError:
            if self.store.find_size(key) is None:
                raise


def forget_prunes(exclusion: ListExclusion) -> None:
    """Delete the steps of prunes that have been over for long, and end those that died without a verdict.

    Lists go first: a commit that finds a prune without its list looks for everything that it needs.
    """
    now_ns, timing = exclusion.clock.now_ns(), exclusion.timing
    for prune, steps in exclusion.list_prunes().items():
        with suppress(IntegrityError):
            if VERDICT not in steps:
                if CONDEMNED not in steps:  # whoever forgot it was killed
                    exclusion.store.delete([prune_key(prune, DONE)])
                elif _find_begin(exclusion, prune) < now_ns - int(timing.stranded_seconds * 1e9):
                    exclusion.cancel(prune)
                continue
            verdict = exclusion.find_verdict(prune)
            limit_ns = now_ns - int(timing.forget_seconds * 1e9)
            is_old = verdict is not None and max(verdict.created_ns, verdict.until_ns) < limit_ns
            if is_old and (DONE in steps or exclusion.is_over(prune)):
                for step in (CONDEMNED, VERDICT, DONE):
                    exclusion.store.delete([prune_key(prune, step)])


def _find_begin(exclusion: ListExclusion, prune: str) -> int:
    key = prune_key(prune, CONDEMNED)
    try:
        return decode_step(exclusion.store.read(key), Condemned, key=key).created_ns
    except BlobMissingError:
        return exclusion.clock.now_ns()
