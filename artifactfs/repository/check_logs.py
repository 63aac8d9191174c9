"""Check of everything that is not content: format files, collections, runs, steps of prunes and drafts.

Used by check. Threading: a LogAudit belongs to one thread.

Source: docs/format.md sections 2, 5, 6, 8 and 9.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.blobstore.keys import (
    COLLECTIONS_PREFIX,
    CONDEMNED,
    DONE,
    DRAFTS_PREFIX,
    FORMAT_PREFIX,
    PRUNE_PREFIX,
    RUN_FILES,
    RUNS_PREFIX,
    VERDICT,
    find_draft_key,
    find_format_number,
    find_seq,
    is_prune_id,
    run_environment_key,
)
from artifactfs.errors import ArtifactFSError, BlobMissingError, InvalidNameError, MalformedError
from artifactfs.paths import check_collection_name
from artifactfs.repository.check_collections import CollectionAudit
from artifactfs.repository.draft_steps import Committed, Dropped, Part, decode_draft_step
from artifactfs.repository.format import decode_format
from artifactfs.repository.prune_steps import Condemned, Done, Verdict, decode_step
from artifactfs.repository.sealed import open_if_sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactfs.model import Collection, Root
    from artifactfs.repository.draft_steps import Step
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.salvage import Gap
    from artifactfs.repository.witness import Seen

_STEPS: Final[dict[str, Callable[[bytes, str], object]]] = {
    CONDEMNED: lambda data, key: decode_step(data, Condemned, key=key),
    VERDICT: lambda data, key: decode_step(data, Verdict, key=key),
    DONE: lambda data, key: decode_step(data, Done, key=key),
}


class LogAudit:
    """Reads all records again. Belongs to one thread.

    Attributes:
        states: of all collections, as far as their records can be read.
        gaps: collection, and what is not known, by the key of the first of damaged records.
        records: how many records there are.
        strays: keys that nothing of this format has.
        parts: roots of the parts of drafts that have not ended, and what to call them.
    """

    def __init__(self, repository: Repository, *, report: Callable[[str, str], None]) -> None:
        """Store the repository, and what is told of each damaged object: its key, and what is wrong."""
        self._repository = repository
        self._store = repository.store
        self._report = report
        self.states: dict[str, Collection] = {}
        self.gaps: dict[str, tuple[str, Gap]] = {}
        self.records = 0
        self.strays: list[str] = []
        self.parts: list[tuple[str, Root]] = []

    def check(self) -> None:
        """Check everything."""
        for key in self._store.iter_keys(FORMAT_PREFIX):
            if find_format_number(key) is None:
                self.strays.append(key)
            else:
                self._try(key, partial(decode_format, key=key))
        witness = self._repository.witness
        seen = {name: witness.load(name) for name in witness.names()}  # before the logs, which may grow meanwhile
        for name in sorted({*self._store.iter_children(COLLECTIONS_PREFIX), *seen}):
            try:
                check_collection_name(name)
            except InvalidNameError:
                self.strays.append(COLLECTIONS_PREFIX + name)
            else:
                self._check_collection(name, seen.get(name, ()))
        for key in self._store.iter_keys(RUNS_PREFIX):
            self._try(key, partial(_check_event, key=key))
        for key in self._store.iter_keys(PRUNE_PREFIX):
            self._check_step(key)
        self._check_drafts()

    def _try(self, key: str, decode: Callable[[bytes], object]) -> bool:
        """Decode an object, and report it if it is damaged; return whether it is not."""
        try:
            decode(self._store.read(key))
        except ArtifactFSError as error:
            self._report(key, error.message)
            return False
        return True

    def _check_collection(self, name: str, seen: Sequence[Seen]) -> None:
        audit = CollectionAudit(self._store, name, report=self._report)
        audit.check(seen)
        self.states[name] = audit.state
        self.gaps |= {key: (name, gap) for key, gap in audit.gaps.items()}
        self.records += audit.records
        self.strays += audit.strays

    def _check_drafts(self) -> None:
        """Look at the steps of drafts, and collect the parts of those that have not ended."""
        steps: dict[str, list[tuple[str, Step]]] = {}
        for key in sorted(self._store.iter_keys(DRAFTS_PREFIX)):
            if find_draft_key(key) is None:
                self.strays.append(key)
                continue
            try:
                step = decode_draft_step(self._store.read(key), key=key)
            except BlobMissingError:
                continue  # it is being forgotten
            except ArtifactFSError as error:
                self._report(key, error.message)
            else:
                steps.setdefault(key.rpartition("/")[0], []).append((key, step))
        for found in steps.values():
            if isinstance(found[-1][1], Committed | Dropped):
                continue
            for key, step in found:
                if isinstance(step, Part):
                    number = find_seq(key.rpartition("/")[2])
                    self.parts.append((f"{step.collection} (draft {step.name!r}, part {number})", step.root))

    def _check_step(self, key: str) -> None:
        parts = key.split("/")
        decode = _STEPS.get(parts[2]) if len(parts) == 3 and is_prune_id(parts[1]) else None
        if decode is None:
            self.strays.append(key)
        else:
            self._try(key, lambda data: decode(data, key))


_decode_lines = msgspec.json.Decoder().decode_lines


def _check_event(data: bytes, *, key: str) -> None:
    """Return if what is stored of a run (an event, a list of files, what it ran with, a note) is what was written."""
    sha256 = hashlib.sha256(data).digest()
    if key.startswith(run_environment_key(b"")):
        if key != run_environment_key(sha256):
            msg = f"{key} is damaged: its bytes hash to sha256:{sha256.hex()}"
            raise MalformedError(msg)
        return
    try:
        if key.rpartition("/")[2].startswith(RUN_FILES):
            _decode_lines(data)
        else:
            msgspec.json.decode(open_if_sealed(data, key=key))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{key} does not decode: {error}"
        raise MalformedError(msg) from error
