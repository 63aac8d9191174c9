"""`artifactfs drafts`: versions that several writers make in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .committing import in_run, make_options, note_output, print_result, version_options
from .completing import complete_name
from .durations import Duration
from .options import BytesPath, Command, Group
from .output import format_count, format_moment, format_size, print_json, print_table
from .progress import show_progress
from .referring import Referring, note_unverified, reference_options
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.repository.commit import CommitOptions
    from artifactfs.repository.drafts import Draft
    from artifactfs.repository.repository import Repository


@click.group("drafts", cls=Group)
def command() -> None:
    """Make one version by many writers: each adds a part, and one finishes it. Nobody sees any of it before that.

    ID is what the writers of one draft call it: any text that they share, such as the number of a job.
    """


@command.command("list", cls=Command)
@click.argument("name", required=False, shell_complete=complete_name)
@click.option("--all", "is_all", is_flag=True, help="Also those that were committed or dropped lately.")
def list_drafts(name: str | None, *, is_all: bool) -> None:
    """List drafts that are not finished: of one collection, or of all."""
    from artifactfs.repository.drafts import Drafts

    session = current_session()
    with session.open_repository() as repository:
        now_ns = repository.clock.now_ns()
        found = [draft for draft in Drafts(repository).iter_all(name) if is_all or draft.end is None]
    if session.json:
        print_json({"drafts": [_draft_fields(draft, now_ns) for draft in found]})
        return
    header = ("NAME", "ID", "STATE", "PARTS", "FILES", "SIZE", "LAST", "EXPIRES")
    print_table([header, *(_draft_row(draft, now_ns) for draft in found)] if found else [], right=(3, 4, 5))
    if not found:
        session.note("there are no drafts" if is_all else "there are no unfinished drafts")


@command.command("add", cls=Command)
@click.argument("name", shell_complete=complete_name)
@click.argument("id_", metavar="ID")
@click.argument("paths", nargs=-1, required=True, metavar="PATH|URI...", type=BytesPath())
@click.option("--type", "type_", metavar="TYPE", help="The collection's type (new ones: dataset).")
@click.option("--alias", "aliases", multiple=True, help="An alias for the version, besides latest; repeatable.")
@click.option("--description", default="", help="What the data is.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="JSON where it parses; repeatable.")
@click.option("--tag", "tags", multiple=True, help="A tag; repeatable.")
@click.option(
    "--expires", type=Duration(), help="Keep the draft this long at least if nobody finishes it (default: 7d)."
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out, as in gitignore(5); repeatable.")
@click.option("--skip-special", is_flag=True, help="Leave sockets, FIFOs and devices out instead of refusing them.")
@reference_options
def add(
    name: str,
    id_: str,
    paths: tuple[bytes, ...],
    *,
    expires: int | None,
    exclude: tuple[str, ...],
    skip_special: bool,
    referring: Referring,
    **more: Any,
) -> None:
    """Add local paths, and what URIs name, to a draft as a part; the first one begins it.

    A path that is in another part is refused. URIs are as in `artifactfs put`.
    """
    from artifactfs.repository.contributing import Contribution, contribute
    from artifactfs.repository.drafts import LIFETIME_NS, Drafts
    from artifactfs.repository.put import Storing, plan_sources
    from artifactfs.repository.treebuilder import make_root

    session = current_session()
    options = make_options(message="", ttl=None, if_changed=False, **more)
    with session.open_repository(create=True) as repository, show_progress(session, f"add to {name}") as progress:
        plan, options = plan_sources(repository, referring.make_sources(paths), in_run(repository, options))
        given = Contribution(
            type=options.type,
            aliases=options.aliases,
            description=options.description,
            metadata=options.metadata,
            tags=options.tags,
            inputs=options.inputs,
            run=options.run,
            lifetime_ns=LIFETIME_NS if expires is None else expires,
        )
        storing = Storing(repository, plan, exclude=exclude, skip_special=skip_special, progress=progress)
        draft = contribute(Drafts(repository), name, id_, lambda: make_root(storing.store(name)), given)
        now_ns = repository.clock.now_ns()
    if session.json:
        print_json(_draft_fields(draft, now_ns))
    session.note(f"{draft} has {format_count(len(draft.parts), 'part')}; `artifactfs drafts finish` makes the version")
    note_unverified(session, storing.unverified)


@command.command("finish", cls=Command)
@click.argument("name", shell_complete=complete_name)
@click.argument("id_", metavar="ID")
@version_options
def finish(name: str, id_: str, **more: Any) -> None:
    """Make the version of all parts of a draft, and print its name. Parts that come later are refused.

    When it was finished before, that version is printed; when that was interrupted, it goes on.
    """
    from artifactfs.errors import UsageError
    from artifactfs.repository import contributing
    from artifactfs.repository.drafts import Drafts

    session = current_session()
    options = make_options(**more)
    if options.if_changed:
        msg = "a draft is always made a version"
        raise UsageError(msg, hint="leave --if-changed out")
    with session.open_repository() as repository:
        options = in_run(repository, options)
        result = contributing.finish(Drafts(repository), name, id_, options)
        note_output(repository, options, result, inputs=options.inputs)
        _note_outputs(repository, options, Drafts(repository).get(name, id_), f"{name}:{result.version.name}")
    print_result(session, result, name=name, location=repository.location, options=options)


@command.command("drop", cls=Command)
@click.argument("name", required=False, shell_complete=complete_name)
@click.argument("id_", metavar="ID", required=False)
@click.option("--expired", is_flag=True, help="Drop all that nobody finished in time, as prune does.")
def drop(name: str | None, id_: str | None, *, expired: bool) -> None:
    """Give a draft up. What was added to it is deleted by the next prune, and parts that come later are refused."""
    from artifactfs.errors import UsageError
    from artifactfs.repository.drafts import Drafts

    session = current_session()
    if expired == (id_ is not None) or (expired and name is not None):
        msg = "drop one draft, by NAME and ID, or all that have expired"
        raise UsageError(msg, hint="artifactfs drafts drop NAME ID, or --expired")
    with session.open_repository() as repository:
        drafts = Drafts(repository)
        if name is not None and id_ is not None:
            draft = drafts.get(name, id_)
            parts = format_count(len(draft.parts), "part")
            session.confirm(f"Drop {draft}, with {parts} ({format_size(_size(draft))})?")
            dropped = [drafts.drop(name, id_)]
        else:
            dropped = drafts.drop_expired()
        now_ns = repository.clock.now_ns()
    if session.json:
        print_json({"dropped": [_draft_fields(draft, now_ns) for draft in dropped]})
    for draft in dropped:
        session.note(f"dropped {draft}")


def _note_outputs(repository: Repository, options: CommitOptions, draft: Draft, artifact: str) -> None:
    from artifactfs.runs.outputs import note_outputs

    from .runs import open_runs

    runs = {part.run for part in draft.parts if part.run} - {options.run}
    note_outputs(open_runs(repository), sorted(runs), artifact)


def _size(draft: Draft) -> int:
    return sum(part.root.size for part in draft.parts)


def _state(draft: Draft, now_ns: int) -> str:
    return "expired" if draft.end is None and draft.expires_ns < now_ns else draft.status


def _draft_row(draft: Draft, now_ns: int) -> tuple[str, ...]:
    files = sum(part.root.count for part in draft.parts)
    return (
        draft.collection,
        draft.name,
        _state(draft, now_ns),
        str(len(draft.parts)),
        str(files),
        format_size(_size(draft)),
        format_moment(draft.steps[-1].time_ns),
        format_moment(draft.expires_ns) if draft.end is None else "-",
    )


def _draft_fields(draft: Draft, now_ns: int) -> dict[str, Any]:
    from artifactfs.clock import format_time_ns
    from artifactfs.repository.draft_steps import Committed

    parts = [
        {
            "author": part.author,
            "time": format_time_ns(part.time_ns),
            "files": part.root.count,
            "size": part.root.size,
            "run": part.run,
        }
        for part in draft.parts
    ]
    version = f"v{draft.end.version}" if isinstance(draft.end, Committed) else None
    return {
        "collection": draft.collection,
        "id": draft.name,
        "state": _state(draft, now_ns),
        "parts": parts,
        "version": version,
        "expires": format_time_ns(draft.expires_ns) if draft.end is None else None,
    }
