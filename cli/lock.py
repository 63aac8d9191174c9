"""`artifactfs lock`: write down which versions a job reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.errors import UsageError, translate_os_error
from artifactfs.paths import printable

from .completing import complete_ref
from .options import BytesPath, Command
from .output import format_count, print_json
from .session import Session, current_session

if TYPE_CHECKING:
    from artifactfs.interop.lockfile import Lock


@click.command("lock", cls=Command)
@click.argument("refs", nargs=-1, metavar="[REF...]", shell_complete=complete_ref)
@click.option("-o", "--output", type=BytesPath(), metavar="FILE", help="Write it to FILE, and not to standard output.")
@click.option("--check", type=BytesPath(), metavar="FILE", help="Only say whether the repository has what FILE says.")
@click.option("--update", type=BytesPath(), metavar="FILE", help="Write FILE anew: what its names, and REFs, mean now.")
def command(refs: tuple[str, ...], *, output: bytes | None, check: bytes | None, update: bytes | None) -> None:
    """Write a lock file: the versions that REFs mean now, with their digests.

    `get`, `mount` and `run` take it with --lock, or from ARTIFACTFS_LOCK: they give exactly these versions, or fail. It
    is the same, byte for byte, for the same versions, so it can be kept beside the code that reads them.
    """
    from artifactfs.interop.lockfile import check_lock, format_lock, make_lock, read_lock

    session = current_session()
    if (check is not None) + (update is not None) + (output is not None) > 1 or (check is not None and refs):
        msg = "--check, --update and -o exclude each other, and --check takes no REF"
        raise UsageError(msg)
    with session.open_repository() as repository:
        if check is not None:
            lock = read_lock(check)
            check_lock(repository, lock)
            session.note(f"{printable(check)} holds: {format_count(len(lock.artifact), 'version')}")
            _print(session, lock)
            return
        before = read_lock(update) if update is not None else None
        names = [] if before is None else [each.ref for each in before.artifact]
        lock = make_lock(repository, [*names, *refs])
    target = update or output
    if target is not None:
        _write(target, format_lock(lock))
        session.note(f"wrote {printable(target)} ({format_count(len(lock.artifact), 'version')})")
    elif not session.json:
        click.echo(format_lock(lock), nl=False)
    _print(session, lock)


def _print(session: Session, lock: Lock) -> None:
    if session.json:
        import msgspec

        print_json({"repository": lock.repository, "artifacts": msgspec.to_builtins(lock.artifact)})


def _write(path: bytes, text: str) -> None:
    beside = path + b".new"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError as error:
        raise translate_os_error(error, doing=f"writing {printable(path)}", subject=printable(path)) from error
