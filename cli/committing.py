"""What `put` and `commit` have in common: the options of a new version, and what is said about it.

Threading: the main thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from artifactfs.errors import UsageError
from artifactfs.paths import printable
from artifactfs.variables import RUN_VARIABLE

from .durations import Duration
from .output import format_count, format_size, name_fields, print_json, version_fields
from .referring import note_unverified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from artifactfs.model import Version
    from artifactfs.repository.commit import CommitOptions, CommitResult
    from artifactfs.repository.repository import Repository

    from .session import Session

_XATTRS_SHOWN: Final = 10
_DAMAGE_SHOWN: Final = 10


def version_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say what a new version records."""
    for option in reversed(
        [
            click.option("--type", "type_", metavar="TYPE", help="The collection's type (new ones: dataset)."),
            click.option("--alias", "aliases", multiple=True, help="An alias for it, besides latest; repeatable."),
            click.option("-m", "--message", default="", help="The log message: why this version was made."),
            click.option("--description", default="", help="What the data is."),
            click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="JSON where it parses; repeatable."),
            click.option("--tag", "tags", multiple=True, help="A tag; repeatable."),
            click.option(
                "--ttl", type=Duration(), help="Time to live, such as 30d: `expire` may remove it afterwards."
            ),
            click.option("--if-changed", is_flag=True, help="Make no version if the content is the same."),
        ]
    ):
        function = option(function)
    return function


def make_options(
    *,
    type_: str | None,
    aliases: tuple[str, ...],
    message: str,
    description: str,
    metadata: tuple[str, ...],
    tags: tuple[str, ...],
    ttl: int | None,
    if_changed: bool,
) -> CommitOptions:
    """Return what the options of `version_options` say.

    Raises:
        UsageError: metadata that is not KEY=VALUE.
    """
    from artifactfs.clock import SystemClock
    from artifactfs.repository.commit import CommitOptions

    return CommitOptions(
        type=type_,
        aliases=aliases,
        message=message,
        description=description,
        metadata=parse_metadata(metadata),
        tags=tags,
        if_changed=if_changed,
        expires_ns=None if ttl is None else SystemClock().now_ns() + ttl,
    )


def in_run(repository: Repository, options: CommitOptions) -> CommitOptions:
    """Return options that also say in which run the commit is made, and what that has read; outside of one the same."""
    run = os.environ.get(RUN_VARIABLE)
    if not run:
        return options
    from artifactfs.runs import outputs

    from .runs import open_runs

    return outputs.in_run(repository.state_directory, open_runs(repository), run, options)


def note_output(
    repository: Repository, options: CommitOptions, result: CommitResult, *, inputs: Iterable[str] | None = None
) -> None:
    """Record the version among the outputs of the run in which it was committed, if it was, and what it is made from.

    Args:
        repository: where it is.
        options: that it was committed with.
        result: of the commit.
        inputs: what this run made it from; None is all that the version states.
    """
    if options.run is None:
        return
    from artifactfs.runs import outputs

    from .runs import open_runs

    outputs.note_output(open_runs(repository), options.run, result, inputs=inputs)


def parse_metadata(items: Sequence[str]) -> dict[str, Any]:
    """Return what `KEY=VALUE` arguments say; a value is JSON where it parses, else text.

    Raises:
        UsageError: one without `=`, or without a key; or one that begins as JSON does and is none, which would be kept
            as text and found by nobody.
    """
    found: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not key or not equals:
            msg = f"{item!r} is not KEY=VALUE"
            raise UsageError(msg)
        found[key] = _parse_value(value)
    return found


def _parse_value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        if text.lstrip()[:1] in ("{", "[", '"'):
            msg = f"{text!r:.80} begins as JSON and is none: {error}"
            raise UsageError(msg, hint="as text it is written in double quotes") from error
        return text


def print_result(
    session: Session,
    result: CommitResult,
    *,
    name: str,
    location: str,
    options: CommitOptions | None = None,
    damaged: Iterable[str] = (),
) -> None:
    """Print the version's name on standard output, and what there is to know about it on standard error.

    Args:
        session: of the command.
        result: what was committed.
        name: of the collection.
        location: of the repository.
        options: what was asked for: what an unchanged version does not have of it is told.
        damaged: keys of damaged objects that were met.
    """
    reference = f"{name}:{result.version.name}"
    if session.json:
        fields = version_fields(result.collection, result.version)
        dropped = [{**name_fields("path", item.path), "names": list(item.names)} for item in result.dropped_xattrs]
        more = {"dropped_xattrs": dropped, "damaged": sorted(damaged), "unverified": result.unverified}
        print_json({**fields, "is_new": result.created, **more})
    else:
        click.echo(reference)
    _print_notes(session, result, location=location)
    _warn_of_damage(session, sorted(damaged))
    if options is not None and not result.created:
        _warn_of_dropped(session, options, result.version, reference)


def _warn_of_damage(session: Session, keys: Sequence[str]) -> None:
    """Say that what was put had been stored before, and was damaged."""
    for key in keys[:_DAMAGE_SHOWN]:
        session.warn(f"{key} was damaged; what it should have of these files was stored anew")
    if len(keys) > _DAMAGE_SHOWN:
        session.warn(f"{format_count(len(keys) - _DAMAGE_SHOWN, 'more object')} had been damaged; all was stored anew")
    if keys:
        session.note("`artifactfs check --read-data` says whether anything else is damaged")


def _warn_of_dropped(session: Session, options: CommitOptions, version: Version, reference: str) -> None:
    """Say which options a version that was there already does not have the values of."""
    has_metadata = {**version.metadata, **options.metadata} == version.metadata
    dropped = {
        "--description": options.description not in ("", version.description),
        "--metadata": not has_metadata,
        "--tag": not set(options.tags) <= set(version.tags),
    }
    names = [name for name, is_dropped in dropped.items() if is_dropped]
    if names:
        said = f"no version was made, so {', '.join(names)} had no effect"
        session.warn(f"{said}; `artifactfs edit {reference}` changes what is recorded")
    if options.expires_ns is not None:
        session.warn("no version was made, so --ttl had no effect")


def _print_notes(session: Session, result: CommitResult, *, location: str) -> None:
    for line in result.layout:
        session.note(f"put {line}")
    root = result.version.root
    amount = f"{format_count(root.count, 'file')}, {format_size(root.size)}"
    what = "made" if result.created else "nothing changed since"
    session.note(f"{what} {result.collection.name}:{result.version.name} ({amount}) in {location}")
    note_unverified(session, result.unverified)
    for path in result.skipped:
        session.note(f"left out {printable(path)}: not a file, directory or link")
    if result.dropped_count:
        files = format_count(result.dropped_count, "file")
        session.note(f"extended attributes are not kept; {files} had some:")
        for item in result.dropped_xattrs[:_XATTRS_SHOWN]:
            session.note(f"  {printable(item.path)}: {', '.join(item.names)}")
