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
from .referring import count_unverified
from .running import pin_ref
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
    printed, too; when there is nothing else, the exit code is one of 40 to 43 (42 where references are not followed,
    43 with --offline), or 4 where settings are missing. With --offline what is on this machine of a version in an
    object store is read again, and what is not is printed. References whose validator does not say for sure that the
    bytes are the same are printed as unverified, which is no failure.
    """
    from artifactfs.repository.verify import verify_version

    session = current_session()
    parsed = parse_ref(ref)
    if parsed.path:
        msg = f"{ref} names a path; whole versions are verified"
        raise UsageError(msg, hint="leave the path out", subject=ref)
    doubts: list[tuple[bytes, str]] = []

    def doubt(path: bytes, what: str) -> None:
        doubts.append((path, what))

    kept = session.find_remote().offline
    with session.open_repository(keeps=kept) as repository:
        collection, version = repository.resolve(pin_ref(repository, parsed))
        name = f"{collection.name}:{version.name}"
        with show_progress(session, f"verify {name}") as progress:
            problems = verify_version(
                repository, version, directory=directory, progress=progress, doubt=doubt, kept=kept
            )
    if session.json:
        found = [
            {**name_fields("path", problem.path), "problem": problem.what, "unknown": problem.is_unknown}
            for problem in problems
        ]
        unverified = [{**name_fields("path", path), "what": what} for path, what in sorted(doubts)]
        print_json({"ref": name, "ok": not problems, "problems": found, "unverified": unverified})
    else:
        _print_problems(problems)
        for path, what in sorted(doubts):
            click.echo(f"{printable(path)} is {what}")
    if problems:
        unknown = [problem.code for problem in problems if problem.is_unknown]
        if unknown:
            session.note(f"{format_count(len(unknown), 'path')} of {name} could not be verified")
        is_damaged = len(unknown) < len(problems)
        click.get_current_context().exit(DigestMismatchError.exit_code if is_damaged else unknown[0])
    but = f", as far as can be told: {count_unverified(len(doubts))}" if doubts else ""
    session.note((f"{name} is as it was stored" if directory is None else f"{printable(directory)} is {name}") + but)


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(f"{printable(problem.path) or '.'} {problem.what}")
