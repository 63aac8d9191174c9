"""`artifactfs prune`: free the space of what no version reaches."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from .options import Command
from .output import format_count, format_size, print_json, print_table
from .progress import show_progress
from .session import current_session
from .showing import shown_versions

if TYPE_CHECKING:
    from artifactfs.repository.drafts import Draft
    from artifactfs.repository.prune import Amount, Garbage
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.usage import Repacking

    from .session import Session


@click.command("prune", cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted, and which packs written again.")
@click.option("--no-repack", is_flag=True, help="Leave packs as they are, though little of them is needed.")
def command(*, dry_run: bool, no_repack: bool) -> None:
    """Delete stored content that no version reaches: of removed versions, and of commits that did not end well.

    Drafts that nobody finished in time are dropped, too; see `drafts`.

    It lists what it found, and asks before it changes anything. Versions that are live, pinned by a staging directory,
    or removed but still mounted on this machine are kept whole. Commits may go on meanwhile; where they cannot, it says
    so and deletes nothing.

    In an object store it waits an hour for commits under way before it deletes, and says until when. It may be ended at
    any time.

    Packs of which less than half is needed, and small packs once there are eight of them, are repacked: what is needed
    is written again, which takes as much free space for a time, and the old packs are deleted.
    """
    from artifactfs.repository.drafts import Drafts
    from artifactfs.repository.prune import Amount, delete_garbage, find_garbage
    from artifactfs.repository.usage import Repacking, choose_packs

    session = current_session()
    with session.open_repository() as repository:
        shown = shown_versions(session, repository)
        expired = Drafts(repository).drop_expired(dry_run=True)
        with show_progress(session, "looking for what is not needed") as progress:
            garbage = find_garbage(repository, shown, given_up=expired, progress=progress)
        repacking = Repacking() if no_repack else choose_packs(repository.store, garbage.usage)
        if not session.json:
            _print_garbage(garbage)
            _print_repacking(session, repacking)
        for draft in expired:
            session.note(f"{'would drop' if dry_run else 'to drop:'} {draft}: nobody finished it in time")
        deleted, moved = Amount(), 0
        if (expired or garbage.total.count or repacking.packs) and not dry_run:
            session.confirm(_question(len(expired), garbage.total, repacking))
        if not dry_run:  # even if nothing was found: temporary files of killed processes go, too
            expired = _drop(session, repository, expired)
            if repacking.packs:
                moved = _repack(session, repository, garbage, repacking)
                garbage = find_garbage(repository, shown)
            with show_progress(session, "prune") as progress:
                waiting = partial(_say_wait, session)
                deleted = delete_garbage(repository, garbage, shown, progress=progress, waiting=waiting)
    if session.json:
        fields = {"packs": len(repacking.packs), "size": repacking.size, "live": repacking.live, "versions": moved}
        answer = {"dry_run": dry_run, **_garbage_fields(garbage), "deleted": _amount_fields(deleted)}
        answer["expired_drafts"] = len(expired)
        print_json({**answer, "repacked": fields})
    why = _explain_kept(repository)
    for name in garbage.kept:
        session.note(f"kept {name}, which was removed, because it is {why}")
    if not dry_run:
        session.note(f"deleted {format_count(deleted.count, 'object')} ({format_size(deleted.size)})")


def _drop(session: Session, repository: Repository, expired: list[Draft]) -> list[Draft]:
    """Drop drafts, and return those that nobody went on with meanwhile; what they have is then not needed."""
    from artifactfs.repository.drafts import Drafts

    dropped = Drafts(repository).drop_expired(expired)
    for draft in dropped:
        session.note(f"dropped {draft}")
    return dropped


def _explain_kept(repository: Repository) -> str:
    """Return why removed versions are kept: in an object store nobody knows who reads them."""
    days = int(repository.exclusion.grace_seconds // 86400)
    return f"in use, or was removed less than {format_count(days, 'day')} ago" if days else "in use"


def _say_wait(session: Session, until_ns: int) -> None:
    until = time.strftime("%H:%M", time.localtime(until_ns // 10**9))
    session.note(f"waiting until {until} for commits under way; ending this is safe, and deletes nothing more")


def _question(drafts: int, total: Amount, repacking: Repacking) -> str:
    drop = f"drop {format_count(drafts, 'draft')}"
    delete = f"delete {format_count(total.count, 'object')} ({format_size(total.size)})"
    packs = f"repack {format_count(len(repacking.packs), 'pack')} (frees {format_size(repacking.freed)})"
    parts = [(drafts, drop), (total.count, delete), (len(repacking.packs), packs)]
    question = " and ".join(part for count, part in parts if count)
    return f"{question[0].upper()}{question[1:]}?"


def _repack(session: Session, repository: Repository, garbage: Garbage, repacking: Repacking) -> int:
    """Repack, and return how many versions lie elsewhere now; without room it is left for later."""
    from artifactfs.errors import StorageFullError
    from artifactfs.repository.repack import repack

    try:
        with show_progress(session, "repack") as progress:
            result = repack(repository, repacking, garbage.roots, progress=progress)
    except StorageFullError as error:
        session.note(f"nothing was repacked: {error.message}; prune again when there is room")
        return 0
    for name in result.skipped:
        session.note(f"{name} was not repacked: a page of it cannot be read; `artifactfs check` says more")
    session.note(f"repacked {format_count(len(repacking.packs), 'pack')}: {format_size(result.size)} written again")
    return result.versions


def _print_repacking(session: Session, repacking: Repacking) -> None:
    if repacking.packs:
        packs = format_count(len(repacking.packs), "pack")
        sizes = f"{format_size(repacking.live)} of {format_size(repacking.size)} is needed"
        session.note(f"to repack: {packs}, of which {sizes}")


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
