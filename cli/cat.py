"""`artifactfs cat`: print a file of a version."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Final

import click

from artifactfs.errors import UsageError
from artifactfs.model import FileEntry
from artifactfs.paths import parse_ref

from .completing import complete_ref
from .options import Command
from .output import kind_of
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.model import Entry
    from artifactfs.paths import Ref
    from artifactfs.repository.repository import Repository

CHUNK: Final = 1 << 20


@click.command("cat", cls=Command)
@click.argument("ref", metavar="REF/PATH", shell_complete=complete_ref)
def command(ref: str) -> None:
    """Print a file of a version on standard output, verified."""
    with current_session().open_repository() as repository:
        parsed = parse_ref(ref)
        entry = _find_file(repository, parsed)
        with closing(repository.open_file(entry)) as file:
            offset = 0
            while data := file.read_at(offset, CHUNK):
                _write_all(data)
                offset += len(data)


def _find_file(repository: Repository, ref: Ref) -> FileEntry:
    from artifactfs.repository.trees import Trees

    _, version = repository.resolve(ref)
    entry: Entry = Trees(repository.blobs).find_entry(version.root, ref.path)
    if isinstance(entry, FileEntry):
        return entry
    msg = f"{ref} is a {kind_of(entry)}, not a file"
    raise UsageError(msg, hint="`artifactfs ls` lists a directory", subject=str(ref))


def _write_all(data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # with PYTHONUNBUFFERED, a write to a pipe may take a part only
        rest = rest[sys.stdout.buffer.write(rest) or 0 :]
