"""`artifactfs export`: write a version as a tar archive."""

from __future__ import annotations

import os
import sys
import uuid
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

from artifactfs.errors import UsageError, translate_os_error
from artifactfs.paths import parse_path, parse_ref, printable

from .completing import complete_ref
from .options import BytesPath, Command
from .output import format_count, format_size, name_fields, print_json, write_bytes
from .progress import show_progress
from .running import note_read, pin_ref
from .session import Session, current_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.interop.compressing import Compression, Sink

STANDARD_OUTPUT = b"-"


@click.command("export", cls=Command)
@click.argument("ref", metavar="REF[/PATH]", shell_complete=complete_ref)
@click.option("--tar", is_flag=True, required=True, help="As a tar archive, which is the only form there is.")
@click.option(
    "-o", "--output", type=BytesPath(), default="-", metavar="FILE", help="Where to; - is standard output, the default."
)
@click.option("--prefix", type=BytesPath(), default="", metavar="DIRECTORY", help="What all names begin with.")
@click.option("--path", "globs", multiple=True, metavar="GLOB", help="Only what matches, as in gitignore(5).")
@click.option(
    "--compress",
    type=click.Choice(["none", "gzip", "zstd"]),
    help="How to compress it (default: as the name of FILE ends: .gz, .tgz, .zst, .tzst).",
)
def command(
    ref: str, *, tar: bool, output: bytes, prefix: bytes, globs: tuple[str, ...], compress: Compression | None
) -> None:
    """Write a version or staging directory, or the part of it at PATH, as a stream.

    Names are the same as in a mount, relative to PATH. The same version gives the same bytes: files in order of their
    names, permission bits and times as stored, owner 0. FILE appears when it is complete, and replaces what is there.
    """
    from artifactfs.interop.compressing import compressing, guess_compression
    from artifactfs.interop.tarball import TarStream
    from artifactfs.repository.viewing import view

    del tar
    session = current_session()
    _check_output(session, output)
    with session.open_repository() as repository:
        parsed = pin_ref(repository, parse_ref(ref))
        viewed = view(repository, parsed)
        if viewed.staging is None:
            viewed.get_placed(parsed.path)
            note_read(session, repository, viewed.ref, path=parsed.path)
        kind = compress or guess_compression(output)
        with (
            _open_output(output) as raw,
            compressing(raw, kind) as sink,
            show_progress(session, f"export {viewed.ref}") as progress,
        ):
            archive = TarStream(
                viewed, parsed.path, glob=globs, prefix=parse_path(prefix) if prefix else b"", progress=progress
            )
            for data in archive:
                sink.write(data)
    if session.json:
        print_json(
            {**name_fields("destination", os.path.abspath(output)), "files": archive.files, "size": archive.size}
        )
    shown = "standard output" if output == STANDARD_OUTPUT else printable(output)
    session.note(f"wrote {ref} to {shown} ({format_count(archive.files, 'file')}, {format_size(archive.size)})")


def _check_output(session: Session, output: bytes) -> None:
    if output != STANDARD_OUTPUT:
        return
    if sys.stdout.isatty():
        msg = "an archive is not written to a terminal"
        raise UsageError(msg, hint="redirect it, or use -o FILE")
    if session.json:
        msg = "the archive and JSON cannot both go to standard output"
        raise UsageError(msg, hint="use -o FILE")


class _StandardOutput:
    """Standard output, as what an archive goes to. Belongs to one thread."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`."""
        write_bytes(data)
        return len(data)

    def flush(self) -> None:
        """Write what is buffered."""
        sys.stdout.buffer.flush()


@contextmanager
def _open_output(output: bytes) -> Iterator[Sink]:
    """Give what the archive is written to; a file has its name when the block ends well, and leaves nothing else."""
    if output == STANDARD_OUTPUT:
        yield _StandardOutput()
        return
    shown = printable(output)
    is_special = os.path.exists(output) and not os.path.isfile(output)  # a FIFO or device
    parent, name = os.path.split(os.path.realpath(output))
    beside = os.path.join(parent, b".%s.%s" % (name[:200], uuid.uuid4().hex[:12].encode()))
    try:
        file: IO[bytes] = open(output if is_special else beside, "wb" if is_special else "xb")  # noqa: SIM115
    except OSError as error:
        raise translate_os_error(error, doing=f"writing {shown}", subject=shown) from error
    try:
        with file:
            yield file
        if not is_special:
            os.replace(beside, os.path.join(parent, name))
    except BaseException as error:
        if not is_special:
            os.unlink(beside)
        if isinstance(error, OSError):
            raise translate_os_error(error, doing=f"writing {shown}", subject=shown) from error
        raise
