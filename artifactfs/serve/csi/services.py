"""The calls of the Identity and Node services: what is asked, what is answered, and which code an error has.

Used by `server`. Threading: any number of threads; one works on volumes at a time.

Source: Container Storage Interface 1.11, "Identity Service RPC" and "Node Service RPC", with their error codes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

from artifactfs._version import __version__
from artifactfs.errors import (
    AccessDeniedError,
    AliasNotFoundError,
    ArtifactFSError,
    BusyError,
    CollectionNotFoundError,
    ConflictError,
    InvalidNameError,
    StorageFullError,
    UsageError,
    VersionNotFoundError,
)
from artifactfs.serve.csi.publishing import EMPTY, NotSameError
from artifactfs.serve.csi.wishes import parse_wish

if TYPE_CHECKING:
    from artifactfs.repository.repository import Repository
    from artifactfs.serve.csi.daemon import OneMount
    from artifactfs.serve.csi.publishing import Publisher
    from artifactfs.serve.csi.schema import Messages
    from artifactfs.serve.csi.table import Volume

_log = logging.getLogger(__name__)
_Code = grpc.StatusCode
_CODES: Final[tuple[tuple[type[ArtifactFSError], Any], ...]] = (
    (UsageError, _Code.INVALID_ARGUMENT),
    (InvalidNameError, _Code.INVALID_ARGUMENT),
    (CollectionNotFoundError, _Code.NOT_FOUND),
    (VersionNotFoundError, _Code.NOT_FOUND),
    (AliasNotFoundError, _Code.NOT_FOUND),
    (NotSameError, _Code.ALREADY_EXISTS),
    (ConflictError, _Code.FAILED_PRECONDITION),
    (BusyError, _Code.ABORTED),
    (StorageFullError, _Code.RESOURCE_EXHAUSTED),
    (AccessDeniedError, _Code.PERMISSION_DENIED),
)
_BYTES, _INODES = 1, 2
_GET_VOLUME_STATS, _VOLUME_CONDITION = 2, 4
_ID_LIMIT: Final = 256
_LOCK_SECONDS: Final = 20.0


class PendingError(BusyError):
    """Another call works on this volume."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the plugin calls itself, and its node. Immutable."""

    driver: str
    node: str


