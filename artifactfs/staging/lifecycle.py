"""The beginning and the end of a staging directory's files, so that a crash leaves nothing for ever.

Before a base is pinned or given up, a note says which pins are to be taken away, but for the one that `staging.json`
names. A place with the note and without `staging.json` is one that was interrupted, and whoever finds it finishes it.

Used by `repository.staging`. Threading: functions without state; the caller holds the staging directory.
"""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from artifactfs.errors import ArtifactFSError, MalformedError, StagingNotFoundError
from artifactfs.paths import printable
from artifactfs.staging.files import remove_tree, sync_directory, write_durably
from artifactfs.staging.layout import FOLDER, SCRATCH, Layout, StagingInfo, list_names, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import Root


def iter_ended(state_directory: str, collection: str) -> Iterator[Layout]:
    """Yield the places of a collection at which something was interrupted while it began or ended."""
    for name in list_names(os.path.join(state_directory, FOLDER, collection)):
        with suppress(ArtifactFSError, OSError):
            layout = Layout(state_directory, collection=collection, name=name)
            if layout.is_ended:
                yield layout


@contextmanager
def claimed(layout: Layout) -> Iterator[None]:
    """Hold the place of a new staging directory; another process may just be removing an old one there.

    Raises:
        BusyError: another process holds it.
    """
    while True:
        with ExitStack() as stack:
            try:
                os.makedirs(layout.directory, mode=0o700, exist_ok=True)
                stack.enter_context(serving(layout))
            except (StagingNotFoundError, FileNotFoundError):
                continue
            yield
            return


def new_upper(layout: Layout, root: Root | None) -> str:
    """Make an empty upper directory with the attributes of the version below, and return its name."""
    for number in itertools.count():
        name = f"upper-{number}"
        path = os.path.join(layout.directory, name.encode())
        with suppress(FileExistsError):
            os.mkdir(path, 0o755)
            break
    if root is not None:
        os.chmod(path, root.mode | 0o700)
        os.utime(path, ns=(root.mtime_ns, root.mtime_ns))
    return name


def sweep_uppers(layout: Layout, info: StagingInfo | None) -> None:
    """Remove upper directories that are not in use: something was interrupted.

    Raises:
        MalformedError: nothing was interrupted, so `staging.json` was lost and these may hold what somebody changed.
    """
    found = [name for name in os.listdir(layout.directory) if name.startswith(b"upper-")]
    if info is None and found and not os.path.exists(layout.unpin):
        msg = f"{printable(layout.directory)} holds changed files and no staging.json"
        raise MalformedError(msg, hint="move them away, then try again", subject=os.fsdecode(layout.directory))
    for name in found:
        if info is None or name != os.fsencode(info.upper):
            remove_tree(os.path.join(layout.directory, name))


def sweep_restoring(layout: Layout, info: StagingInfo) -> None:
    """Remove what killed restores left at the top of an upper directory that nothing serves."""
    upper = layout.upper(info)
    for name in os.listdir(upper):
        if name.startswith(SCRATCH):
            remove_tree(os.path.join(upper, name))


def empty_upper(layout: Layout, info: StagingInfo) -> None:
    """Remove what is in an upper directory that is to be thrown away, and what can be read again: it makes room.

    Raises:
        OSError: something could not be removed.
    """
    upper = layout.upper(info)
    for name in os.listdir(upper):
        remove_tree(os.path.join(upper, name))
    remove_tree(layout.hashes)


def read_unpin(layout: Layout) -> list[str]:
    """Return the pins to be taken away; none when nothing was interrupted."""
    try:
        with open(layout.unpin, "rb") as file:
            return msgspec.json.decode(file.read(), type=list[str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return []


def write_unpin(layout: Layout, pins: list[str]) -> None:
    """Note durably which pins are to be taken away, before they are made or given up."""
    write_durably(layout.unpin, msgspec.json.encode(pins))


def remove_all(layout: Layout) -> None:
    """Remove a staging directory's files: its description first, its lock last.

    Raises:
        OSError: something could not be removed.
    """
    with suppress(FileNotFoundError):
        os.unlink(layout.info)
        sync_directory(layout.directory)
    for name in os.listdir(layout.directory):
        path = os.path.join(layout.directory, name)
        if path not in (layout.lock, layout.unpin):
            remove_tree(path)
    remove_tree(layout.directory)
    with suppress(OSError):
        os.rmdir(os.path.dirname(layout.directory))
