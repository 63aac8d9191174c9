"""`artifactfs staging`: list staging directories, and break the pins of old ones on other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artifactfs.errors import NotFoundError, UsageError
from artifactfs.paths import parse_ref, printable

from .completing import complete_staging
from .durations import Duration, format_age
from .options import Command
from .output import format_count, format_moment, print_json, print_table
from .session import Session, current_session
from .staged import find_path, staging_fields

if TYPE_CHECKING:
    from artifactfs.repository.pins import PinnedVersion
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staging import Staging

SHOWN_DIGITS = 12


@click.command("staging", cls=Command)
@click.argument("refs", nargs=-1, metavar="[NAME[:@STAGING]]...", shell_complete=complete_staging)
@click.option("--all", "-a", "is_all", is_flag=True, help="Those of all users and machines, by their pins.")
@click.option("--older-than", type=Duration(), help="Only those made so long ago, such as 30d.")
@click.option("--pin", "pins", multiple=True, metavar="ID", help="With --all: only this pin; its first digits do.")
@click.option("--break", "is_break", is_flag=True, help="With --all: break the pins that are listed. It asks first.")
def command(
    refs: tuple[str, ...], *, is_all: bool, older_than: int | None, pins: tuple[str, ...], is_break: bool
) -> None:
    """List staging directories: what they are based on, how old they are, and where they can be seen.

    A staging directory pins its base, so that no prune on any machine deletes what it shows. One whose machine is gone
    pins it for ever: --all lists all pins, --break takes those away that NAME, --older-than or --pin choose. Nothing
    that was written in a staging directory is touched by that, but its base may be pruned once it is removed.
    """
    session = current_session()
    if (is_break or pins) and not is_all:
        msg = "--break and --pin need --all"
        raise UsageError(msg, hint="`artifactfs discard` removes a staging directory of this machine")
    if is_break and not (refs or pins or older_than):
        msg = "--break takes away the pins that are chosen, and none was chosen"
        raise UsageError(msg, hint="choose by NAME:@STAGING, --pin or --older-than")
    with session.open_repository() as repository:
        before_ns = None if older_than is None else repository.clock.now_ns() - older_than
        if is_all:
            _all(session, repository, _choose(repository, refs, pins, before_ns), is_break=is_break)
        else:
            _here(session, repository, refs, before_ns)


def _here(session: Session, repository: Repository, refs: tuple[str, ...], before_ns: int | None) -> None:
    from artifactfs.repository.staging import StagingArea

    found = [
        staging
        for staging in StagingArea(repository).iter_all()
        if _is_named(refs, staging.collection, staging.name)
        and (before_ns is None or staging.info.created_ns <= before_ns)
    ]
    now_ns = repository.clock.now_ns()
    if session.json:
        members = [
            {**staging_fields(session, repository, staging), "created_ns": staging.info.created_ns} for staging in found
        ]
        print_json({"staging": members})
        return
    print_table(_row(session, repository, staging, now_ns) for staging in found)


def _row(session: Session, repository: Repository, staging: Staging, now_ns: int) -> tuple[str, ...]:
    info = staging.info
    base = "nothing" if info.base is None else f"v{info.base}"
    path = find_path(session, repository, staging)
    place = "not mounted" if path is None else printable(path.encode())
    return str(staging), f"on {base}", format_age(now_ns - info.created_ns), place


def _choose(
    repository: Repository, refs: tuple[str, ...], pins: tuple[str, ...], before_ns: int | None
) -> list[PinnedVersion]:
    from artifactfs.repository.pins import iter_pins

    found = [
        pinned
        for pinned in iter_pins(repository)
        if _is_named(refs, pinned.collection, _staging_of(pinned))
        and (not pins or pinned.id.startswith(pins))
        and (before_ns is None or pinned.time_ns <= before_ns)
    ]
    for pin in pins:
        if not any(pinned.id.startswith(pin) for pinned in found):
            msg = f"there is no pin {pin}"
            raise NotFoundError(msg, hint="`artifactfs staging --all` lists all pins", subject=pin)
    return found


def _all(session: Session, repository: Repository, found: list[PinnedVersion], *, is_break: bool) -> None:
    from artifactfs.repository.pins import break_pin

    now_ns = repository.clock.now_ns()
    if session.json:
        print_json({"pins": [_pin_fields(pinned) for pinned in found], "broken": is_break and bool(found)})
    else:
        print_table(
            (
                pinned.id[:SHOWN_DIGITS],
                f"{pinned.collection}:v{pinned.version}" + (" (removed)" if pinned.is_deleted else ""),
                printable(pinned.purpose.encode()),
                printable(pinned.author.encode()) + (" (here)" if pinned.is_here else ""),
                format_age(now_ns - pinned.time_ns),
            )
            for pinned in found
        )
    if not is_break:
        return
    if not found:
        session.note("no pin is chosen by that; none was broken")
        return
    for pinned in found:
        if pinned.is_here:
            name = f"{pinned.collection}:@{_staging_of(pinned)}"
            msg = f"{name} is a staging directory of this machine"
            raise UsageError(msg, hint=f"`artifactfs discard {name}` removes it with its pin", subject=name)
    session.confirm(f"Break {format_count(len(found), 'pin')}?")
    for pinned in found:
        break_pin(repository, pinned)
    session.note(f"broke {format_count(len(found), 'pin')}")


def _is_named(refs: tuple[str, ...], collection: str, name: str | None) -> bool:
    parsed = [parse_ref(ref) for ref in refs]
    return not parsed or any(ref.collection == collection and ref.staging in (None, name) for ref in parsed)


def _staging_of(pinned: PinnedVersion) -> str | None:
    _, sign, name = pinned.purpose.partition("staging directory @")
    return name if sign else None


def _pin_fields(pinned: PinnedVersion) -> dict[str, Any]:
    return {
        "pin": pinned.id,
        "version": f"{pinned.collection}:v{pinned.version}",
        "removed": pinned.is_deleted,
        "purpose": pinned.purpose,
        "author": pinned.author,
        "here": pinned.is_here,
        "created_ns": pinned.time_ns,
        "created": format_moment(pinned.time_ns),
    }
