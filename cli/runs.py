"""`artifactfs runs`: list runs, or describe one."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from typing import TYPE_CHECKING, Any

import click
import msgspec

from artifactfs.errors import UsageError

from .options import Command
from .output import format_moment, format_size, print_json, print_table
from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from artifactfs.repository.repository import Repository
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.lineage import RunNode
    from artifactfs.runs.machine import Environment
    from artifactfs.runs.state import RunState

SHOWN = 50
IN_INDEX = ("project", "job_type", "name", "author", "parent")
"""Filters that the graph of runs and versions can answer, besides the state of runs that have ended."""


@click.command("runs", cls=Command)
@click.argument("run", required=False)
@click.option("-n", "--number", default=SHOWN, show_default=True, type=click.IntRange(min=1), help="How many to list.")
@click.option("--all", "every", is_flag=True, help="List all.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(["running", "finished", "failed", "crashed", "lost"]),
    help="Only runs in this state; repeatable.",
)
@click.option("--project", help="Only runs of this project.")
@click.option("--job-type", metavar="TYPE", help="Only runs of this job type.")
@click.option("--name", help="Only runs of this name.")
@click.option("--tag", "tags", multiple=True, help="Only runs with this tag; repeatable.")
@click.option("--author", help="Only runs of this author.")
@click.option("--parent", metavar="RUN", help="Only runs that were begun in this one.")
@click.option("--uses", metavar="REF", help="Only runs that read this version, or any of a collection NAME.")
@click.option("--makes", metavar="REF", help="Only runs that made this version, or any of a collection NAME.")
@click.option("--files", is_flag=True, help="List the files that RUN looked up in its mount, in order.")
def command(run: str | None, *, number: int, every: bool, files: bool, **filters: Any) -> None:
    """List runs, the newest first; or describe RUN.

    RUN is an id, the beginning of one, or a name. With --files, --uses takes files of one version or collection.
    """
    from artifactfs.runs.described import run_fields
    from artifactfs.runs.selecting import find_run

    session = current_session()
    with session.open_repository() as repository:
        log = open_runs(repository)
        if files:
            _list_files(repository, log, run, filters["uses"], as_json=session.json)
            return
        if run is not None:
            _show(log, find_run(repository, log, run), as_json=session.json)
            return
        if filters["parent"] is not None:
            filters["parent"] = find_run(repository, log, filters["parent"]).id
        wanted = _make_filter(repository, **filters)
        with contextlib.closing(_iter_candidates(repository, log, filters)) as candidates:
            matching = (state for state in candidates if wanted(state))
            found = list(matching if every else itertools.islice(matching, number))
    if session.json:
        print_json({"runs": [run_fields(state) for state in found]})
        return
    print_table([_row(state) for state in found])


def open_runs(repository: Repository) -> RunLog:
    """Return the runs of a repository, after marking those of this machine that crashed."""
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.markers import settle_marked

    log = RunLog(repository.store, clock=repository.clock, random=os.urandom, host=socket.gethostname())
    settle_marked(log, repository.state_directory)
    return log


def _iter_candidates(repository: Repository, log: RunLog, filters: dict[str, Any]) -> Generator[RunState, None, None]:
    """Yield runs, the newest first: those that the index does not rule out, where it can say something."""
    from artifactfs.errors import ArtifactFSError
    from artifactfs.runs.lineage import open_lineage
    from artifactfs.runs.selecting import list_versions

    equal = {member: filters[member] for member in IN_INDEX if filters[member] is not None}
    states, uses, makes = filters["states"], filters["uses"], filters["makes"]
    if not equal and not states and uses is None and makes is None:
        yield from log.iter_runs()
        return

    def is_possible(node: RunNode) -> bool:
        return all(getattr(node, member) == value for member, value in equal.items()) and (
            not states or not node.state or node.state in states
        )

    with open_lineage(repository, log) as lineage:
        near = []
        if uses is not None:
            near.append(lineage.find_runs(list_versions(repository, uses), ["down"]))
        if makes is not None:  # what a run found to exist is its output, too, and may be known as its input
            near.append(lineage.find_runs(list_versions(repository, makes), ["up", "down"]))
        chosen = sorted(set.intersection(*near), reverse=True) if near else lineage.iter_runs(is_possible)
        for run in chosen:
            with contextlib.suppress(ArtifactFSError):  # damaged ones are left out
                yield log.get_run(run)


def _make_filter(  # noqa: PLR0913 (one for each option)
    repository: Repository,
    *,
    states: tuple[str, ...],
    project: str | None,
    job_type: str | None,
    name: str | None,
    tags: tuple[str, ...],
    author: str | None,
    parent: str | None,
    uses: str | None,
    makes: str | None,
) -> Callable[[RunState], bool]:
    from artifactfs.runs.selecting import select_versions

    fixed = {"project": project, "job_type": job_type, "name": name, "author": author, "parent": parent}
    equal = {member: value for member, value in fixed.items() if value is not None}
    is_read = None if uses is None else select_versions(repository, uses)
    is_made = None if makes is None else select_versions(repository, makes)

    def is_wanted(state: RunState) -> bool:
        return (
            (not states or state.state in states)
            and all(getattr(state, member) == value for member, value in equal.items())
            and set(tags) <= set(state.tags)
            and (is_read is None or any(map(is_read, state.inputs)))
            and (is_made is None or any(map(is_made, state.outputs)))
        )

    return is_wanted


def _list_files(repository: Repository, log: RunLog, run: str | None, uses: str | None, *, as_json: bool) -> None:
    from artifactfs.runs.inputs import iter_files
    from artifactfs.runs.selecting import find_run, select_versions

    if run is None:
        msg = "--files lists the files of one run"
        raise UsageError(msg, hint="artifactfs runs RUN --files")
    state = find_run(repository, log, run)
    is_wanted = select_versions(repository, uses) if uses is not None else None
    found = iter_files(repository.state_directory, log, state.id)
    files = [file for file in found if is_wanted is None or is_wanted(file.artifact)]
    if as_json:
        print_json({"id": state.id, "files": [msgspec.to_builtins(file) for file in files]})
        return
    for file in files:
        click.echo(f"{file.size:>12}  {file.artifact}/{file.path}")


def _row(state: RunState) -> tuple[str, ...]:
    inputs, outputs = " ".join(state.inputs), " ".join(state.outputs)
    return (
        state.id,
        state.state,
        format_moment(state.started_ns),
        _format_duration(state),
        state.name or "-",
        state.job_type or "-",
        f"{inputs or '-'} -> {outputs or '-'}",
    )


def _format_duration(state: RunState) -> str:
    seconds = ((state.finished_ns or state.seen_ns) - state.started_ns) // 10**9
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" + ("" if state.finished_ns else "+")


def _show(log: RunLog, state: RunState, *, as_json: bool) -> None:
    from artifactfs.runs.described import run_fields

    digest = state.circumstances.environment
    environment = log.get_environment(digest) if digest else None
    if as_json:
        print_json({**run_fields(state), "environment": msgspec.to_builtins(environment)})
        return
    fields: dict[str, Any] = {**run_fields(state), **_describe_environment(environment)}
    fields["command"] = " ".join(fields["command"])
    fields["git"] = _describe_git(state)
    for key, value in fields.items():
        if value not in (None, "", [], {}):
            click.echo(f"{key.replace('_', ' ') + ':':<12} {_as_text(value)}")


def _describe_git(state: RunState) -> str:
    if state.git is None:
        return ""
    changed = {True: "with changes", False: "", None: "perhaps with changes"}[state.git.dirty]
    words = (state.git.commit, state.git.branch and f"on {state.git.branch}", state.git.remote, changed)
    return " ".join(word for word in words if word)


def _describe_environment(found: Environment | None) -> dict[str, Any]:
    if found is None:
        return {}
    machine = [found.cpu, f"{found.cpu_count} processors", format_size(found.memory), *found.gpus]
    return {
        "software": ", ".join(word for word in (found.python, found.system, found.container) if word),
        "machine": ", ".join(word for word in machine if word),
        "packages": list(found.packages),
    }


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
