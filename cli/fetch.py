"""`artifactfs fetch`: bring a version into the cache of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.paths import parse_ref

from .completing import complete_ref
from .options import Command
from .output import format_count, format_size, print_json
from .progress import show_progress
from .session import Session, current_session

if TYPE_CHECKING:
    from artifactfs.repository.prefetch import FetchResult


@click.command("fetch", cls=Command)
@click.argument("ref", metavar="REF[/PATH]", shell_complete=complete_ref)
@click.option("--path", "globs", multiple=True, metavar="GLOB", help="Only what matches, as in gitignore(5).")
def command(ref: str, *, globs: tuple[str, ...]) -> None:
    """Bring a version, or the part of it at PATH, into the cache of this machine, so that reading waits for nothing.

    What is there is not fetched again; so what was interrupted is gone on with by the same command. What was fetched
    may have to make room for other data later, unless `artifactfs cache keep` keeps it.
    """
    from artifactfs.repository.prefetch import fetch, plan_fetch

    session = current_session()
    parsed = parse_ref(ref)
    with session.open_repository() as repository:
        collection, version = repository.resolve(parsed)
        name = f"{collection.name}:{version.name}"
        plan = plan_fetch(repository, version.root, path=parsed.path, glob=globs)
        with show_progress(session, f"fetch {name}") as progress:
            result = fetch(repository, plan, progress=progress)
    print_fetched(session, name, result, is_remote=repository.is_remote)


def print_fetched(session: Session, name: str, result: FetchResult, *, is_remote: bool) -> None:
    """Say what was fetched."""
    plan = result.plan
    if session.json:
        fields = {"files": plan.files, "size": plan.size, "references": plan.references}
        fields |= {"refused": plan.refused, "chunks": len(plan.names)}
        print_json({"ref": name, **fields, "fetched": result.fetched, "fetched_size": result.size})
        return
    if not is_remote and not plan.referenced:
        session.note(f"{name} is on this machine: the repository is a local directory")
    else:
        count = format_count(plan.files + plan.references, "file")
        amount = f"{count}, {format_size(plan.size)}; {format_size(result.size)} fetched"
        session.note(f"{name} is on this machine ({amount})")
    if plan.refused:
        were = "1 reference was" if plan.refused == 1 else f"{plan.refused} references were"
        session.warn(f"{were} not fetched: follow_references in the configuration file does not name them")
