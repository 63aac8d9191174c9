"""Pins of the versions that staging directories are based on: while one lasts, no prune deletes its version.

A pin is a record of the collection's log. Which ones are to be taken away is noted beside the staging directory first,
so that a crash leaves none behind.

Used by `staging.py`. Threading: functions over files and logs; any process that holds the staging directory's lock.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ArtifactFSError, BlobMissingError
from artifactfs.paths import printable
from artifactfs.repository import changes
from artifactfs.repository.reach import check_present
from artifactfs.staging.layout import Layout, StagingInfo, write_info
from artifactfs.staging.lifecycle import read_unpin, write_unpin

if TYPE_CHECKING:
    from artifactfs.model import Root, Version
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staged import Staging

PIN_SIZE: Final = 16


class StagingPins:
    """The pins of a repository's staging directories on this machine.

    Args:
        repository: whose.
        run: id of the run in which they are changed, if any.
    """

    def __init__(self, repository: Repository, run: str | None = None) -> None:
        self._repository = repository
        self._run = run

    def pin(self, layout: Layout, version: Version) -> str:
        """Pin a version; a crash before `staging.json` names the pin leaves a note of it."""
        pin = os.urandom(PIN_SIZE).hex()
        purpose = f"staging directory @{layout.name}"
        write_unpin(layout, [*read_unpin(layout), pin])
        change = partial(changes.pin, pin=pin, version=version.number, purpose=purpose)
        self._repository.append(layout.collection, change, run=self._run)
        return pin

    def take_away(self, layout: Layout, info: StagingInfo | None) -> None:
        """Take away the pins that were noted, but for the one that is in use."""
        known = self._repository.load_state(layout.collection).pins
        for pin in read_unpin(layout):
            if pin in known and (info is None or info.pin != pin):
                self._repository.append(layout.collection, partial(changes.unpin, pin=pin), run=self._run)

    def give_up_base(self, staging: Staging) -> None:
        """Take away all pins of a staging directory that ends.

        Raises:
            ArtifactFSError: its base is still pinned, and it goes on.
        """
        try:
            self.take_away(staging.layout, None)
        except ArtifactFSError:
            write_info(staging.layout, staging.info)  # its base is still pinned: it goes on
            raise

    def find_base(self, staging: Staging) -> Root | None:
        """Return the root of the base, with its place as the log says it now: a prune may have moved it.

        What did not change is taken from it without being read, so a commit must know that it is there whole.

        Raises:
            BlobMissingError: its pin was broken, and it was pruned.
        """
        info, repository = staging.info, self._repository
        if info.root is None or info.base is None:
            return info.root
        state = repository.load_state(info.collection)
        version = state.versions.get(info.base)
        root = version.root if version is not None else state.deleted.get(info.base, (0, info.root))[1]
        if version is not None or info.pin in state.pins:
            return root
        try:
            check_present(repository.store, repository.blobs.in_place, root)
        except BlobMissingError as error:
            msg = f"the pin of {staging} was broken, and v{info.base}, which it is based on, was pruned"
            hint = f"what was changed is in {printable(staging.upper)}: copy it to a new staging directory"
            raise BlobMissingError(msg, hint=hint, subject=str(staging)) from error
        return root
