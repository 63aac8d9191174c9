"""What the run of a program and the mount tell each other: which aliases are pinned, and what was looked up.

    views/<run id>/pins      JSON: alias targets by collection, as they were when the run began
    views/<run id>/locked    JSON: all that may be seen, if the run was given a lock file
    views/<run id>/looked    a line for each file looked up: `NAME:vN`, size, path; in order
    views/<run id>/held      locked by who records what was looked up, and removes the directory

`artifactfs run` makes the directory; it is removed when the last process that sees the view has ended. As long as it
is there, the mount shows the repository under `@run-<run id>` with these aliases, and its workers append to `looked`.
A line is one write to a file opened for appending, so that those of several workers do not mix. A directory that is
listed or entered has `-` as its size.

Used by `mount` and by whoever runs programs. Threading: functions without state.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.errors import translate_os_error
from artifactfs.model import Collection
from artifactfs.repository.locked import Locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository

FOLDER: Final = "views"
NAME_PREFIX: Final = b"@run-"
"""What a view's directory at the root of a mount begins with; no collection can be called so."""
_LINE = re.compile(rb"([A-Za-z0-9_.\-]{1,128}:v\d{1,19})\t(-|\d+)\t(.*)", re.DOTALL)
_RUN = re.compile(r"[0-9a-f-]{36}")
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_Pins = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Something that a program looked up.

    Attributes:
        artifact: `NAME:vN`.
        path: the entry path in it; b"" is its top directory.
        size: bytes of a file; None of a directory that was entered or listed.
    """

    artifact: str
    path: bytes
    size: int | None


def is_run_name(text: str) -> bool:
    """Return whether a text can be the id of a run, and so part of a path here."""
    return _RUN.fullmatch(text) is not None


def begin_view(repository: Repository, run: str, *, locked: Locked | None = None) -> None:
    """Pin the aliases as they are now, or as a lock has them, and let mounts show a view for a run.

    Raises:
        StorageFullError, AccessDeniedError: the state directory cannot be written to.
    """
    pins: _Pins = {} if locked is None else locked.aliases
    for name, state in repository.look_at_collections() if locked is None else ():
        if isinstance(state, Collection):  # else its log is damaged: entering it says so
            pins[name] = dict(state.aliases)
    folder = _folder(repository.state_directory, run)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if locked is not None:
            with open(os.path.join(folder, "locked"), "wb") as file:
                file.write(msgspec.json.encode(locked))
        with open(os.path.join(folder, "pins.new"), "wb") as file:
            file.write(msgspec.json.encode(pins))
        os.replace(os.path.join(folder, "pins.new"), os.path.join(folder, "pins"))
    except OSError as error:
        raise translate_os_error(error, doing=f"making a view for the run {run}", subject=folder) from error


def hold_view(state_directory: str, run: str) -> int:
    """Return a descriptor: while it is open, in whichever process, this view is somebody's to record and to end.

    Raises:
        OSError: the run has no view, or it is held already.
    """
    descriptor = os.open(
        os.path.join(_folder(state_directory, run), "held"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_held(state_directory: str, run: str) -> bool:
    """Return whether somebody holds the view of a run; False when it has none."""
    try:
        os.close(hold_view(state_directory, run))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def has_view(state_directory: str, run: str) -> bool:
    """Return whether a run has a view that was not ended."""
    return is_run_name(run) and os.path.isdir(_folder(state_directory, run))


def end_view(state_directory: str, run: str) -> None:
    """Let mounts show the view no more, and forget what was looked up."""
    shutil.rmtree(_folder(state_directory, run), ignore_errors=True)


def find_pins(state_directory: str, run: str) -> _Pins | None:
    """Return the alias targets that a run pins by collection, or None when it has no view."""
    try:
        with open(os.path.join(_folder(state_directory, run), "pins"), "rb") as file:
            return msgspec.json.decode(file.read(), type=_Pins)
    except (OSError, msgspec.MsgspecError):
        return None


def pin_ref(repository: Repository, ref: Ref, run: str) -> Ref:
    """Return a reference by the number that its alias had when a run began, if the run has a view here.

    An alias that leads to what the run itself has made is taken as it is now.
    """
    pins = find_pins(repository.state_directory, run) if ref.alias is not None and is_run_name(run) else None
    number = (pins or {}).get(ref.collection, {}).get(ref.alias or "")
    if number is None:
        return ref
    collection = repository.find_collection(ref.collection)
    now = None if collection is None else collection.versions.get(collection.aliases.get(ref.alias or "", -1))
    return ref if now is not None and now.run == run else replace(ref, selector=f"v{number}")


def find_locked(state_directory: str, run: str) -> Locked | None:
    """Return all that a run may see, or None when that is everything.

    Raises:
        OSError: it cannot be read, so that nothing may be shown.
    """
    try:
        with open(os.path.join(_folder(state_directory, run), "locked"), "rb") as file:
            return msgspec.json.decode(file.read(), type=Locked)
    except FileNotFoundError:
        return None


def open_looked(state_directory: str, run: str) -> int:
    """Return a descriptor to which `append_looked` writes; the caller closes it.

    Raises:
        OSError: the run has no view.
    """
    path = os.path.join(_folder(state_directory, run), "looked")
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def append_looked(descriptor: int, artifact: str, path: bytes, size: int | None) -> None:
    """Note something that was looked up.

    Raises:
        OSError: it could not be written.
    """
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    os.write(descriptor, b"%s\t%s\t%s\n" % (artifact.encode(), b"-" if size is None else b"%d" % size, escaped))


def iter_looked(state_directory: str, run: str) -> Iterator[LookedUp]:
    """Yield what a run looked up, in order, each once; nothing when it has no view."""
    seen: set[tuple[str, bytes]] = set()
    try:
        with open(os.path.join(_folder(state_directory, run), "looked"), "rb") as file:
            for line in file:
                match = _LINE.fullmatch(line.rstrip(b"\n"))
                if match is None:
                    continue
                path = _ESCAPE.sub(lambda found: b"\n" if found[1] == b"n" else found[1], match[3])
                found = LookedUp(match[1].decode(), path, None if match[2] == b"-" else int(match[2]))
                if (found.artifact, path) not in seen:
                    seen.add((found.artifact, path))
                    yield found
    except OSError:
        return


def _folder(state_directory: str, run: str) -> str:
    return os.path.join(state_directory, FOLDER, run)
