"""What differs between two versions, and what differs in one file.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final, NotRequired, TypedDict, cast

from msgspec import Meta, Struct

from artifactfs.errors import EntryNotFoundError
from artifactfs.model import Root
from artifactfs.paths import parse_ref
from artifactfs.repository.described import ChangeFields, change_fields
from artifactfs.repository.diff import Change, diff_trees
from artifactfs.repository.past import find_before
from artifactfs.repository.staging import StagingArea
from artifactfs.repository.textdiff import ViewedSide, iter_lines
from artifactfs.serve.kinds import find_kind
from artifactfs.serve.looking import find_viewed, look
from artifactfs.serve.operations import Limit, Offset, Path, Ref
from artifactfs.serve.previews.preview import Preview, preview

if TYPE_CHECKING:
    from artifactfs.model import Root
    from artifactfs.serve.context import Context
    from artifactfs.serve.looking import Place

COMPARED_BYTES: Final = 256 << 10
COMPARED_LINES: Final = 5000
"""Larger files are not compared line by line: that takes a time that grows with the square."""
LINES_SHOWN: Final = 3000


class ListedChange(ChangeFields):
    """A change, and what the file is shown as."""

    shown_as: str


class Changes(TypedDict):
    """What differs, in order of paths; `counts` by kind, `total` of those that were asked for."""

    old: str | None
    new: str
    changes: list[ListedChange]
    counts: dict[str, int]
    total: int
    offset: int


class FileChange(TypedDict):
    """What differs in one file: previews of both sides, and of texts the lines, as `diff -u` has them."""

    old: Preview | None
    new: Preview | None
    lines: NotRequired[list[str]]
    is_cut: bool
    problem: str


class DiffParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Two versions; without `old`, the one that `new` was made from."""

    new: Ref
    old: Annotated[
        str, Meta(max_length=4096, description="The version before; empty for the one it was made from.")
    ] = ""
    kind: Annotated[str, Meta(max_length=20, description="Only changes of this kind.")] = ""
    offset: Offset = 0
    limit: Limit = 200


class FileDiffParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A path in two versions."""

    old: Ref
    new: Ref
    path: Path
    old_path: Path = ""


def diff_versions(context: Context, wanted: DiffParameters) -> Changes:
    """What differs between two versions; renames are found by content."""
    new = find_viewed(context, wanted.new)
    old_ref = wanted.old or _find_before(context, wanted.new)
    old = find_viewed(context, old_ref) if old_ref else None
    roots = old.root if old else None, new.root
    trees = new.trees if new.staging is not None else context.trees
    found = context.memo.get(("diff", *map(_key, roots)), lambda: diff_trees(trees, *roots))
    shown = [change for change in found if wanted.kind in ("", change.kind)]
    return {
        "old": old.ref if old else None,
        "new": new.ref,
        "changes": [_list_change(change) for change in shown[wanted.offset : wanted.offset + wanted.limit]],
        "counts": dict(Counter(change.kind for change in found)),
        "total": len(shown),
        "offset": wanted.offset,
    }


def diff_file(context: Context, wanted: FileDiffParameters) -> FileChange:
    """What differs in one file: lines of text, columns and rows of tables, or both sides of anything else."""
    old = _find(context, wanted.old, wanted.old_path or wanted.path)
    new = _find(context, wanted.new, wanted.path)
    known = new or old
    if known is None:
        msg = f"neither {wanted.old} nor {wanted.new} has this path"
        raise EntryNotFoundError(msg)
    before, after = (None if side is None else preview(side) for side in (old, new))
    answer: FileChange = {"old": _shorten(before), "new": _shorten(after), "is_cut": False, "problem": ""}
    texts = [side for side in (before, after) if side is not None]
    if any("lines" not in side and "document" not in side for side in texts):
        return answer
    if any(side["size"] > COMPARED_BYTES or len(side.get("lines", ())) > COMPARED_LINES for side in texts):
        return {**answer, "problem": "too large to be compared by line"}
    change = Change(
        "modified", known.path, old.path if old else None, old.entry if old else None, new.entry if new else None
    )
    found = iter_lines(change, ViewedSide(old.viewed if old else None), ViewedSide(known.viewed))
    lines = [line.decode("utf-8", "replace").rstrip("\r\n") for line in found]
    if not any(line.startswith("@@ ") for line in lines):
        lines = []  # another name or other permission bits only
    return {**answer, "lines": lines[:LINES_SHOWN], "is_cut": len(lines) > LINES_SHOWN}


def _find(context: Context, ref: str, path: str) -> Place | None:
    try:
        return look(context, ref, path)
    except EntryNotFoundError:
        return None


def _shorten(side: Preview | None) -> Preview | None:
    """Return a preview without the text, which the lines of the difference have."""
    if side is None:
        return None
    return cast("Preview", {key: value for key, value in side.items() if key not in ("lines", "document")})


def _list_change(change: Change) -> ListedChange:
    entry = change.new or change.old
    assert entry is not None
    shown_as = find_kind(change.path.rpartition(b"/")[2], entry)
    return {**change_fields(change), "shown_as": shown_as}


def _key(root: Root | None) -> str:
    return "" if root is None else root.tree


def _find_before(context: Context, ref: str) -> str:
    """Return the version that another, or a staging directory, was made from; "" when there is none."""
    parsed = parse_ref(ref)
    if parsed.staging is not None:
        number = StagingArea(context.repository).get(parsed.collection, parsed.staging).info.present
        return "" if number is None else f"{parsed.collection}:v{number}"
    collection, version = context.repository.resolve(parsed)
    before = find_before(collection, version)
    return "" if before is None else f"{collection.name}:{before.name}"
