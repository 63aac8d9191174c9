"""Checkout: a version, a part of it, or one file, as ordinary files.

Content is verified on the way: bytes that do not hash to their digest are never under their final name. Nothing is
synchronised to the disk: after a loss of power the same call checks by digest what is there and goes on.

Used by the command line (`get`) and the SDK. Threading: functions over a Repository; several may run at once, on
different destinations.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import AlreadyExistsError, EntryNotFoundError, translate_os_error
from artifactfs.model import DirectoryEntry
from artifactfs.paths import printable
from artifactfs.repository.ignore import Patterns, parse_patterns
from artifactfs.repository.landing import WORK_NAME, Landing
from artifactfs.repository.materialize import Materializer, Selection
from artifactfs.repository.progress import NoProgress
from artifactfs.repository.replacing import check_replaceable, exchange, remove_tree
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactfs.model import Root
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.trees import Placed


@dataclass(frozen=True, slots=True)
class CheckoutResult:
    """What a checkout did.

    Attributes:
        files: files and links that are in the destination now.
        size: bytes in the files.
        cloned: files that share their blocks with the repository.
        copied: files that were copied.
        kept: files that an unfinished call had left complete.
        linked: files that are hard links into the repository.
    """

    files: int
    size: int
    cloned: int
    copied: int
    kept: int = 0
    linked: int = 0


_NO_PATTERNS: Final = Patterns()


def checkout(
    repository: Repository,
    root: Root,
    destination: bytes,
    *,
    path: bytes = b"",
    glob: Sequence[str | bytes] = (),
    replace: bool = False,
    progress: Progress | None = None,
    hard_links: bool = False,
) -> CheckoutResult:
    """Write a version, or what is at a path in it, to a local path.

    A directory at `path` gives the destination its contents; anything else becomes the destination itself.
    Permission bits, times and links are those of the version; links are never followed. A call that was ended in
    the middle leaves complete files only, and the same call goes on with it.

    Args:
        repository: where from.
        root: the version's root.
        destination: a local path: missing or an empty directory.
        path: an entry path; b"" is the whole version.
        glob: patterns as in gitignore(5), relative to `path`: only what they choose, with the directories that
            lead there.
        replace: swap the result with what is at the destination, and remove that.
        progress: is told of bytes and files.
        hard_links: make files that are objects of their own hard links into the repository, with the permission bits
            and times they have there. Whoever writes to one damages the repository.

    Raises:
        EntryNotFoundError: there is no `path`, or nothing that `glob` chooses.
        AlreadyExistsError: the destination is not empty; it is as it was.
        BusyError: another process writes the same destination.
        BlobMissingError, DigestMismatchError, MalformedError: something stored is damaged, and is named.
        AccessDeniedError, ReadOnlyError, StorageFullError: the system refused; the same call can go on later.
        UsageError: a pattern that cannot be understood; or what is to be replaced has the repository, the working
            directory, or the like in it.
    """
    trees = Trees(repository.blobs)
    placed = trees.get_placed(root, path)
    materializer = Materializer(repository, trees, progress or NoProgress(), hard_links=hard_links)
    # Links in the path that the user gave are his own; what is stored cannot add any.
    target = os.path.realpath(destination)
    is_directory = isinstance(placed[0], DirectoryEntry)
    is_replaced = replace and (_is_occupied(target) if is_directory else os.path.lexists(target))
    if is_replaced:
        check_replaceable(target, _needed(repository))
    if not is_directory:
        return _checkout_one(materializer, placed, target, replace=replace)
    patterns = parse_patterns(item.encode() if isinstance(item, str) else item for item in glob) or _NO_PATTERNS
    selection = _select(trees, placed, patterns)
    request = _describe(repository, placed, patterns)
    if is_replaced:
        return _checkout_replacing(materializer, placed, target, selection=selection, request=request)
    return _checkout_directory(materializer, placed, target, selection=selection, request=request)


def _needed(repository: Repository) -> Iterator[tuple[str, bytes]]:
    """Yield what must not be replaced by a version."""
    yield "the repository", os.fsencode(repository.location)  # a URL, taken for a path, is nowhere
    yield "what is kept about the repository", os.fsencode(repository.state_directory)
    yield "your home directory", os.fsencode(os.path.expanduser("~"))
    with suppress(FileNotFoundError):  # it was removed meanwhile
        yield "the working directory", os.getcwdb()


def _checkout_directory(
    materializer: Materializer, placed: Placed, target: bytes, *, selection: Selection, request: str
) -> CheckoutResult:
    directory, placement = placed
    assert isinstance(directory, DirectoryEntry)
    taken = {entry.name for entry, _ in materializer.trees.load_entries(directory, placement)}
    with Landing(target, request=request, taken=taken) as landing:
        materializer.write(landing, directory, selection, placement)
    return _result(materializer)


def _checkout_replacing(
    materializer: Materializer, placed: Placed, target: bytes, *, selection: Selection, request: str
) -> CheckoutResult:
    beside = _beside(target)
    try:
        if os.path.lexists(beside) and not os.path.lexists(os.path.join(beside, WORK_NAME)):
            remove_tree(beside)  # an earlier call swapped it and was ended before it could remove it
        try:
            result = _checkout_directory(materializer, placed, beside, selection=selection, request=request)
        except AlreadyExistsError:
            remove_tree(beside)  # unfinished, and something else
            result = _checkout_directory(materializer, placed, beside, selection=selection, request=request)
        exchange(beside, target)
        remove_tree(beside)
    except OSError as error:
        shown = printable(target)
        raise translate_os_error(error, doing=f"replacing {shown}", subject=shown) from error
    return result


def _checkout_one(materializer: Materializer, placed: Placed, target: bytes, *, replace: bool) -> CheckoutResult:
    """Write one file or link to the destination itself."""
    if os.path.lexists(target) and not replace:
        msg = f"{printable(target)} exists"
        raise AlreadyExistsError(msg, hint="choose another destination, or use --replace", subject=printable(target))
    beside = _beside(target)
    entry = placed[0]
    try:
        remove_tree(beside)
        with Landing(beside, request=f"one {entry.name.hex()}", taken={entry.name}) as landing:
            materializer.write_one(landing, placed)
        made = os.path.join(beside, entry.name)
        if replace and os.path.isdir(target) and not os.path.islink(target):
            exchange(made, target)
        elif replace:
            os.replace(made, target)
        else:
            _place_new(made, target)
        remove_tree(beside)
    except OSError as error:
        raise translate_os_error(error, doing=f"writing {printable(target)}", subject=printable(target)) from error
    return _result(materializer)


def _result(materializer: Materializer) -> CheckoutResult:
    counts = materializer.counts
    return CheckoutResult(counts.files, counts.size, counts.cloned, counts.copied, counts.kept, counts.linked)


def _beside(target: bytes) -> bytes:
    parent, name = os.path.split(target)
    # Long names are cut, so that the new one is not over the limit.
    return os.path.join(parent, b"." + name[:200] + WORK_NAME)


def _place_new(made: bytes, target: bytes) -> None:
    try:
        os.link(made, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        os.rename(made, target)  # a file system without hard links; that nothing is there was checked


def _is_occupied(target: bytes) -> bool:
    try:
        return bool(os.listdir(target))
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    except OSError as error:
        raise translate_os_error(error, doing=f"reading {printable(target)}", subject=printable(target)) from error


def _describe(repository: Repository, placed: Placed, patterns: Patterns) -> str:
    """Return one line that is the same for the same call only."""
    directory = placed[0]
    assert isinstance(directory, DirectoryEntry)
    parts = [repository.id.encode(), directory.tree, b"%o %d" % (directory.mode, directory.mtime_ns)]
    for pattern in patterns.items:
        parts += [
            pattern.expression.pattern,
            repr((pattern.anchored, pattern.directory_only, pattern.negated)).encode(),
        ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _select(trees: Trees, placed: Placed, patterns: Patterns) -> Selection:
    """Return what is to be written: everything, or what patterns choose and the directories that lead there."""
    directory, placement = placed
    assert isinstance(directory, DirectoryEntry)
    if not patterns:
        return Selection(None, directory.count, directory.size)
    paths: set[bytes] = set()
    files = size = 0
    whole: set[bytes] = set()
    for path, entry in trees.iter_below(directory, b"", placement):
        parent = path.rpartition(b"/")[0]
        is_directory = isinstance(entry, DirectoryEntry)
        if parent not in whole and not patterns.find_verdict(path, is_directory=is_directory):
            continue
        if is_directory:
            whole.add(path)
        else:
            files, size = files + 1, size + getattr(entry, "size", 0)
        while path and path not in paths:
            paths.add(path)
            path = path.rpartition(b"/")[0]  # noqa: PLW2901 (up to the root)
    if not paths:
        msg = "nothing in this version matches the pattern"
        raise EntryNotFoundError(msg, hint="`*.png` matches at any depth, `images/*` in one directory")
    return Selection(frozenset(paths), files, size)
