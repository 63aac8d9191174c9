"""The epochs of a state directory: which one is current, who holds which, and how one begins and ends.

    epochs/current           the five hex digits of the epoch that new mounts use
    epochs/<hex>/            one LMDB environment
    epochs/<hex>/lock        a shared lock is held by everyone who uses the epoch
    epochs/<hex>/boot        the boot of the machine in which it began, and the form of its tables; `damaged` when it
                             was found to be so in use

An epoch is not synced to disk: it survives every process, but not a crash of the machine, after which no kernel
remembers a node. So an epoch of an earlier boot is not used again. Neither is one that is damaged, or that a release
with other tables began: numbers that mean something else must not appear under the same bits.

Used by `vfs`, `mount` and `repository`. Threading: functions without state; several processes may call them at once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from artifactfs.errors import IndexCorruptError, translate_os_error
from artifactfs.filelocks import is_locked
from artifactfs.index.environment import Environment
from artifactfs.index.epoch import BEGUN, META, NAMES, NODES, PAGES, SHARED, WIRE, Epoch, UnknownNodeError
from artifactfs.index.places import find_local_directory
from artifactfs.index.soundness import DATA_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


FOLDER: Final = "epochs"

FORMAT: Final = "4"
"""Changes whenever what the tables hold does, here or in `vfs`."""

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"

_log = logging.getLogger(__name__)


def open_epoch(directory: str, *, random: Callable[[int], bytes], boot_id: str | None = None) -> Epoch:
    """Return the epoch that new mounts use, which begins with the first of them.

    Args:
        directory: the state directory of the repository.
        random: source of the epoch's number.
        boot_id: this boot of the machine; None reads it from the kernel.

    Raises:
        AccessDeniedError, StorageFullError: the directory cannot be used.
    """
    folder = find_local_directory(os.path.join(directory, FOLDER))
    stamp = _make_stamp(boot_id)
    try:
        with _exclusive(folder):
            found = _use_current(folder, stamp)
            if found is None:
                found = _begin(folder, random, stamp)
                _sweep(folder, keep=found.name)
            return found
    except OSError as error:
        raise translate_os_error(error, doing=f"opening the epoch in {folder}", subject=folder) from error


def reopen_epoch(directory: str, *, number: int, boot_id: str | None = None) -> Epoch:
    """Return a certain epoch: the one that a live mount uses, for a process that goes on serving it.

    Args:
        directory: the state directory of the repository.
        number: the epoch's 20 bits.
        boot_id: this boot of the machine; None reads it from the kernel.

    Raises:
        UnknownNodeError: there is none of this number any more.
        IndexCorruptError: it is damaged. The mount has to be made anew.
        AccessDeniedError, StorageFullError: the directory cannot be used.
    """
    folder = find_local_directory(os.path.join(directory, FOLDER))
    name = f"{number:05x}"
    try:
        with _exclusive(folder):
            if _read_text(os.path.join(folder, name, "boot")) == _make_stamp(boot_id):
                return _use(folder, name)
    except OSError as error:
        raise translate_os_error(error, doing=f"opening the epoch {name} in {folder}", subject=folder) from error
    msg = f"there is no epoch {name} in {folder}"
    raise UnknownNodeError(msg, hint="unmount, and mount again", subject=name)


def renew_epoch(directory: str, *, number: int, is_damaged: bool, random: Callable[[int], bytes]) -> int:
    """Return the number of the epoch with which a live mount goes on: its own where that can be used, else another.

    Args:
        directory: the state directory of the repository.
        number: of the epoch of the mount; 0 for whatever is current.
        is_damaged: whether it cannot be used any more, whatever it looks like. Nobody opens it again then.
        random: source of the number of one that begins now.

    Raises:
        AccessDeniedError, StorageFullError: the directory cannot be used.
    """
    if number and not is_damaged:
        try:
            with reopen_epoch(directory, number=number):
                return number
        except (IndexCorruptError, UnknownNodeError) as error:
            _log.warning("another epoch is used: %s", error)
    folder = find_local_directory(os.path.join(directory, FOLDER))
    name = f"{number:05x}"
    try:
        with _exclusive(folder):
            with _use_current(folder, _make_stamp(None), other_than=name) or _begin(folder, random) as epoch:
                found = epoch.number
            if os.path.isdir(os.path.join(folder, name)):
                _write_text(os.path.join(folder, name, "boot"), "damaged")
    except OSError as error:
        raise translate_os_error(error, doing=f"leaving the epoch {name} in {folder}", subject=folder) from error
    return found


def hold_epoch(directory: str, *, number: int) -> int:
    """Return a descriptor that holds an epoch as long as it is open, without opening its tables.

    Raises:
        FileNotFoundError: it is gone.
    """
    folder = find_local_directory(os.path.join(directory, FOLDER))
    lock = os.open(os.path.join(folder, f"{number:05x}", "lock"), os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def begin_epoch(directory: str, *, random: Callable[[int], bytes]) -> None:
    """Begin a new epoch for later mounts, and remove those that nobody holds.

    Raises:
        AccessDeniedError, StorageFullError: the directory cannot be used.
    """
    folder = find_local_directory(os.path.join(directory, FOLDER))
    try:
        with _exclusive(folder), _begin(folder, random) as epoch:
            _sweep(folder, keep=epoch.name)
    except OSError as error:
        raise translate_os_error(error, doing=f"beginning an epoch in {folder}", subject=folder) from error


def _make_stamp(boot_id: str | None) -> str:
    return f"{_read_text(BOOT_ID) if boot_id is None else boot_id} {FORMAT}"


def _use_current(folder: str, stamp: str, *, other_than: str = "") -> Epoch | None:
    name = _read_text(os.path.join(folder, "current"))
    if name and name != other_than and _read_text(os.path.join(folder, name, "boot")) == stamp:
        try:
            return _use(folder, name)
        except IndexCorruptError as error:
            _log.warning("a new epoch begins: %s", error)
    return None


def _begin(folder: str, random: Callable[[int], bytes], stamp: str | None = None) -> Epoch:
    name = _make_folder(folder, random)
    try:
        _write_text(os.path.join(folder, name, "boot"), _make_stamp(None) if stamp is None else stamp)
        found = _use(folder, name, is_new=True)
        _write_text(os.path.join(folder, "current"), name)
    except BaseException:
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        raise
    return found


def _make_folder(folder: str, random: Callable[[int], bytes]) -> str:
    while True:
        name = f"{int.from_bytes(random(3), 'big') >> 4:05x}"
        with suppress(FileExistsError):
            if name != "00000":  # the root's number has no epoch
                os.mkdir(os.path.join(folder, name), 0o700)
                return name


def _use(folder: str, name: str, *, is_new: bool = False) -> Epoch:
    path = os.path.join(folder, name)
    if not (is_new or _read_size(path)):
        raise _not_begun(path)  # LMDB would begin it, and numbers would be given out twice
    lock = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        tables = (NODES, NAMES, PAGES, SHARED, META, WIRE)
        environment = Environment(path, tables=tables, durable=False, replace_damaged=False, is_sealed=True)
        environment.open()
        if is_new:
            environment.write(lambda writer: writer.put(META, BEGUN, name.encode()))
        elif environment.get(META, BEGUN) != name.encode():
            raise _not_begun(path)
    except BaseException:
        os.close(lock)
        raise
    return Epoch(int(name, 16), environment=environment, lock=lock)


def _read_size(path: str) -> int:
    try:
        return os.stat(os.path.join(path, DATA_FILE)).st_size
    except OSError:
        return 0


def _not_begun(path: str) -> IndexCorruptError:
    msg = f"the epoch {path} is damaged: {DATA_FILE} is empty or missing"
    return IndexCorruptError(msg, hint="unmount, and mount again", subject=path)


def _sweep(folder: str, *, keep: str) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name != keep and os.path.isdir(path) and not _is_held(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_held(path: str) -> bool:
    return is_locked(os.path.join(path, "lock"), fcntl.LOCK_EX)


@contextmanager
def _exclusive(folder: str) -> Iterator[None]:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _write_text(path: str, text: str) -> None:
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(text + "\n")
    os.replace(temporary, path)
