"""Manifests in the JSON form that W&B uses, and their digest: by it both sides prove that they hold the same content.

A manifest lists files, each with the base64 of its MD5, and references, each with what its store says of it. Its digest
is the MD5 of a heading and a line for each path. Links are the files that they point to, as W&B's `add_dir` takes them;
permission bits, times and empty directories are not in it.

Used by the SDK and the command line. Threading: functions over a Repository.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from artifactfs.errors import MalformedError, UsageError
from artifactfs.model import DirectoryEntry, FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import format_path, join_path, printable, split_path
from artifactfs.repository.trees import Trees, root_placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artifactfs.model import Entry, Placement, Root
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.trees import Placed

HEADING: Final = b"wandb-artifact-manifest-v1\n"
BLOCK: Final = 1 << 20
LINKS: Final = 40
"""How many links may follow each other, as on Linux."""


class ManifestEntry(Struct, frozen=True, omit_defaults=True):
    """A file or reference. Unknown fields are ignored.

    Attributes:
        digest: base64 of the MD5; of a reference what its store says of it, or its URI.
        size: bytes, if they are known.
        ref: the URI of a reference.
        extra: more, such as `alg` when the digest is no MD5.
    """

    digest: str
    size: Annotated[int, Meta(ge=0)] | None = None
    ref: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_md5(self) -> bool:
        """Whether it is a file whose MD5 is stated."""
        return self.ref is None and self.extra.get("alg", "MD5") == "MD5"


class Manifest(Struct, frozen=True, rename="camel"):
    """A manifest: entries by path."""

    contents: dict[str, ManifestEntry]
    storage_policy: str = "wandb-storage-policy-v1"
    storage_policy_config: dict[str, Any] = field(default_factory=lambda: {"storageLayout": "V2"})
    version: int = 1

    @property
    def digest(self) -> str:
        """32 hex digits: the MD5 of the heading and of a line `path:digest` for each path, in order."""
        hasher = hashlib.md5(HEADING, usedforsecurity=False)
        for path, entry in sorted(self.contents.items()):
            hasher.update(f"{path}:{entry.digest}\n".encode())
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Difference:
    """A path of which two manifests do not say the same: `added`, `removed` or `modified` in the second."""

    path: str
    what: str


def encode_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as W&B reads it, with paths in order."""
    ordered = dict(sorted(manifest.contents.items()))
    members = msgspec.to_builtins(msgspec.structs.replace(manifest, contents=ordered))
    return msgspec.json.format(msgspec.json.encode(members), indent=4) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Return a manifest that W&B, or `encode_manifest`, wrote.

    Raises:
        MalformedError: it is none, or one of another version.
        InvalidPathError, NameTooLongError: a path that no entry can have.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"it is no W&B manifest: {error}"
        raise MalformedError(msg, hint="wandb_manifest.json of an artifact is one") from error
    if manifest.version != 1:
        msg = f"the W&B manifest has the version {manifest.version}"
        raise MalformedError(msg, hint="only version 1 is known")
    for path in manifest.contents:
        split_path(path.encode())
    return manifest


def make_manifest(repository: Repository, root: Root, *, tell: Callable[[int], None] = lambda _size: None) -> Manifest:
    """Return the manifest of a version. All files are read and hashed.

    Args:
        repository: where it is.
        root: the version's.
        tell: is told of the bytes that were read.

    Raises:
        UsageError: a path that is not UTF-8, or a link to something that is no file of the version.
        BlobMissingError, DigestMismatchError, MalformedError: something stored is missing or damaged.
    """
    trees = Trees(repository.blobs)
    known: dict[bytes, str] = {}
    contents: dict[str, ManifestEntry] = {}
    for path, entry, place in trees.iter_placed(root.as_entry(), b"", root_placement(root)):
        if isinstance(entry, DirectoryEntry):
            continue
        if isinstance(entry, SymlinkEntry):
            entry, place = _follow(trees, root, path)  # noqa: PLW2901 (what the link stands for)
        contents[_as_text(path)] = _describe(repository, entry, place, known, tell)
    return Manifest(contents)


