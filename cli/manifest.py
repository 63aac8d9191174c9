"""`artifactfs manifest`: lists of a version's files in the form that W&B uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artifactfs.paths import parse_ref

from .committing import in_run, make_options, note_output, print_result, version_options
from .completing import complete_name, complete_ref
from .options import BytesPath, Command, Group
from .output import format_count, print_json
from .progress import show_progress
from .running import note_read, pin_ref
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.interop.wandbmanifest import Manifest
    from artifactfs.repository.repository import Repository

    from .session import Session


@click.group("manifest", cls=Group)
def command() -> None:
    """Exchange lists of files with W&B, and compare by them.

    A manifest states the MD5 of each file. Its own digest says whether two places hold the same content.
    """


@command.command("export", cls=Command)
@click.argument("ref", metavar="REF", shell_complete=complete_ref)
@click.option("-o", "--output", type=BytesPath(), metavar="FILE", help="Write it there; - is standard output.")
@click.option("--digest", "is_digest", is_flag=True, help="Print its digest alone.")
def export(ref: str, *, output: bytes | None, is_digest: bool) -> None:
    """Print the manifest of a version, as W&B's wandb_manifest.json has it. Every file is read.

    Links are listed as the files that they point to; permission bits, times and empty directories are not in it.
    """
    from artifactfs.interop.wandbmanifest import encode_manifest

    session = current_session()
    with session.open_repository() as repository:
        manifest = _make(session, repository, ref)
    data = encode_manifest(manifest)
    if output not in (None, b"-"):
        with open(output, "wb") as file:
            file.write(data)
    if session.json:
        print_json({"ref": ref, "digest": manifest.digest, "files": len(manifest.contents)})
    elif is_digest:
        click.echo(manifest.digest)
    elif output in (None, b"-"):
        click.echo(data.decode(), nl=False)
    session.note(f"{format_count(len(manifest.contents), 'file')}, digest {manifest.digest}")


@command.command("check", cls=Command)
@click.argument("ref", metavar="REF", shell_complete=complete_ref)
@click.argument("file", type=BytesPath(), metavar="FILE")
def check(ref: str, file: bytes) -> None:
    """Compare a version with a manifest, and list what is not the same."""
    from artifactfs.errors import DigestMismatchError
    from artifactfs.interop.wandbmanifest import compare

    session = current_session()
    wanted = _read(file)
    with session.open_repository() as repository:
        found = _make(session, repository, ref)
    differences = compare(wanted, found)
    if session.json:
        listed = [{"path": item.path, "change": item.what} for item in differences]
        print_json({"ref": ref, "digest": found.digest, "expected": wanted.digest, "differences": listed})
    else:
        for item in differences:
            click.echo(f"{item.what[0].upper()} {item.path}")
    if differences:
        msg = f"{ref} is not what the manifest states: {format_count(len(differences), 'difference')}"
        raise DigestMismatchError(msg, subject=ref)
    session.note(f"{ref} is what the manifest states: digest {found.digest}")


@command.command("import", cls=Command)
@click.argument("name", shell_complete=complete_name)
@click.argument("file", type=BytesPath(), metavar="FILE")
@click.option(
    "--files", type=BytesPath(), metavar="DIRECTORY", default=".", help="Where the files are (default: here)."
)
@version_options
def import_(name: str, file: bytes, *, files: bytes, **more: Any) -> None:
    """Make a version of what a manifest lists, and print its name.

    Files are taken from a directory under their paths, such as that of a downloaded artifact; references are looked at
    where they are. All of it must be what the manifest states.
    """
    from artifactfs.interop.wandbimport import import_manifest

    session = current_session()
    manifest = _read(file)
    options = make_options(**more)
    with session.open_repository(create=True) as repository, show_progress(session, f"import {name}") as progress:
        options = in_run(repository, options)
        result = import_manifest(repository, name, manifest, files, options, progress=progress)
        note_output(repository, options, result)
    print_result(session, result, name=name, location=repository.location)
    session.note(f"it is what the manifest states: digest {manifest.digest}")


def _make(session: Session, repository: Repository, ref: str) -> Manifest:
    from artifactfs.errors import UsageError
    from artifactfs.interop.wandbmanifest import make_manifest

    parsed = pin_ref(repository, parse_ref(ref))
    if parsed.path:
        msg = f"{ref!r} names a path, and a manifest is of a whole version"
        raise UsageError(msg, subject=ref)
    collection, version = repository.resolve(parsed)
    note_read(session, repository, f"{collection.name}:{version.name}")
    with show_progress(session, f"read {ref}") as progress:
        if progress is None:
            return make_manifest(repository, version.root)
        progress.begin(files=version.root.count, size=version.root.size)
        return make_manifest(repository, version.root, tell=lambda size: progress.advance(size=size))


def _read(file: bytes) -> Manifest:
    from artifactfs.errors import translate_os_error
    from artifactfs.interop.wandbmanifest import decode_manifest
    from artifactfs.paths import printable

    try:
        with open(file, "rb") as opened:
            data = opened.read()
    except OSError as error:
        raise translate_os_error(error, doing=f"reading {printable(file)}", subject=printable(file)) from error
    return decode_manifest(data)
