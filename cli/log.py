"""`artifactfs log`: list what happened to a collection."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click

from artifactfs.errors import DigestMismatchError, UsageError
from artifactfs.paths import parse_ref, printable
from artifactfs.repository.described import describe_body, record_fields

from .changes import print_changes
from .completing import complete_name
from .options import Command
from .output import format_moment, print_json
from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.model import Collection
    from artifactfs.repository.diff import Change
    from artifactfs.repository.records import Record
    from artifactfs.repository.repository import Repository


@click.command("log", cls=Command)
@click.argument("name", shell_complete=complete_name)
@click.option("--path", "globs", multiple=True, metavar="GLOB", help="Only versions that changed what matches.")
@click.option("--verify", is_flag=True, help="Check the log instead, also against what this machine has seen.")
def command(name: str, *, globs: tuple[str, ...], verify: bool) -> None:
    """List the changes of a collection, the newest first: who, when, why, and in which run.

    --path takes patterns as gitignore(5) has them. --verify prints what is wrong, one record a line, and exits
    with 30.
    """
    session = current_session()
    if verify and globs:
        msg = "--verify checks the whole log"
        raise UsageError(msg, hint="leave --path out")
    parsed = _parse_name(name)
    with session.open_repository() as repository:
        if verify:
            _verify(repository, parsed)
            return
        collection = repository.get_collection(parsed)
        found = list(repository.log.iter_records(collection.name))[::-1]
        changed = _find_changed(repository, collection, globs) if globs else {}
    if globs:
        found = [record for record in found if record.seq in changed]
    if session.json:
        fields = [record_fields(record, changed.get(record.seq)) for record in found]
        print_json({"collection": collection.name, "records": fields})
        return
    for record in found:
        _print_record(record, changed.get(record.seq, ()))


def _parse_name(name: str) -> str:
    """Return the collection that is named.

    Raises:
        UsageError: a version, a staging directory or a path is named.
    """
    ref = parse_ref(name)
    if ref.path:
        msg = f"a log is that of a whole collection, and {name} names a path"
        hint = f"`artifactfs log {ref.collection} --path {shlex.quote(printable(ref.path))}` lists what changed it"
        raise UsageError(msg, hint=hint, subject=name)
    if ref.selector is not None:
        msg = f"a log is that of a whole collection, and {name} names a part of one"
        raise UsageError(msg, hint=f"`artifactfs log {ref.collection}`; `artifactfs show {ref}`", subject=name)
    return ref.collection


def _print_record(record: Record, changed: Sequence[Change]) -> None:
    run = f"  run {record.run}" if record.run else ""
    moment = format_moment(record.time_ns)
    click.echo(f"{record.seq:>4}  {moment}  {record.author}  {describe_body(record.body)}{run}")
    for line in record.message.splitlines():
        click.echo(f"      {line}")
    print_changes(changed, indent="      ")


def _find_changed(
    repository: Repository, collection: Collection, globs: tuple[str, ...]
) -> dict[int, Sequence[Change]]:
    """Return the changes of those paths by the number of the record that made them; deleted versions are left out."""
    from artifactfs.repository.ignore import parse_patterns
    from artifactfs.repository.past import find_changes
    from artifactfs.repository.trees import Trees

    patterns, trees = parse_patterns([os.fsencode(glob) for glob in globs]), Trees(repository.blobs)
    found = {
        version.seq: find_changes(trees, collection, version, patterns) for version in collection.versions.values()
    }
    return {seq: changes for seq, changes in found.items() if changes}


def _verify(repository: Repository, name: str) -> None:
    from artifactfs.repository.audit import audit_log

    session = current_session()
    audit = audit_log(repository.store, name, seen=repository.witness.load(name))
    if not audit.count and not audit.seen:
        repository.get_collection(name)
    if session.json:
        problems = [{"seq": problem.seq, "problem": problem.what} for problem in audit.problems]
        print_json(
            {
                "collection": name,
                "ok": not problems,
                "records": audit.count,
                "seen": audit.seen,
                "problems": problems,
            }
        )
    else:
        for problem in audit.problems:
            click.echo(f"record {problem.seq} {problem.what}")
    if audit.problems:
        click.get_current_context().exit(DigestMismatchError.exit_code)
    session.note(f"{name}: all {audit.count} records are whole, and those that this machine saw (up to {audit.seen})")
