"""`artifactfs reference`: references in staging directories, and those of versions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.errors import MountError, UsageError
from artifactfs.model import ReferenceEntry, SymlinkEntry
from artifactfs.paths import parse_ref, printable, split_path
from artifactfs.reference.base import is_unverified

from .completing import complete_ref, complete_staging
from .options import BytesPath, Group
from .output import entry_fields, format_count, format_size, print_json, print_table
from .referring import Referring, note_unverified, reference_options
from .session import current_session
from .staged import find_path, find_staging_name

if TYPE_CHECKING:
    from artifactfs.repository.described import EntryFields
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging

    from .session import Session


@click.group("reference", cls=Group)
def command() -> None:
    """Add, list and remove references: files whose bytes stay where they are."""


@command.command("add")
@click.argument("ref", metavar="NAME[:@STAGING]", shell_complete=complete_staging)
@click.argument("uri", metavar="URI")
@click.option("--as", "at", type=BytesPath(), metavar="PATH", help="Where it goes; otherwise it keeps its name.")
@click.option("--replace", is_flag=True, help="Replace files of the same names.")
@reference_options
def add(ref: str, uri: str, *, at: bytes | None, replace: bool, referring: Referring) -> None:
    """Add what a URI names to a staging directory: an object, or all that lies below a prefix.

    What artifact://NAME:vN/PATH names, or with an alias, is taken over from that version without being copied.

    Until it is committed, a symbolic link stands for each reference; it can be moved and removed as any file. `ls` and
    `cat` of NAME:@STAGING show what it will be.
    """
    from artifactfs.repository.staged_references import stage_references
    from artifactfs.repository.staging import StagingArea

    session = current_session()
    collection, name = find_staging_name(session, ref)
    target = None if at is None else b"/".join(split_path(at.strip(b"/")))
    referred = referring.refer(uri, target)
    with session.open_repository() as repository:
        staging = StagingArea(repository).get(collection, name)
        top = _get_top(session, repository, staging)
        found = stage_references(repository, staging, referred, top=top, replace=replace)
    if session.json:
        print_json({"staging": str(staging), "added": [entry_fields(path, entry) for path, entry in found]})
    else:
        for path, _ in found:
            click.echo(printable(path))
    size = sum(entry.size for _, entry in found if not isinstance(entry, SymlinkEntry))
    what = f"{len(found)} entries" if referred.is_artifact else format_count(len(found), "reference")
    session.note(f"added {what} of {format_size(size)} to {staging}")
    note_unverified(session, sum(isinstance(entry, ReferenceEntry) and is_unverified(entry) for _, entry in found))


@command.command("ls")
@click.argument("ref", shell_complete=complete_ref)
def list_references(ref: str) -> None:
    """List the references of a version or of a staging directory: size, how they are verified, and where they are."""
    from artifactfs.repository.presence import find_presence
    from artifactfs.repository.viewing import view

    session = current_session()
    parsed = parse_ref(ref)
    with session.open_repository() as repository:
        viewed = view(repository, parsed)
        entries = [
            (path, entry)
            for path, entry in viewed.trees.iter_tree(viewed.root, parsed.path)
            if isinstance(entry, ReferenceEntry)
        ]
        rows = [(entry_fields(path, entry), str(find_presence(repository, entry))) for path, entry in entries]
    if session.json:
        print_json({"ref": viewed.ref, "references": [{**fields, "state": state} for fields, state in rows]})
        return
    print_table(
        (
            (printable(path), format_size(entry.size), _describe(fields), state, fields["uri"])
            for (path, entry), (fields, state) in zip(entries, rows, strict=True)
        ),
        right=(1,),
    )


def _describe(fields: EntryFields) -> str:
    return f"{fields['validator']['kind']}{' (unverified)' if fields['unverified'] else ''}"


@command.command("rm")
@click.argument("ref", metavar="NAME[:@STAGING]", shell_complete=complete_staging)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=BytesPath())
def remove(ref: str, paths: tuple[bytes, ...]) -> None:
    """Remove references from a staging directory; other files are refused."""
    from artifactfs.repository.staged_references import unstage_reference
    from artifactfs.repository.staging import StagingArea
    from artifactfs.repository.viewing import view

    session = current_session()
    collection, name = find_staging_name(session, ref)
    entries = [b"/".join(split_path(path.strip(b"/"))) for path in paths]
    if b"" in entries:
        msg = "the whole staging directory is no reference"
        raise UsageError(msg, hint="`artifactfs discard` it, and stage again")
    with session.open_repository() as repository:
        staging = StagingArea(repository).get(collection, name)
        top = _get_top(session, repository, staging)
        viewed = view(repository, parse_ref(str(staging)))
        for path in entries:
            found = viewed.get_placed(path)[0]
            unstage_reference(path, top=top, is_reference=isinstance(found, ReferenceEntry))
            session.note(f"removed {printable(path)}")


def _get_top(session: Session, repository: Repository, staging: Staging) -> bytes:
    """Return where a staging directory is mounted.

    Raises:
        MountError: nowhere.
    """
    top = find_path(session, repository, staging)
    if top is None:
        msg = f"{staging} is not mounted"
        raise MountError(msg, hint="references are added through a mount: artifactfs mount MOUNTPOINT")
    return os.fsencode(top)