class Services:
    """All calls.

    Threading: see the module.
    """

    def __init__(
        self, messages: Messages, names: Names, repository: Repository, mount: OneMount, publisher: Publisher
    ) -> None:
        self._messages = messages
        self._names = names
        self._repository = repository
        self._mount = mount
        self._publisher = publisher
        self._lock = threading.Lock()
        self._pending: set[str] = set()

    def handle(self, call: str, request: Any, context: Any) -> Any:
        """Answer one call; an error ends it with its code."""
        handler: Callable[[Any], dict[str, Any]] = getattr(self, _snake(call))
        try:
            return self._messages[f"{call}Response"](**handler(request))
        except ArtifactFSError as error:
            code = next((code for kind, code in _CODES if isinstance(error, kind)), _Code.INTERNAL)
            _log.warning("%s: %s: %s", call, code.name, error)
            context.abort(code, str(error))
        except Exception as error:  # noqa: BLE001 - kubelet is told, and asks again
            _log.exception("%s failed unexpectedly", call)
            context.abort(_Code.INTERNAL, f"{type(error).__name__}: {error}")
        return None

    def repair(self) -> None:
        """Mount if the mount is gone, and bind every volume again."""
        with self._lock:
            self._mount.ensure()
            self._publisher.repair()

    def watch(self) -> None:
        """Do the same if the mount is gone; otherwise nothing."""
        if not self._mount.is_up():
            self.repair()

    # Identity

    def get_plugin_info(self, request: Any) -> dict[str, Any]:
        """Answer GetPluginInfo."""
        del request
        return {"name": self._names.driver, "vendor_version": __version__}

    def get_plugin_capabilities(self, request: Any) -> dict[str, Any]:
        """Answer GetPluginCapabilities: there is no controller service, and no topology."""
        del request
        return {}

    def probe(self, request: Any) -> dict[str, Any]:
        """Answer Probe: whether the mount is up."""
        del request
        return {"ready": {"value": self._mount.is_up()}}

    # Node

    def node_get_capabilities(self, request: Any) -> dict[str, Any]:
        """Answer NodeGetCapabilities."""
        del request
        return {"capabilities": [{"rpc": {"type": kind}} for kind in (_GET_VOLUME_STATS, _VOLUME_CONDITION)]}

    def node_get_info(self, request: Any) -> dict[str, Any]:
        """Answer NodeGetInfo."""
        del request
        return {"node_id": self._names.node}

    def node_publish_volume(self, request: Any) -> dict[str, Any]:
        """Answer NodePublishVolume."""
        _check_given(request, "volume_id", "target_path")
        capability = request.volume_capability
        if not request.HasField("volume_capability") or not capability.access_mode.mode:
            msg = "volume_capability is missing, or says no access mode"
            raise UsageError(msg)
        if not capability.HasField("mount"):
            msg = "a volume is a file system, not a block device"
            raise UsageError(msg)
        if capability.mount.fs_type not in ("", "artifactfs"):
            msg = f"fs_type is {capability.mount.fs_type!r}"
            raise UsageError(msg, hint="leave it out")
        flags = capability.mount.mount_flags
        wish = parse_wish(request.volume_context, is_read_only=request.readonly, flags=flags)
        with self._working_on(request.volume_id):
            self._publisher.publish(request.volume_id, request.target_path, wish)
        return {}

    def node_unpublish_volume(self, request: Any) -> dict[str, Any]:
        """Answer NodeUnpublishVolume."""
        _check_given(request, "volume_id", "target_path")
        with self._working_on(request.volume_id):
            self._publisher.unpublish(request.volume_id, request.target_path)
        return {}

    def node_get_volume_stats(self, request: Any) -> dict[str, Any]:
        """Answer NodeGetVolumeStats: of a version its size and its files, of a staging directory those of the disk."""
        _check_given(request, "volume_id", "volume_path", absolute=False)
        volume = self._publisher.table.find(request.volume_id)
        if volume is None or volume.target != request.volume_path:
            msg = f"no volume {request.volume_id} is published at {request.volume_path}"
            raise VersionNotFoundError(msg)
        is_up = self._mount.is_up()
        condition = {"abnormal": not is_up, "message": "mounted" if is_up else "the mount is not served"}
        return {"usage": self._usage(volume), "volume_condition": condition}

    def _usage(self, volume: Volume) -> list[dict[str, int]]:
        if volume.staging:
            disk = os.statvfs(self._repository.state_directory)
            room, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
            files, spare = disk.f_files, disk.f_favail
            return [
                {"unit": _BYTES, "total": room, "available": free, "used": room - free},
                {"unit": _INODES, "total": files, "available": spare, "used": files - spare},
            ]
        version = self._repository.load_state(volume.collection).versions.get(volume.version)
        if volume.version == EMPTY or version is None:
            return [{"unit": _BYTES}]
        root = version.root
        return [
            {"unit": _BYTES, "total": root.size, "used": root.size},
            {"unit": _INODES, "total": root.count, "used": root.count},
        ]

    @contextmanager
    def _working_on(self, volume_id: str) -> Iterator[None]:
        """Let one call work on a volume; another is told to come back."""
        if volume_id in self._pending:
            msg = f"another call works on the volume {volume_id}"
            raise PendingError(msg)
        self._pending.add(volume_id)
        try:
            if not self._lock.acquire(timeout=_LOCK_SECONDS):
                msg = "other volumes take long"
                raise PendingError(msg)
            try:
                yield
            finally:
                self._lock.release()
        finally:
            self._pending.discard(volume_id)


def _check_given(request: Any, *names: str, absolute: bool = True) -> None:
    for name in names:
        value = getattr(request, name)
        if not value:
            msg = f"{name} is missing"
            raise UsageError(msg)
        if name.endswith("_id") and len(value) > _ID_LIMIT:
            msg = f"{name} is longer than {_ID_LIMIT} characters"
            raise UsageError(msg)
        if absolute and name.endswith("_path") and not os.path.isabs(value):
            msg = f"{name} is not an absolute path"
            raise UsageError(msg)


def _snake(call: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in call).removeprefix("_")
