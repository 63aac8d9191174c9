"""`artifactfs expire`: remove versions that no rule keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artifactfs.errors import ConflictError, UsageError, VersionNotFoundError
from artifactfs.paths import check_collection_name

from .changing import refresh
from .completing import complete_name
from .durations import Duration, format_age
from .options import Command
from .output import format_count, print_json, print_table
from .session import Session, current_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import Collection
    from artifactfs.repository.expire import Judged, Retention
    from artifactfs.repository.repository import Repository


@click.command("expire", cls=Command)
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=complete_name)
@click.option("--all", "is_all", is_flag=True, help="All collections.")
@click.option("--keep-last", type=click.IntRange(min=1), metavar="N", help="Keep the N newest versions.")
@click.option("--keep-aliased", is_flag=True, help="Keep versions that an alias names.")
@click.option("--keep-within", type=Duration(), help="Keep versions made so long ago at most, such as 30d.")
@click.option("--keep-used", is_flag=True, help="Keep versions that a run read, or another collection was made from.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed, and why the rest stays.")
def command(names: tuple[str, ...], *, is_all: bool, dry_run: bool, **rules: Any) -> None:
    """Remove versions whose time to live has passed, and those that none of the given rules keeps.

    It shows each version with the reason why it stays, and asks. What `latest` names, a staging directory pins, or has
    time to live left, always stays; without any rule, only times to live count, and versions with an alias stay.
    What is stored stays until it is pruned.
    """
    session = current_session()
    if bool(names) == is_all:
        msg = "name the collections, or write --all"
        raise UsageError(msg, hint="`artifactfs expire --all --dry-run` shows what would be removed")
    retention = _make_retention(**rules)
    with session.open_repository() as repository:
        chosen = repository.collection_names() if is_all else [check_collection_name(name) for name in names]
        judged = _judge(repository, dict.fromkeys(chosen), retention)
        if not session.json:
            _print(repository, judged)
        goes = [(collection, item) for collection, items in judged for item in items if item.is_removed]
        removed: list[str] = []
        if goes and not dry_run:
            session.confirm(f"Remove {format_count(len(goes), 'version')}?")
            removed = _remove(session, repository, goes)
    if session.json:
        fields = [_fields(collection, item) for collection, items in judged for item in items]
        print_json({"dry_run": dry_run, "versions": fields, "removed": removed})
    if dry_run:
        session.note(f"would remove {format_count(len(goes), 'version')}")
    else:
        hint = "; `artifactfs prune` frees their space" if removed else ""
        session.note(f"removed {format_count(len(removed), 'version')}{hint}")


def _make_retention(
    *, keep_last: int | None, keep_aliased: bool, keep_within: int | None, keep_used: bool
) -> Retention:
    from artifactfs.repository.expire import Retention

    return Retention(
        keep_last=keep_last or 0,
        keep_within_ns=keep_within or 0,
        keep_aliased=keep_aliased,
        keep_used=keep_used,
    )


def _judge(
    repository: Repository, names: dict[str, None], retention: Retention
) -> list[tuple[Collection, list[Judged]]]:
    from contextlib import ExitStack

    from artifactfs.repository.expire import judge

    now_ns = repository.clock.now_ns()
    judged = []
    with ExitStack() as stack:
        find_use = _open_use(stack, repository) if retention.keep_used else None
        for name in names:
            collection = repository.get_collection(name)
            if find_use is None:
                judged.append((collection, judge(collection, retention, now_ns=now_ns)))
            else:
                is_used = find_use(name)
                judged.append((collection, judge(collection, retention, now_ns=now_ns, is_used=is_used)))
    return judged


def _open_use(stack: Any, repository: Repository) -> Callable[[str], Callable[[int], bool]]:
    from artifactfs.runs.events import is_run_id
    from artifactfs.runs.lineage import open_lineage

    from .runs import open_runs

    lineage = stack.enter_context(open_lineage(repository, open_runs(repository)))

    def of_collection(name: str) -> Callable[[int], bool]:
        def is_used(number: int) -> bool:
            node = f"{name}:v{number}"
            near = lineage.find(node, "down", depth=1).distances
            return any(is_run_id(other) or not other.startswith(f"{name}:") for other in near if other != node)

        return is_used

    return of_collection


def _print(repository: Repository, judged: list[tuple[Collection, list[Judged]]]) -> None:
    now_ns = repository.clock.now_ns()
    print_table(
        (
            "remove" if item.is_removed else "keep",
            f"{collection.name}:{item.version.name}",
            format_age(now_ns - item.version.time_ns),
            ", ".join(item.reasons) or ("with " + ", ".join(item.aliases) if item.aliases else ""),
        )
        for collection, items in judged
        for item in items
    )


def _remove(session: Session, repository: Repository, goes: list[tuple[Collection, Judged]]) -> list[str]:
    from artifactfs.repository.expire import remove

    removed = []
    for collection, item in goes:
        name = f"{collection.name}:{item.version.name}"
        try:
            remove(repository, collection, item)
        except (ConflictError, VersionNotFoundError) as error:
            session.warn(f"{name} was left: {error.message}")
            continue
        removed.append(name)
        refresh(session, repository, collection=collection.name, names=[item.version.name, *item.aliases])
    return removed


def _fields(collection: Collection, item: Judged) -> dict[str, Any]:
    return {
        "ref": f"{collection.name}:{item.version.name}",
        "aliases": list(item.aliases),
        "remove": item.is_removed,
        "reasons": list(item.reasons),
    }
