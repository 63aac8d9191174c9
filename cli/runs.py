"""`artifactfs runs`: list runs, or describe one."""

from __future__ import annotations

import itertools
import os
import socket
from typing import TYPE_CHECKING, Any

import click
import msgspec

from artifactfs.clock import format_time_ns
from artifactfs.paths import parse_ref

from .options import Command
from .output import format_moment, format_size, print_json, print_table
from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.repository.repository import Repository
    from artifactfs.runs.history import RunLog
    from artifactfs.runs.machine import Environment
    from artifactfs.runs.state import RunState

SHOWN = 50


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
@click.option("--uses", metavar="REF", help="Only runs that read this version, or any of a collection NAME.")
@click.option("--makes", metavar="REF", help="Only runs that made this version, or any of a collection NAME.")
def command(run: str | None, *, number: int, every: bool, **filters: Any) -> None:
    """List runs, the newest first; or describe RUN.

    RUN is an id, the beginning of one, or a name.
    """
    session = current_session()
    with session.open_repository() as repository:
        log = open_runs(repository)
        if run is not None:
            _show(log, log.find_run(run), as_json=session.json)
            return
        wanted = _make_filter(repository, **filters)
        matching = (state for state in log.iter_runs() if wanted(state))
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


def run_fields(state: RunState) -> dict[str, Any]:
    """Return a run as members of a JSON object."""
    circumstances = state.circumstances
    return {
        "id": state.id,
        "state": state.state,
        "name": state.name,
        "project": state.project,
        "job_type": state.job_type,
        "author": state.author,
        "started": format_time_ns(state.started_ns),
        "finished": None if state.finished_ns is None else format_time_ns(state.finished_ns),
        "seen": format_time_ns(state.seen_ns),
        "exit_code": state.exit_code,
        "host": state.host,
        "user": state.user,
        "command": list(circumstances.command),
        "directory": circumstances.directory,
        "git": msgspec.to_builtins(circumstances.git),
        "variables": circumstances.variables,
        "tags": list(state.tags),
        "notes": state.notes,
        "config": state.config,
        "inputs": list(state.inputs),
        "outputs": list(state.outputs),
    }


def _make_filter(  # noqa: PLR0913 (one for each option)
    repository: Repository,
    *,
    states: tuple[str, ...],
    project: str | None,
    job_type: str | None,
    name: str | None,
    tags: tuple[str, ...],
    author: str | None,
    uses: str | None,
    makes: str | None,
) -> Callable[[RunState], bool]:
    fixed = {"project": project, "job_type": job_type, "name": name, "author": author}
    equal = {member: value for member, value in fixed.items() if value is not None}
    read, made = _find_versions(repository, uses), _find_versions(repository, makes)

    def is_wanted(state: RunState) -> bool:
        return (
            (not states or state.state in states)
            and all(getattr(state, member) == value for member, value in equal.items())
            and set(tags) <= set(state.tags)
            and (uses is None or any(artifact.startswith(read) for artifact in _ended(state.inputs)))
            and (makes is None or any(artifact.startswith(made) for artifact in _ended(state.outputs)))
        )

    return is_wanted


def _find_versions(repository: Repository, text: str | None) -> str:
    """Return what the names of the versions begin with that a REF names; NAME alone names all of its versions."""
    if text is None:
        return ""
    if ":" not in text:
        return f"{parse_ref(text).collection}:"
    ref = parse_ref(text)
    if ref.version is not None:
        return f"{ref.collection}:v{ref.version} "
    collection, version = repository.resolve(ref)
    return f"{collection.name}:{version.name} "


def _ended(artifacts: tuple[str, ...]) -> Iterator[str]:
    """Yield names with a mark at their end, so that v1 is no beginning of v10."""
    return (f"{artifact} " for artifact in artifacts)


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
    digest = state.circumstances.environment
    environment = log.get_environment(digest) if digest else None
    if as_json:
        print_json({**run_fields(state), "environment": msgspec.to_builtins(environment)})
        return
    fields = {**run_fields(state), **_describe_environment(environment)}
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
