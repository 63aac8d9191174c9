"""`artifactfs prune`: free the space of what no version reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import Command
from .output import format_count, format_size, print_json, print_table
from .progress import show_progress
from .session import current_session
from .showing import shown_versions

if TYPE_CHECKING:
    from artifactfs.repository.prune import Amount, Garbage


@click.command("prune", cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def command(*, dry_run: bool) -> None:
    """Delete stored content that no version reaches: of removed versions, and of commits that did not end well.

    It lists what it found, and asks. Versions that are live, pinned by a staging directory, or removed but still
    mounted by this user are kept whole. Commits may go on meanwhile; where they cannot, it says so and deletes nothing.
    """
    from artifactfs.repository.prune import Amount, delete_garbage, find_garbage

    session = current_session()
    with session.open_repository() as repository:
        shown = shown_versions(session, repository)
        with show_progress(session, "looking for what is not needed") as progress:
            garbage = find_garbage(repository, shown, progress=progress)
        if not session.json:
            _print_garbage(garbage)
        total = garbage.total
        deleted = Amount()
        if total.count and not dry_run:
            session.confirm(f"Delete {format_count(total.count, 'object')} ({format_size(total.size)})?")
        if not dry_run:  # even if nothing was found: temporary files of killed processes go, too
            with show_progress(session, "prune") as progress:
                deleted = delete_garbage(repository, garbage, shown, progress=progress)
    if session.json:
        print_json({"dry_run": dry_run, **_garbage_fields(garbage), "deleted": _amount_fields(deleted)})
    for name in garbage.kept:
        session.note(f"kept {name}, which was removed, because it is in use")
    if not dry_run:
        session.note(f"deleted {format_count(deleted.count, 'object')} ({format_size(deleted.size)})")


def _print_garbage(garbage: Garbage) -> None:
    rows = [(folder, str(amount.count), format_size(amount.size)) for folder, amount in garbage.amounts.items()]
    total = garbage.total
    print_table([*rows, ("all", str(total.count), format_size(total.size))], right=(1, 2))


def _garbage_fields(garbage: Garbage) -> dict[str, Any]:
    return {
        "garbage": _amount_fields(garbage.total),
        "folders": {folder: _amount_fields(amount) for folder, amount in garbage.amounts.items()},
        "reached": garbage.reached,
        "kept": list(garbage.kept),
    }


def _amount_fields(amount: Amount) -> dict[str, int]:
    return {"objects": amount.count, "size": amount.size}
