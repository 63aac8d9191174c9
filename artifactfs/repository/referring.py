"""Putting references: which entries a URI gives, and where they go.

As with local paths, `s3://bucket/images` keeps its name, and of `s3://bucket/images/` the contents go to the root. Of a
local directory links stay links, and sockets, FIFOs and devices are refused unless whoever puts leaves them out.

Used by put and the SDK. Threading: functions; a plan belongs to one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from artifactfs.errors import ArtifactFSError, InvalidNameError, UsageError
from artifactfs.model import SymlinkEntry
from artifactfs.paths import join_path, printable, split_path
from artifactfs.reference.base import Folder, Special
from artifactfs.reference.uris import ARTIFACT_SCHEME, BUCKET_SCHEMES, MAX_OBJECTS, RENAME, is_artifact_uri, redact_uri
from artifactfs.repository.scan import find_special, refuse_special
from artifactfs.repository.sources import Planned, Source, add_entry, add_folder, add_source, drop_path, find_planned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.references import Found, References

    Ordinary = ReferenceEntry | SymlinkEntry | Folder

_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Referred:
    """A URI, and where what it names goes.

    Attributes:
        uri: of an object, of a prefix, or of entries of a version.
        at: the entry path that it gets; b"" puts what lies below a prefix at the root; None decides by how `uri` is
            written.
        checksum: whether to record what tells one content from another.
        max_objects: how many objects there may be.
        allow_signed: whether the query may hold a signature.
        run: id of the run whose aliases an `artifact://` means; None takes them as they are now.
    """

    uri: str
    at: bytes | None = None
    checksum: bool = True
    max_objects: int = MAX_OBJECTS
    allow_signed: bool = False
    run: str | None = None

    @property
    def is_artifact(self) -> bool:
        """Whether the URI names entries of a version, which are taken over; see `taking.py`."""
        return is_artifact_uri(self.uri)

    @property
    def target(self) -> bytes:
        """The entry path that it gets."""
        if self.at is not None:
            return self.at
        scheme, _, rest = self.uri.partition("://")
        if scheme.lower() in (*BUCKET_SCHEMES, ARTIFACT_SCHEME):
            return rest.partition("/")[2].rpartition("/")[2].encode("utf-8", "surrogateescape")
        path = rest.partition("?")[0].partition("/")[2]
        return unquote_to_bytes(path.rpartition("/")[2])


def list_referred(references: References, referred: Referred) -> list[tuple[bytes, Ordinary]]:
    """Return entry path and entry of each object that a URI names; b"" of a directory is the root.

    Raises:
        UsageError: there are sockets, FIFOs or devices, all of which are named; or see `iter_referred`.
        ArtifactFSError: see `iter_referred`.
    """
    found: list[tuple[bytes, Ordinary]] = []
    special: dict[bytes, str] = {}
    for path, entry in iter_referred(references, referred):
        if isinstance(entry, Special):
            special[path] = find_special(entry.mode) or "special file"
        else:
            found.append((path, entry))
    if special:
        raise refuse_special(special, hint="name what lies beside them one by one")
    return found


def iter_referred(references: References, referred: Referred) -> Iterator[tuple[bytes, Found]]:
    """Yield entry path and entry of each object that a URI names; b"" of a directory is the root.

    Raises:
        UsageError: there are too many objects, or no reference can have this URI, or it has no name.
        SourceNotFoundError: there is nothing.
        InvalidPathError, NameTooLongError: an object has a name that no entry can have.
        RemoteError, AccessDeniedError: it cannot be reached or may not be read.
    """
    for below, entry in references.iter_entries(
        referred.uri,
        checksum=referred.checksum,
        max_objects=referred.max_objects,
        allow_signed=referred.allow_signed,
    ):
        path = join_path(referred.target, below) if below and referred.target else below or referred.target
        if not path and not isinstance(entry, Folder):
            shown = redact_uri(referred.uri)
            raise UsageError(f"{shown} has no name that a file could get", hint="give it a name", subject=shown)
        _check_path(path, referred.uri if isinstance(entry, SymlinkEntry) else entry.uri)
        yield path, entry


def _check_path(path: bytes, uri: str) -> None:
    try:
        split_path(path)
    except InvalidNameError as error:
        shown = redact_uri(uri)[:_SHOWN]
        msg = f"{shown} cannot be a reference: {error.message}"
        raise type(error)(msg, hint=f"{RENAME}, or add the prefixes beside it one by one", subject=shown) from None


def plan_reference(
    root: Planned, references: References, referred: Referred, *, plans_special: bool = False
) -> tuple[bytes, ...]:
    """Add what a URI names to a plan, and return the entry paths of all but directories.

    When it raises, the plan is as it was.

    With `plans_special` sockets, FIFOs and devices are planned as the local paths that they are, so that whoever stores
    the plan refuses them, or leaves them out; else they are refused here.

    Raises:
        UsageError: there are too many objects, or no reference can have this URI, or it has no name.
        SourceNotFoundError: there is nothing.
        AlreadyExistsError: a name is taken.
        InvalidPathError, NameTooLongError: an object has a name that no entry can have.
        RemoteError, AccessDeniedError: it cannot be reached or may not be read.
    """
    found = list(iter_referred(references, referred) if plans_special else list_referred(references, referred))
    made: list[bytes] = []
    try:
        for path, entry in found:
            is_new = find_planned(root, path) is None
            if isinstance(entry, Special):
                add_source(root, Source(entry.path, path))
            elif isinstance(entry, Folder):
                add_folder(root, path, entry.modified_ns, redact_uri(entry.uri))
            else:
                add_entry(root, path, entry)
            made += [path] if is_new else []
    except ArtifactFSError:
        for path in reversed(made):
            drop_path(root, path)
        raise
    return tuple(path for path, entry in found if not isinstance(entry, Folder))


def describe_reference(referred: Referred) -> str:
    """Return one line that says what was laid out how."""
    shown = redact_uri(referred.uri)
    return f"{shown} as {printable(referred.target)}" if referred.target else f"what lies below {shown} at the root"
