"""`artifactfs check`: look at everything that is stored again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX
from artifactfs.errors import DigestMismatchError, UsageError
from artifactfs.paths import printable

from .options import Command
from .output import format_count, format_size, name_fields, print_json
from .progress import show_progress
from .session import Session, current_session
from .showing import shown_versions

if TYPE_CHECKING:
    from artifactfs.repository.check import CheckReport, Damage
    from artifactfs.repository.repair import Repaired
    from artifactfs.repository.repository import Repository

_SHOWN: Final = 10


@click.command("check", cls=Command)
@click.option(
    "--read-data",
    is_flag=False,
    flag_value="100",
    metavar="[=PERCENT]",
    help="Read and hash the content of all files, or of a random part of them.",
)
@click.option("--repair", "is_repair", is_flag=True, help="Set damaged content aside: storing it again heals it.")
def command(*, read_data: str | None, is_repair: bool) -> None:
    """Look at every log record, tree and file that is stored, and list what is damaged, with the versions it touches.

    Without --read-data only the sizes of files are compared. The exit code is 30 when something is damaged.

    --repair deletes nothing: it moves damaged content and checkpoints to a directory in the repository, and in any case
    begins a new index. What is whole of a damaged pack is packed anew. Log records stay.
    """
    from artifactfs.repository.check import check_repository

    session = current_session()
    share = _parse_share(read_data)
    with session.open_repository(keeps=False) as repository:
        with show_progress(session, "check") as progress:
            report = check_repository(repository, share=share, progress=progress)
        advice = _find_advice(repository, report, is_read=share > 0)
        repaired = _repair(session, repository, report) if is_repair else None
    if session.json:
        print_json({"ok": not report.damage, **_report_fields(report, advice), **_repaired_fields(repaired)})
    else:
        for item in report.damage:
            _print_damage(item)
            if repaired is None:
                click.echo(f"  {advice[item.key]}")
    _print_notes(session, report, repaired)
    if report.damage:
        click.get_current_context().exit(DigestMismatchError.exit_code)


def _parse_share(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 < percent <= 100:
        msg = f"{text!r} is not a percentage"
        raise UsageError(msg, hint="write --read-data, or --read-data=10")
    return percent / 100


def _repair(session: Session, repository: Repository, report: CheckReport) -> Repaired:
    from artifactfs.repository.repair import find_repairable, repair

    from .index import drop_index

    count = len(find_repairable(repository, report.damage))
    if count:
        session.confirm(
            f"Set aside what is damaged, and pack anew what is whole of it ({format_count(count, 'object')})?"
        )
    with show_progress(session, "repair") as progress:
        repaired = repair(repository, report.damage, shown_versions(session, repository), progress=progress)
    drop_index(repository)
    return repaired


def _find_advice(repository: Repository, report: CheckReport, *, is_read: bool) -> dict[str, str]:
    """Return by key what is to be done; what was found by reading is found again only by that."""
    from artifactfs.repository.advice import REPAIR, find_advice

    repair = REPAIR if is_read else REPAIR.replace(" --read-data", "")
    return {item.key: find_advice(repository, item, repair=repair) for item in report.damage}


def _print_damage(damage: Damage) -> None:
    click.echo(f"{damage.key}: {damage.what.removeprefix(damage.key).lstrip()}")
    is_record = damage.key.startswith(COLLECTIONS_PREFIX)
    for version, path in damage.places.listed[:_SHOWN]:
        click.echo(f"  {version} is lost with it" if is_record else f"  {version} {printable(path) or '.'}")
    if damage.places.count > _SHOWN:
        click.echo(f"  and {format_count(damage.places.count - _SHOWN, 'more place')}")
    if damage.unsure:
        more = f" and {len(damage.unsure) - _SHOWN} more" if len(damage.unsure) > _SHOWN else ""
        click.echo(f"  may have removed or moved {', '.join(damage.unsure[:_SHOWN])}{more}")


def _is_needed(damage: Damage) -> bool:
    """Return whether a damaged object is, or may be, of use to a version."""
    from artifactfs.repository.reach import find_object

    return find_object(damage.key) is None or damage.places.count > 0 or damage.places.whole


def _print_notes(session: Session, report: CheckReport, repaired: Repaired | None) -> None:
    amount = f"{format_count(report.versions, 'version')}, {format_count(report.objects, 'object')}"
    session.note(f"looked at {amount}; read {format_size(report.read_size)} of files")
    unreached = format_count(report.unreached, "object")
    if any(map(_is_needed, report.damage)):
        session.note(
            f"{unreached} no readable version reaches; keep what no version reaches until the damage is mended"
        )
    elif report.damage:
        session.note(f"{unreached} no version reaches")
    elif report.unreached:
        session.note(f"{unreached} no version reaches; `artifactfs prune` deletes what no mount shows of them")
    for key in report.strays:
        session.note(f"{printable(os.fsencode(key))} is no object of a repository; it is left alone")
    if repaired is not None:
        _print_repaired(session, report, repaired)


def _print_repaired(session: Session, report: CheckReport, repaired: Repaired) -> None:
    if repaired.set_aside:
        session.note(f"moved {format_count(len(repaired.set_aside), 'object')} to {repaired.directory}")
    if repaired.versions:
        session.note(f"packed anew what was whole: {format_count(repaired.versions, 'version')} read it from there now")
    for key in repaired.rebuilt:
        session.note(f"wrote {key}")
    for name in repaired.skipped:
        session.note(f"{name} was not packed anew: a page of it cannot be read")
    for key in repaired.left:
        session.note(f"left {key}: {repaired.why[key]}")
    session.note("began a new index")
    if report.damage:
        session.note("check again: it says what is still to be done")


def _report_fields(report: CheckReport, advice: dict[str, str]) -> dict[str, Any]:
    return {
        "damage": [{**_damage_fields(item), "advice": advice[item.key]} for item in report.damage],
        "collections": report.collections,
        "records": report.records,
        "versions": report.versions,
        "objects": report.objects,
        "unreached": report.unreached,
        "read": report.read_size,
        "strays": list(report.strays),
    }


def _damage_fields(damage: Damage) -> dict[str, Any]:
    places = [{"ref": version, **name_fields("path", path)} for version, path in damage.places.listed]
    count, is_whole = damage.places.count, damage.places.whole
    return {
        "object": damage.key,
        "problem": damage.what,
        "places": places,
        "place_count": count,
        "readable": is_whole,
        "unsure": list(damage.unsure),
    }


def _repaired_fields(repaired: Repaired | None) -> dict[str, Any]:
    if repaired is None:
        return {}
    return {
        "repaired": {
            **name_fields("directory", repaired.directory),
            "set_aside": list(repaired.set_aside),
            "left": list(repaired.left),
            "versions": repaired.versions,
            "skipped": list(repaired.skipped),
            "why": dict(repaired.why),
            "rebuilt": list(repaired.rebuilt),
        }
    }
