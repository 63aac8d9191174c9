"""Publishing volumes: a bind from the one mount, what keeps its version, and undoing all of it.

Every step looks at what is there and makes up the difference, so each can be repeated, after a crash too.

Used by `services`. Threading: one thread at a time; the caller holds a lock.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import structs

from artifactfs.errors import ArtifactFSError, ConflictError, MountError, StagingNotFoundError
from artifactfs.mount.api import MountFreezer, attach_staging, end_staging
from artifactfs.mount.binding import bind_volume, unbind
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.staging_mounts import StagingKey
from artifactfs.paths import LATEST, parse_ref
from artifactfs.repository import changes
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.staging import StagingArea
from artifactfs.serve.csi.ahead import Ahead
from artifactfs.serve.csi.table import Table, Volume, key_of
from artifactfs.serve.csi.wishes import COMMIT, DISCARD, STAGING, Wish

if TYPE_CHECKING:
    from artifactfs.mount.options import Places
    from artifactfs.repository.repository import Repository
    from artifactfs.serve.csi.daemon import OneMount

_log = logging.getLogger(__name__)
EMPTY: Final = -1


class Publisher:
    """The volumes of one plugin.

    Threading: see the module.
    """

    def __init__(self, places: Places, repository: Repository, mount: OneMount, table: Table) -> None:
        """Store what volumes are made of."""
        self._places = places
        self._repository = repository
        self._mount = mount
        self.table = table
        self.ahead = Ahead()
        self._area = StagingArea(repository)

    def publish(self, volume_id: str, target: str, wish: Wish) -> Volume:
        """Show what is wished for at `target`; return the volume. One that is there already stays.

        Raises:
            NotFoundError: there is no such version; nothing was done.
            ConflictError: the volume is published elsewhere, or shows something else.
            ArtifactFSError: it cannot be done; what was begun was undone.
        """
        self._mount.ensure()
        found = self.table.find(volume_id)
        if found is not None:
            _check_same(found, target, wish)
            self.show(found)
            return found
        volume = self._plan(volume_id, target, wish)
        self.table.put(volume)
        try:
            self.show(volume)
        except BaseException:
            self._undo(volume)
            raise
        finally:
            self.ahead.prepare()
        return volume

    def _plan(self, volume_id: str, target: str, wish: Wish) -> Volume:
        ref = parse_ref(wish.artifact)
        collection = self._repository.find_collection(ref.collection)
        if wish.mode == STAGING and ref.selector is None and (collection is None or not collection.versions):
            name, number = ref.collection, EMPTY
        else:
            state, version = self._repository.resolve(ref)
            name, number = state.name, version.number
        key = key_of(volume_id)
        staging = f"csi-{key}" if wish.mode == STAGING else ""
        pin = os.urandom(16).hex() if wish.pin and not staging and number != EMPTY else ""
        return Volume(volume_id, target, wish, name, number, pin, staging)

    def show(self, volume: Volume) -> None:
        """Bring about what a volume needs, as far as it is missing.

        Raises:
            ArtifactFSError: something cannot be.
        """
        if volume.pin:
            self._pin(volume)
        bind_volume(
            self._find_source(volume),
            volume.target,
            is_read_only=volume.wish.is_read_only or not volume.staging,
            is_noexec=volume.wish.is_noexec,
        )

    def _pin(self, volume: Volume) -> None:
        if volume.pin in self._repository.load_state(volume.collection).pins:
            return
        purpose = f"volume {volume.id}"
        change = partial(changes.pin, pin=volume.pin, version=volume.version, purpose=purpose)
        self._repository.append(volume.collection, change)

    def _find_source(self, volume: Volume) -> str:
        if not volume.staging:
            return os.path.join(self._mount.mountpoint, volume.collection, f"v{volume.version}")
        try:
            staging = self._area.get(volume.collection, volume.staging)
        except StagingNotFoundError:
            version = None
            if volume.version != EMPTY:
                version = changes.get_version(self._repository.get_collection(volume.collection), volume.version)
            staging = self._area.create(
                volume.collection, name=volume.staging, version=version, followed=_followed(volume.wish)
            )
        attach_staging(
            self._places, self._repository, staging=staging, author=self._repository.author, spare=self.ahead.forker
        )
        own = StagingKey(self._repository.id, volume.collection, volume.staging).own_mountpoint(self._places)
        if find_mount(own) is None:
            msg = f"the staging directory {staging} is not served"
            raise MountError(msg, hint="its log is under the state directory")
        return own

    def unpublish(self, volume_id: str, target: str) -> None:
        """Take a volume away from `target`, with what it needed. What is not there is no error.

        Raises:
            ArtifactFSError: it cannot be done now; calling again goes on.
        """
        volume = self.table.find(volume_id)
        unbind(target)
        if volume is not None and volume.target == target:
            self._end(volume)

    def _end(self, volume: Volume) -> None:
        if volume.staging:
            self._end_staging(volume)
        if volume.pin:
            self._repository.append(volume.collection, partial(changes.unpin, pin=volume.pin))
        self.table.remove(volume.id)

    def _end_staging(self, volume: Volume) -> None:
        try:
            staging = self._area.get(volume.collection, volume.staging)
        except StagingNotFoundError:
            return
        changed = bool(self._area.changes(staging))
        if changed and volume.wish.at_end == COMMIT:
            options = CommitOptions(message=f"volume {volume.id}")
            staging = self._area.commit(
                staging, options, freezer=MountFreezer(self._places, self._repository.id)
            ).staging
            _log.info("volume %s was committed to %s", volume.id, volume.collection)
        elif changed and volume.wish.at_end != DISCARD:
            _log.warning("volume %s has uncommitted changes: %s is kept", volume.id, staging)
            return
        end_staging(self._places, self._repository, staging, self._area)

    def _undo(self, volume: Volume) -> None:
        try:
            unbind(volume.target)
            self._end(structs.replace(volume, wish=replace(volume.wish, at_end=DISCARD)))  # it was never shown
        except ArtifactFSError as error:  # kubelet asks again, and then the record is found
            _log.warning("volume %s was not undone: %s", volume.id, error)

    def repair(self) -> None:
        """Bring back the binds that a dead mount or a restarted node took away; forget volumes whose pods are gone."""
        for volume in list(self.table.all()):
            try:
                if os.path.isdir(os.path.dirname(volume.target)):
                    self.show(volume)
                else:
                    self._end(volume)
            except (ArtifactFSError, OSError) as error:
                _log.warning("volume %s cannot be shown again: %s", volume.id, error)


def _check_same(found: Volume, target: str, wish: Wish) -> None:
    if found.target != target:
        msg = f"the volume is published at {found.target}"
        raise ConflictError(msg, hint="an inline volume has one target path", subject=target)
    if found.wish != wish:
        msg = "the volume is published with other attributes"
        raise NotSameError(msg, subject=target)


class NotSameError(ConflictError):
    """A volume of this name shows something else."""


def _followed(wish: Wish) -> str | None:
    ref = parse_ref(wish.artifact)
    return ref.alias if ref.selector is not None else LATEST
