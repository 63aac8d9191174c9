"""`artifactfs diff`: list what differs between two versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.errors import UsageError
from artifactfs.model import DirectoryEntry
from artifactfs.paths import parse_ref

from .changes import change_fields, print_changes
from .completing import complete_ref
from .inside import find_inside, show_diff
from .lines import print_lines
from .options import Command
from .output import print_json
from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.model import Collection, Root, Version
    from artifactfs.paths import Ref
    from artifactfs.repository.diff import Change
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.viewing import Viewed


@click.command("diff", cls=Command)
@click.argument("ref", shell_complete=complete_ref)
@click.argument("other", required=False, metavar="[REF]", shell_complete=complete_ref)
@click.option("--sizes", is_flag=True, help="Print how many bytes each file has, before and now.")
@click.option("--lines", is_flag=True, help="Print the lines of text files that differ, as git does.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything differs.")
def command(ref: str, other: str | None, *, sizes: bool, lines: bool, exit_code: bool) -> None:
    """List what differs between two versions, or with one REF, from the version before.

    A staging directory is compared with the version that it was made from. The letters: A added, D deleted,
    M modified, R renamed, T of another kind, P other permission bits.
    """
    session = current_session()
    inside = find_inside(session, ref) if other is None and parse_ref(ref).staging is not None else None
    if inside is not None:
        found_any = show_diff(session, inside, sizes=sizes, lines=lines)
        click.get_current_context().exit(1 if found_any and exit_code else 0)
    with session.open_repository() as repository:
        if other is None:
            old, new, found = _diff_one(repository, parse_ref(ref))
        else:
            old, new, found = _diff_two(repository, parse_ref(ref), parse_ref(other))
        if lines and not session.json:
            from artifactfs.repository.textdiff import ViewedSide

            old_side, new_side = _view_sides(repository, parse_ref(ref), parse_ref(other) if other else None)
            print_lines(found, ViewedSide(old_side), ViewedSide(new_side))
    if session.json:
        print_json({"old": old, "new": new, "changes": [change_fields(change) for change in found]})
    elif not lines:
        print_changes(found, sizes=sizes)
    if exit_code and found:
        click.get_current_context().exit(1)


_Answer = tuple[str | None, str, "Sequence[Change]"]


def _diff_one(repository: Repository, ref: Ref) -> _Answer:
    if ref.staging is not None:
        return _diff_staging(repository, ref)
    from artifactfs.repository.past import find_before

    collection, version = repository.resolve(ref)
    before = find_before(collection, version)
    old = None if before is None else _directory(repository, before, ref.path, missing_ok=True)
    changes = _compare(repository, old, _directory(repository, version, ref.path))
    return _name(collection, before), _name(collection, version) or "", changes


def _diff_staging(repository: Repository, ref: Ref) -> _Answer:
    from artifactfs.repository.staging import StagingArea

    if ref.path:
        msg = f"{ref}: a staging directory is compared as a whole"
        raise UsageError(msg, hint="leave the path out", subject=str(ref))
    area = StagingArea(repository)
    staging = area.get(ref.collection, ref.staging or "")
    number = staging.info.present
    return None if number is None else f"{ref.collection}:v{number}", str(staging), area.changes(staging)


def _diff_two(repository: Repository, first: Ref, second: Ref) -> _Answer:
    (before, old), (after, new) = repository.resolve(first), repository.resolve(second)
    changes = _compare(repository, _directory(repository, old, first.path), _directory(repository, new, second.path))
    return _name(before, old), _name(after, new) or "", changes


def _view_sides(repository: Repository, ref: Ref, other: Ref | None) -> tuple[Viewed | None, Viewed]:
    """Return the two sides of a comparison, to be read."""
    if other is not None:
        return _view(repository, repository.resolve(ref)[1], ref.path), _view_one(repository, other)
    if ref.staging is not None:
        from artifactfs.repository.staging import StagingArea
        from artifactfs.repository.trees import Trees
        from artifactfs.repository.viewing import Viewed, view

        new = view(repository, ref)
        root = StagingArea(repository).present_root(new.staging) if new.staging is not None else None
        return None if root is None else Viewed("", root, Trees(repository.blobs), None, repository), new
    from artifactfs.repository.past import find_before

    before = find_before(*repository.resolve(ref))
    return None if before is None else _view(repository, before, ref.path), _view_one(repository, ref)


def _view_one(repository: Repository, ref: Ref) -> Viewed:
    viewed = _view(repository, repository.resolve(ref)[1], ref.path)
    assert viewed is not None  # it was compared just now
    return viewed


def _view(repository: Repository, version: Version, path: bytes) -> Viewed | None:
    from artifactfs.repository.trees import Trees
    from artifactfs.repository.viewing import Viewed

    root = _directory(repository, version, path, missing_ok=True)
    return None if root is None else Viewed("", root, Trees(repository.blobs), None, repository)


def _name(collection: Collection, version: Version | None) -> str | None:
    return None if version is None else f"{collection.name}:{version.name}"


def _directory(repository: Repository, version: Version, path: bytes, *, missing_ok: bool = False) -> Root | None:
    from artifactfs.errors import EntryNotFoundError
    from artifactfs.repository.treebuilder import StoredDirectory, make_root
    from artifactfs.repository.trees import Trees

    try:
        entry, place = Trees(repository.blobs).find_placed(version.root, path)
    except EntryNotFoundError:
        if missing_ok:
            return None
        raise
    if isinstance(entry, DirectoryEntry):
        return make_root(StoredDirectory(entry, place))
    msg = f"{path.decode(errors='replace')!r} is no directory"
    raise UsageError(msg, hint="diff compares directories")


def _compare(repository: Repository, old: Root | None, new: Root | None) -> Sequence[Change]:
    from artifactfs.repository.diff import diff_trees

    return diff_trees(repository, old, new)
