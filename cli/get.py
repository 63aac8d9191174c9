"""`artifactfs get`: copy a version, or a part of it, to a directory."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import click

from artifactfs.errors import UsageError
from artifactfs.model import DirectoryEntry
from artifactfs.paths import parse_ref, printable

from .completing import complete_ref
from .options import BytesPath, Command, lock_option
from .output import format_count, format_size, name_fields, print_json, print_path
from .progress import show_progress
from .running import note_read, pin_ref
from .session import Session, current_session

if TYPE_CHECKING:
    from artifactfs.paths import Ref
    from artifactfs.repository.checkout import CheckoutResult
    from artifactfs.repository.repository import Repository


@click.command("get", cls=Command)
@click.argument("ref", required=False, metavar="[REF[/PATH]]", shell_complete=complete_ref)
@click.argument("dest", required=False, type=BytesPath())
@click.option("--path", "globs", multiple=True, metavar="GLOB", help="Only what matches, as in gitignore(5).")
@click.option("--replace", is_flag=True, help="Put it in the place of what is at DEST.")
@click.option("--link", type=click.Choice(["hard"]), help="Link large files instead of copying. Dangerous: see below.")
@lock_option()
def command(
    ref: str | None,
    dest: bytes | None,
    *,
    globs: tuple[str, ...],
    replace: bool,
    link: str | None,
    lock: bytes | None,
) -> None:
    """Copy a version, or the part of it at PATH, to DEST, and print where it is.

    DEST is ./artifacts/NAME:vN, with PATH below, unless given. It must be missing or an empty directory. What was
    interrupted is gone on with by the same command. Where the file system can share blocks, large files take no space.

    With --link=hard large files become further names of the repository's own files, with the permission bits and times
    that they have there. Whoever writes to one damages every version that has it; only readers should get them.

    With --lock, REF is what the lock file says; without REF, each of its versions is copied.
    """
    session = current_session()
    with session.open_repository() as repository:
        for wanted in _find_wanted(repository, ref, lock):
            target, result = _copy(
                session, repository, wanted, dest=dest, globs=globs, replace=replace, hard_links=link == "hard"
            )
            _report(session, str(wanted), target, result)


def _find_wanted(repository: Repository, ref: str | None, lock: bytes | None) -> list[Ref]:
    """Return what is to be copied, named by numbers if a lock says what it is.

    Raises:
        UsageError: nothing was named.
        ArtifactFSError: the lock cannot be kept.
    """
    if lock is None and ref is None:
        msg = "say what to copy"
        raise UsageError(msg, hint="artifactfs get NAME, or --lock FILE")
    if lock is None:
        return [pin_ref(repository, parse_ref(ref or ""))]
    from artifactfs.interop.lockfile import check_lock, read_lock

    found = read_lock(lock)
    check_lock(repository, found)
    if ref is None:
        return list(dict.fromkeys(parse_ref(each.version) for each in found.artifact))
    wanted = parse_ref(ref)
    return [dataclasses.replace(parse_ref(found.find(wanted).version), path=wanted.path)]


def _report(session: Session, ref: str, target: bytes, result: CheckoutResult) -> None:
    if session.json:
        print_json(
            {
                **name_fields("destination", os.path.abspath(target)),
                "files": result.files,
                "size": result.size,
                "cloned": result.cloned,
                "copied": result.copied,
                "kept": result.kept,
                "linked": result.linked,
            }
        )
    else:
        print_path(target)
    amount = f"{format_count(result.files, 'file')}, {format_size(result.size)}"
    shared = (
        f", {format_count(result.cloned, 'file')} of it sharing blocks with the repository" if result.cloned else ""
    )
    linked = f", {format_count(result.linked, 'file')} of it linked" if result.linked else ""
    kept = f"; {format_count(result.kept, 'file')} had been copied before" if result.kept else ""
    if result.linked:
        session.warn(f"{format_count(result.linked, 'file')} are the repository's own: writing to them damages it")
    session.note(f"copied {ref} to {printable(target)} ({amount}{shared}{linked}{kept})")


def _copy(
    session: Session,
    repository: Repository,
    ref: Ref,
    *,
    dest: bytes | None,
    globs: tuple[str, ...],
    replace: bool,
    hard_links: bool,
) -> tuple[bytes, CheckoutResult]:
    from artifactfs.repository.checkout import checkout
    from artifactfs.repository.trees import Trees

    collection, version = repository.resolve(ref)
    entry, _ = Trees(repository.blobs).get_placed(version.root, ref.path)
    target = _default_target(f"{collection.name}:{version.name}", ref.path) if dest is None else dest
    if dest is not None and not isinstance(entry, DirectoryEntry) and os.path.isdir(dest):
        target = os.path.join(dest, entry.name)  # as cp(1) does
    size = None if isinstance(entry, DirectoryEntry) else getattr(entry, "size", 0)
    note_read(session, repository, f"{collection.name}:{version.name}", path=ref.path, size=size)
    with show_progress(session, f"get {collection.name}:{version.name}") as progress:
        return target, checkout(
            repository,
            version.root,
            target,
            path=ref.path,
            glob=globs,
            replace=replace,
            progress=progress,
            hard_links=hard_links,
        )


def _default_target(name: str, path: bytes) -> bytes:
    top = os.path.join(b"artifacts", name.encode())
    return os.path.join(top, path) if path else top
