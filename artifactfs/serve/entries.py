"""Directories, in windows of any size and from anywhere, and what is known of one entry.

Part of the API. Threading: functions without state.
"""

from __future__ import annotations

import os
import shlex
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict, cast

from msgspec import Meta, Struct

from artifactfs.errors import ArtifactFSError, EntryNotFoundError
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry
from artifactfs.paths import join_path, parse_ref
from artifactfs.repository.described import EntryFields, entry_fields, name_fields
from artifactfs.repository.past import find_origin
from artifactfs.repository.presence import find_presence
from artifactfs.serve.kinds import find_kind
from artifactfs.serve.looking import look
from artifactfs.serve.machine import find_path
from artifactfs.serve.operations import Limit, Offset, Path, Ref

if TYPE_CHECKING:
    from artifactfs.model import Entry, Placement
    from artifactfs.serve.context import Context
    from artifactfs.serve.looking import Place

READMES = (b"README.md", b"readme.md", b"README.txt", b"README")


class ListedFields(EntryFields):
    """An entry of a list: its last name, what a preview would show, and where its bytes are."""

    name: str
    shown_as: str
    presence: NotRequired[str]


class Window(TypedDict):
    """A part of a directory, in order of names.

    `total` is how many entries it has, `number` that of the one called `find`, `readme` one to be shown first.
    """

    ref: str
    path: str
    path_base64: NotRequired[str]
    entries: list[ListedFields]
    total: int
    offset: int
    number: int | None
    readme: str | None


class EntryDetail(TypedDict):
    """An entry.

    `changed_in` is the version that last changed it, None for staging directories; `drift` says how what a reference
    names is another by now, if it was asked for and is. `command` and `code` get it; empty where nothing does.
    """

    ref: str
    entry: ListedFields
    changed_in: str | None
    drift: str | None
    command: str
    code: str


class WindowParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a directory."""

    ref: Ref
    path: Path = ""
    offset: Offset = 0
    limit: Limit = 200
    find: Annotated[str, Meta(max_length=1024, description="A name of which the number is wanted.")] = ""


class EntryParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry."""

    ref: Ref
    path: Path = ""


class EntryDetailParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry; with `check`, a reference is looked at where it leads."""

    ref: Ref
    path: Path = ""
    check: bool = False


def list_entries(context: Context, wanted: WindowParameters) -> Window:
    """A part of a directory, in order of names. What comes before it is not read."""
    place = look(context, wanted.ref, wanted.path)
    entry, trees = place.entry, place.viewed.trees
    if not isinstance(entry, DirectoryEntry):
        msg = f"{wanted.ref}/{place.name} is no directory"
        raise EntryNotFoundError(msg, subject=place.name)
    found = islice(trees.iter_from(entry, wanted.offset, place.placement), wanted.limit)
    readme = next((name for name in READMES if trees.find_child(entry, name, place.placement)), None)
    fields: dict[str, Any] = {
        "ref": place.viewed.ref,
        **name_fields("path", place.path),
        "entries": [list_fields(context, join_path(place.path, each.name), each, at) for each, at in found],
        "total": trees.count_entries(entry, place.placement),
        "offset": wanted.offset,
        "number": trees.find_number(entry, os.fsencode(wanted.find), place.placement) if wanted.find else None,
        "readme": None if readme is None else join_path(place.path, readme).decode("utf-8", "replace"),
    }
    return cast("Window", fields)


def get_entry(context: Context, wanted: EntryDetailParameters) -> EntryDetail:
    """One entry: digests, sizes, where its bytes are, what changed it last, and how to use it."""
    place = look(context, wanted.ref, wanted.path)
    drift, entry = None, place.entry
    if wanted.check and isinstance(entry, ReferenceEntry):
        drift = context.repository.references.find_drift(entry)
    ref, is_directory = place.viewed.ref, isinstance(place.entry, DirectoryEntry)
    command, code = _find_on_disk(context, place), ""
    if place.viewed.staging is None:
        command = _format_command(ref, place.path, is_directory=is_directory)
        code = _format_code(ref, place.path, is_directory=is_directory)
    return {
        "ref": ref,
        "entry": list_fields(context, place.path, place.entry, place.placement),
        "changed_in": _find_changer(context, ref, place.path) if place.viewed.staging is None else None,
        "drift": drift,
        "command": command,
        "code": code,
    }


def list_fields(context: Context, path: bytes, entry: Entry, placement: Placement | None) -> ListedFields:
    """Return an entry as a member of a list."""
    name = path.rpartition(b"/")[2]
    fields: dict[str, Any] = {
        **entry_fields(path, entry),
        **name_fields("name", name),
        "shown_as": find_kind(name, entry),
    }
    if isinstance(entry, FileEntry | ReferenceEntry):
        fields["presence"] = str(find_presence(context.repository, entry, placement))
    return cast("ListedFields", fields)


def _find_changer(context: Context, ref: str, path: bytes) -> str | None:
    if not path:
        return None
    try:
        collection, version = context.repository.resolve(parse_ref(ref))
        return f"{collection.name}:{find_origin(context.trees, collection, version, path).version.name}"
    except ArtifactFSError:
        return None  # an older version is damaged: this one can be shown all the same


def _find_on_disk(context: Context, place: Place) -> str:
    """Return where something in a staging directory can be seen, for a shell; "" when it is not mounted."""
    staging = place.viewed.staging
    found = None if staging is None else find_path(context, staging)
    return "" if found is None else _quote(os.path.join(os.fsencode(found), place.path) if place.path else found)


def _format_command(ref: str, path: bytes, *, is_directory: bool) -> str:
    # A directory is copied to ./artifacts unless its place is new or empty, which this one seldom is.
    return f"artifactfs get {_quote(join_path(ref.encode(), path) if path else ref)}{'' if is_directory else ' .'}"


def _quote(word: str | bytes) -> str:
    r"""Return a word for bash or zsh; bytes that are not UTF-8, and what would not be seen, as escapes.

    >>> print(_quote("a b"), _quote(b"it's \xff"))
    'a b' $'it\'s \xff'
    """
    data = os.fsencode(word)
    text = data.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escape, text)) + "'"


def _escape(letter: str) -> str:
    if letter in "\\'":
        return "\\" + letter
    if letter.isprintable():
        return letter
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def _format_code(ref: str, path: bytes, *, is_directory: bool) -> str:
    try:
        imports, named = "import artifactfs", repr(path.decode())
    except UnicodeDecodeError:
        imports, named = "import os\n\nimport artifactfs", f"os.fsdecode({path!r})"
    first = f"{imports}\n\nrun = artifactfs.init()\nartifact = run.use_artifact({ref!r})\n"
    if is_directory:
        return first + f"directory = artifact.download({f'path_prefix={named}' if path else ''})"
    return first + f"path = artifact.get_entry({named}).download()"
