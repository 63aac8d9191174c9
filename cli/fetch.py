"""`artifactfs fetch`: bring a version into the cache of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.errors import NotFoundError, UsageError
from artifactfs.paths import parse_ref

from .completing import complete_ref
from .options import Command
from .output import format_count, format_size, print_json
from .progress import show_progress
from .running import pin_ref
from .session import Session, current_session

if TYPE_CHECKING:
    from artifactfs.paths import Ref
    from artifactfs.repository.prefetch import FetchResult
    from artifactfs.repository.repository import Repository


@click.command("fetch", cls=Command)
@click.argument("ref", required=False, metavar="[REF[/PATH]]", shell_complete=complete_ref)
@click.option("--path", "globs", multiple=True, metavar="GLOB", help="Only what matches, as in gitignore(5).")
@click.option("--from-profile", "run", metavar="RUN", help="What an earlier run read, in the order in which it did.")
def command(ref: str | None, *, globs: tuple[str, ...], run: str | None) -> None:
    """Bring a version, or the part of it at PATH, into the cache of this machine, so that reading waits for nothing.

    What is there is not fetched again; so what was interrupted is gone on with by the same command. What was fetched
    may have to make room for other data later, unless `artifactfs cache keep` keeps it.

    With --from-profile the files come that a program of `artifactfs run` read, first what it read first: of REF those
    at the same paths; without REF, of the versions that it read.
    """
    from artifactfs.repository.prefetch import fetch, plan_fetch

    session = current_session()
    if run is not None:
        _replay(session, ref, run, globs)
        return
    if ref is None:
        msg = "say what to fetch"
        raise UsageError(msg, hint="artifactfs fetch NAME, or --from-profile RUN")
    parsed = parse_ref(ref)
    with session.open_repository() as repository:
        collection, version = repository.resolve(pin_ref(repository, parsed))
        name = f"{collection.name}:{version.name}"
        plan = plan_fetch(repository, version.root, path=parsed.path, glob=globs)
        with show_progress(session, f"fetch {name}") as progress:
            result = fetch(repository, plan, progress=progress)
    print_fetched(session, name, result, is_remote=repository.is_remote)


def _replay(session: Session, ref: str | None, run: str, globs: tuple[str, ...]) -> None:
    from artifactfs.repository.prefetch import fetch, plan_replay

    parsed = None if ref is None else parse_ref(ref)
    if globs or (parsed is not None and parsed.path):
        msg = "a profile says which files to fetch"
        raise UsageError(msg, hint="leave out --path and the path of REF")
    with session.open_repository() as repository:
        for name, paths in _read_profile(repository, parsed, run).items():
            collection, version = repository.resolve(parse_ref(name) if parsed is None else parsed)
            plan, missing = plan_replay(repository, version.root, paths)
            name = f"{collection.name}:{version.name}"  # noqa: PLW2901 (with REF, another version)
            with show_progress(session, f"fetch {name}") as progress:
                result = fetch(repository, plan, progress=progress)
            if missing:
                session.warn(f"{format_count(missing, 'file')} of the profile are not in {name}")
            print_fetched(session, name, result, is_remote=repository.is_remote)


def _read_profile(repository: Repository, ref: Ref | None, run: str) -> dict[str, list[bytes]]:
    """Return the paths that a run read, in order, by version; of the collection of a REF all together.

    Raises:
        NotFoundError: there is no such run, or it read nothing of that.
    """
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.inputs import iter_files
    from artifactfs.runs.selecting import find_run

    runs = RunLog(repository.store, clock=repository.clock, random=os.urandom)
    state = find_run(repository, runs, run)
    found: dict[str, list[bytes]] = {}
    for file in iter_files(repository.state_directory, runs, state.id):
        name = file.artifact.partition(":")[0] if ref is not None else file.artifact
        if ref is None or name == ref.collection:
            found.setdefault(name, []).append(os.fsencode(file.path))
    if not found:
        msg = f"the run {state.id} read nothing{'' if ref is None else f' of {ref.collection}'} that was recorded"
        raise NotFoundError(msg, hint="what programs of `artifactfs run` read is recorded", subject=state.id)
    return found


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
