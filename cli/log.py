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
from .output import format_count, format_moment, print_json
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
@click.option("--accept", is_flag=True, help="Take the log as it is from now on, though this machine has seen another.")
def command(name: str, *, globs: tuple[str, ...], verify: bool, accept: bool) -> None:
    """List the changes of a collection, also of a deleted one, the newest first: who, when, why, and in which run.

    --path takes patterns as gitignore(5) has them. --verify prints what is wrong, one record a line, and exits
    with 30.

    Nothing is committed to a log whose end is missing, as after restoring an older copy of the repository, before
    --accept says that it is to go on from there.
    """
    session = current_session()
    if bool(globs) + verify + accept > 1:
        msg = "--path, --verify and --accept do not go together"
        raise UsageError(msg, hint="give one of them")
    parsed = _parse_name(name)
    with session.open_repository() as repository:
        if verify or accept:
            (_verify if verify else _accept)(repository, parsed)
            return
        collection = _load(repository, parsed)
        found = list(repository.log.iter_records(collection.name))[::-1]
        changed = _find_changed(repository, collection, globs) if globs else {}
    if not collection.exists:
        session.note(f"{collection.name} was deleted; its log stays")
    if globs:
        found = [record for record in found if record.seq in changed]
    if session.json:
        fields = [record_fields(record, changed.get(record.seq)) for record in found]
        print_json({"collection": collection.name, "records": fields})
        return
    for record in found:
        _print_record(record, changed.get(record.seq, ()))


def _load(repository: Repository, name: str) -> Collection:
    """Return the state of a collection, also of a deleted one: its log stays."""
    state = repository.load_state(name)
    return state if state.seq else repository.get_collection(name)


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
    repository.load_state(name)  # notes the last record as seen, for next time
    session.note(f"{name}: all {audit.count} records are whole, and those that this machine saw (up to {audit.seen})")


def _accept(repository: Repository, name: str) -> None:
    session, witness, log = current_session(), repository.witness, repository.log
    seen, digest = witness.find_last(name)
    state = repository.load_state(name)
    if not state.seq and not seen:
        repository.get_collection(name)
    records = format_count(state.seq, "record")
    is_other = seen > 0 and log.find_digest(name, seen) != digest
    if is_other:
        session.confirm(f"Take the log of {name} as it is, with {records}, where this machine has seen {seen}?")
        witness.forget(name)
        witness.note(state, log.find_digest)
    if session.json:
        print_json({"collection": name, "records": state.seq, "seen": seen})
    how = "taken as it is" if is_other else "the one that this machine has seen"
    session.note(f"the log of {name} is {how}, with {records}")
