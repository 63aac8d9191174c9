"""`artifactfs verify`: check stored content, or a copy of it, against the digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.errors import DigestMismatchError, UsageError
from artifactfs.paths import parse_ref, printable

from .completing import complete_ref
from .options import BytesPath, Command
from .output import format_count, name_fields, print_json
from .progress import show_progress
from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.repository.verify import Problem


@click.command("verify", cls=Command)
@click.argument("ref", shell_complete=complete_ref)
@click.argument("directory", required=False, metavar="[DIR]", type=BytesPath())
def command(ref: str, directory: bytes | None) -> None:
    """Read everything stored of a version again, or compare a local directory with it.

    What is wrong is printed, one path a line, and the exit code is 30. What lies elsewhere and cannot be asked now is
    printed, too; when there is nothing else, the exit code is one of 40 to 43 (43 with --offline). With --offline what
    is on this machine of a version in an object store is read again, and what is not is printed.
    """
    from artifactfs.repository.verify import verify_version

    session = current_session()
    parsed = parse_ref(ref)
    if parsed.path:
        msg = f"{ref} names a path; whole versions are verified"
        raise UsageError(msg, hint="leave the path out", subject=ref)
    kept = session.find_remote().offline
    with session.open_repository(keeps=kept) as repository:
        collection, version = repository.resolve(parsed)
        name = f"{collection.name}:{version.name}"
        with show_progress(session, f"verify {name}") as progress:
            problems = verify_version(repository, version, directory=directory, progress=progress, kept=kept)
    if session.json:
        found = [
            {**name_fields("path", problem.path), "problem": problem.what, "unknown": problem.is_unknown}
            for problem in problems
        ]
        print_json({"ref": name, "ok": not problems, "problems": found})
    else:
        _print_problems(problems)
    if problems:
        unknown = [problem.code for problem in problems if problem.is_unknown]
        if unknown:
            session.note(f"{format_count(len(unknown), 'path')} of {name} could not be verified")
        is_damaged = len(unknown) < len(problems)
        click.get_current_context().exit(DigestMismatchError.exit_code if is_damaged else unknown[0])
    session.note(f"{name} is as it was stored" if directory is None else f"{printable(directory)} is {name}")


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(f"{printable(problem.path) or '.'} {problem.what}")
