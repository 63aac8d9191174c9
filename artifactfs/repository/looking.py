"""What one commit knows of prunes on a store without locks, and its look at them just before its record.

Used by `condemning.py`. Threading: a Look belongs to one thread.

Source: docs/format.md section 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import DONE, digest_key
from artifactfs.errors import BlobMissingError, IntegrityError, PrunedError
from artifactfs.repository.reach import PREFIXES, Reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactfs.model import Root
    from artifactfs.repository.condemning import ListExclusion
    from artifactfs.repository.prune_steps import Verdict
    from artifactfs.repository.reach import ObjectSet


class Look:
    """What one commit knows of prunes. Belongs to one thread."""

    def __init__(self, exclusion: ListExclusion) -> None:
        self._exclusion = exclusion
        # Whatever these deleted was gone before this commit looked for its first object.
        self._begun_ns = exclusion.clock.now_ns()
        there = exclusion.list_prunes()
        self._over = {prune for prune, steps in there.items() if DONE in steps or _is_over(exclusion, prune)}

    def look(self, *roots: Root) -> None:
        """Cancel, or wait for, every prune that has condemned what is reached from `roots`.

        Raises:
            PrunedError: something is gone, or may be.
        """
        exclusion = self._exclusion
        needed: ObjectSet | None = None
        settled: set[str] = set()  # of these roots: what others need of a prune that is over by now may be gone
        while True:
            self._check_age()
            begun_ns = exclusion.clock.now_ns()
            has_waited = False
            for prune in set(exclusion.iter_prunes()) - self._over - settled:
                needed = needed or self._find_needed(roots)
                has_waited |= self._settle(prune, needed)
                settled.add(prune)  # lists never change
            # What was listed meanwhile was not seen, and the hour of its prune does not wait for a look.
            if not has_waited and exclusion.clock.now_ns() - begun_ns <= exclusion.timing.look_seconds * 1e9:
                return

    def _check_age(self) -> None:
        """Return if whatever has deleted something since this commit began is still seen."""
        if self._exclusion.clock.now_ns() - self._begun_ns > self._exclusion.memory_ns:
            msg = "this took so long that prunes may be forgotten which deleted something of it"
            raise PrunedError(msg, hint="run the same command again")

    def _settle(self, prune: str, needed: ObjectSet) -> bool:
        """Make sure of one prune, and return whether that took time, so that all others must be looked at again."""
        exclusion = self._exclusion
        is_there, condemned = self._read_condemned(prune)
        wanted = list(_iter_common(needed, condemned))
        if not wanted:
            return False
        if is_there:
            verdict = exclusion.find_verdict(prune) or exclusion.cancel(prune)
            if not verdict.delete:
                self._over.add(prune)
                return False
            self._wait(verdict)
        for prefix, digest in wanted:
            key = digest_key(prefix, digest)
            if exclusion.store.find_size(key) is None:
                msg = f"a prune deleted {key}, which this commit needs"
                raise PrunedError(msg, hint="run the same command again", subject=key)
        return True

    def _wait(self, verdict: Verdict) -> None:
        """Wait until a prune is done, or has no time left: by the clock, or since its verdict was there to be seen."""
        exclusion, waited = self._exclusion, 0.0
        longest = (verdict.until_ns - verdict.created_ns) / 1e9 + exclusion.timing.skew_seconds
        while not (exclusion.is_ended_by(verdict) or exclusion.is_done(verdict.prune)) and waited <= longest:
            if not waited:
                by = f" of {verdict.author}" if verdict.author else ""
                limit = f"{max(1, round(longest / 60))} min at most"
                exclusion.tell(f"waiting for the prune{by} to end, which deletes what this needs: {limit}")
            exclusion.clock.sleep(exclusion.timing.poll_seconds)
            waited += exclusion.timing.poll_seconds

    def _read_condemned(self, prune: str) -> tuple[bool, ObjectSet | None]:
        """Return whether there is a list, and what it condemns; None when that may be anything."""
        try:
            condemned = self._exclusion.find_condemned(prune)
        except IntegrityError:
            return True, None
        return condemned is not None, condemned

    def _find_needed(self, roots: Iterable[Root]) -> ObjectSet:
        reach = Reach(self._exclusion.reader)
        try:
            for root in roots:
                reach.add_root(root)
        except BlobMissingError as error:
            raise PrunedError(error.message, hint="run the same command again", subject=error.subject) from error
        return reach.objects


def _is_over(exclusion: ListExclusion, prune: str) -> bool:
    """Return whether a prune is known to be over; with a damaged verdict it is not."""
    try:
        return exclusion.is_over(prune)
    except IntegrityError:
        return False


def _iter_common(needed: ObjectSet, condemned: ObjectSet | None) -> Iterator[tuple[str, bytes]]:
    for prefix in PREFIXES:
        for digest in needed.iter_sorted(prefix):
            if condemned is None or condemned.has(prefix, digest):
                yield prefix, digest
