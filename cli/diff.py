"""`artifactfs diff`: list what differs between two versions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.errors import UsageError
from artifactfs.model import DirectoryEntry
from artifactfs.paths import Ref, parse_ref

from .changes import change_fields, print_changes
from .completing import complete_ref
from .inside import find_inside, show_diff
from .lines import print_lines
from .options import BytesPath, Command
from .output import print_json
from .running import pin_ref
from .session import current_session
from .staged import find_staging_name
from .within import choose, find_within, names_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.model import Collection, Root, Version
    from artifactfs.repository.diff import Change
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.viewing import Viewed

    from .within import Within


@click.command("diff", cls=Command)
@click.argument("arguments", nargs=-1, metavar="[REF [REF]] | [PATH]...", type=BytesPath(), shell_complete=complete_ref)
@click.option("--sizes", is_flag=True, help="Print how many bytes each file has, before and now.")
@click.option("--lines", is_flag=True, help="Print the lines of text files that differ, as git does.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything differs.")
def command(arguments: tuple[bytes, ...], *, sizes: bool, lines: bool, exit_code: bool) -> None:
    """List what differs between two versions, or with one REF, from the version before.

    A staging directory is compared with the version that it was made from. Inside one no REF is needed: it lists what
    differs there, or at or below each PATH, which is relative to the working directory. The letters: A added,
    D deleted, M modified, R renamed, T of another kind, P other permission bits.
    """
    session = current_session()
    within = None if arguments and names_version(arguments[0]) else find_within(session)
    refs, paths = _find_meant(within, arguments)
    is_staging = not refs or (len(refs) == 1 and refs[0].staging is not None)
    inside = find_inside(session, str(refs[0]) if refs else None) if is_staging else None
    if inside is not None:
        found_any = show_diff(session, inside, paths, sizes=sizes, lines=lines)
        click.get_current_context().exit(1 if found_any and exit_code else 0)
    if not refs:
        collection, name = find_staging_name(session, None)
        refs = [Ref(collection, f"@{name}")]
    with session.open_repository() as repository:
        refs = [pin_ref(repository, ref) for ref in refs]
        old, new, found = _diff_one(repository, *refs) if len(refs) == 1 else _diff_two(repository, *refs)
        if within is not None:
            found = choose(found, paths, top=within.top)
        if lines and not session.json:
            from artifactfs.repository.textdiff import ViewedSide

            old_side, new_side = _view_sides(repository, *refs)
            print_lines(found, ViewedSide(old_side), ViewedSide(new_side))
    if session.json:
        print_json({"old": old, "new": new, "changes": [change_fields(change) for change in found]})
    elif not lines:
        print_changes(found, sizes=sizes)
    if exit_code and found:
        click.get_current_context().exit(1)


def _find_meant(within: Within | None, arguments: tuple[bytes, ...]) -> tuple[list[Ref], list[bytes]]:
    """Return one or two REFs, or for the staging directory that we are in none and entry paths.

    Raises:
        UsageError: there are as many as are no REFs outside of a staging directory.
        InvalidPathError: a path leads out of the staging directory.
    """
    if within is not None and not (arguments and all(_is_ref(within, argument) for argument in arguments)):
        return [], [within.resolve(path) for path in arguments]
    if len(arguments) in (1, 2):
        return [parse_ref(os.fsdecode(argument)) for argument in arguments], []
    msg = "one or two REFs are needed: this is not inside a staging directory"
    raise UsageError(msg if within is None else "diff compares one or two REFs", hint="write NAME:vN or NAME:@STAGING")


def _is_ref(within: Within, argument: bytes) -> bool:
    return names_version(argument) or within.names_collection(argument, may_go_on=True)


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


def _view_sides(repository: Repository, ref: Ref, other: Ref | None = None) -> tuple[Viewed | None, Viewed]:
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