def compare(one: Manifest, other: Manifest) -> list[Difference]:
    """Return what two manifests do not say alike, in order of paths."""
    differences = [Difference(path, "removed") for path in one.contents.keys() - other.contents.keys()]
    differences += [Difference(path, "added") for path in other.contents.keys() - one.contents.keys()]
    for path in one.contents.keys() & other.contents.keys():
        if one.contents[path].digest != other.contents[path].digest:
            differences.append(Difference(path, "modified"))
    return sorted(differences, key=lambda difference: difference.path)


def encode_md5(blocks: Iterable[bytes]) -> str:
    """Return the base64 of the MD5 of some bytes."""
    hasher = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        hasher.update(block)
    return base64.b64encode(hasher.digest()).decode()


def state_of(entry: ReferenceEntry) -> str:
    """Return what a manifest states of a reference: its ETag without quotes, else its URI."""
    kind, value = entry.validator.kind, entry.validator.value
    return value.removeprefix("W/").strip('"') if kind in {"etag", "weak-etag"} else entry.uri


def _describe(
    repository: Repository,
    entry: Entry,
    place: Placement | None,
    known: dict[bytes, str],
    tell: Callable[[int], None],
) -> ManifestEntry:
    if isinstance(entry, ReferenceEntry):
        return ManifestEntry(state_of(entry), entry.size, entry.uri)
    assert isinstance(entry, FileEntry)
    digest = known.get(entry.sha256)
    if digest is None:
        digest = known[entry.sha256] = encode_md5(_read(repository, entry, place, tell))
    return ManifestEntry(digest, entry.size)


def _read(
    repository: Repository, entry: FileEntry, place: Placement | None, tell: Callable[[int], None]
) -> Iterator[bytes]:
    file = repository.open_file(entry, place)
    try:
        offset = 0
        while data := file.read_at(offset, BLOCK):
            offset += len(data)
            tell(len(data))
            yield data
    finally:
        file.close()


def _follow(trees: Trees, root: Root, path: bytes) -> Placed:
    """Return the file that a link in a version stands for."""
    walked = path
    for _ in range(LINKS):
        found = _find(trees, root, walked)
        if found is None or isinstance(found[0], DirectoryEntry):
            break
        if not isinstance(found[0], SymlinkEntry):
            return found
        target = _resolve(walked.rpartition(b"/")[0], found[0].target)
        if target is None:
            break
        walked = target
    msg = f"{printable(path)!r} is a link to something that is no file of the version"
    raise UsageError(msg, hint="W&B's manifests list files only", subject=format_path(path))


def _find(trees: Trees, root: Root, path: bytes) -> Placed | None:
    """Return what is at a path, following links to directories on the way."""
    names, walked, links = list(split_path(path)), b"", 0
    found: Placed = (root.as_entry(), root_placement(root))
    while names:
        directory = found[0]
        below = trees.find_child(directory, names[0], found[1]) if isinstance(directory, DirectoryEntry) else None
        if below is None:
            return None
        name = names.pop(0)
        if names and isinstance(below[0], SymlinkEntry):
            target, links = _resolve(walked, below[0].target), links + 1
            if target is None or links > LINKS:
                return None
            names, walked = [*split_path(target), *names], b""
            found = (root.as_entry(), root_placement(root))
        else:
            found, walked = below, join_path(walked, name)
    return found


def _resolve(directory: bytes, target: bytes) -> bytes | None:
    """Return the entry path that a link in a directory points to, or None when it leaves the version."""
    if target.startswith(b"/"):
        return None
    names = list(split_path(directory))
    for name in target.split(b"/"):
        if name == b"..":
            if not names:
                return None
            names.pop()
        elif name not in (b"", b"."):
            names.append(name)
    return b"/".join(names)


def _as_text(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError as error:
        msg = f"the path {printable(path)!r} is not UTF-8"
        raise UsageError(msg, hint="W&B's manifests are text", subject=format_path(path)) from error
