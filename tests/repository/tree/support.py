"""What the tests of trees, put, checkout, diff and verify share: pages in memory, and local trees as values."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

from artifactfs.digest import Digest
from artifactfs.errors import BlobMissingError
from artifactfs.manifest import Page
from artifactfs.model import DirectoryEntry, Entry, FileEntry, Placement, Root, SymlinkEntry
from artifactfs.repository.treebuilder import StoredDirectory, TreeBuilder, make_root
from artifactfs.repository.treepacks import AnyPlace, as_placement
from artifactfs.repository.trees import Trees
from artifactfs.storedpage import StoredPage, decode_stored, encode_stored


class MemoryPages:
    """Stored pages in memory; counts what is read and written."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.reads = 0
        self.writes = 0

    def store_tree(self, page: Page, places: Sequence[AnyPlace] = ()) -> AnyPlace:
        self.writes += 1
        self.pages[page.tree] = encode_stored(page, [as_placement(place) for place in places])
        return None

    def read_tree(self, digest: Digest, placement: Placement | None = None) -> StoredPage:
        self.reads += 1
        if digest.raw not in self.pages:
            raise BlobMissingError(f"no {digest}")
        return decode_stored(self.pages[digest.raw], expected=digest)


def file_entry(name: bytes, content: int = 0, *, mode: int = 0o644, size: int = 1) -> FileEntry:
    return FileEntry(name, mode, 0, size, content.to_bytes(4, "big") * 8)


# A tree as a value: a directory is a dict, a file (content, mode), a link a string.
Tree = dict[bytes, "Tree | tuple[bytes, int] | str"]  # type: ignore[misc]

NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"d"]),
    st.binary(min_size=1, max_size=12).filter(
        lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..", b".artifactignore")
    ),
)
FILES = st.tuples(st.sampled_from([b"", b"x", b"y", b"some text", b"z" * 5000]), st.sampled_from([0o644, 0o755, 0o400]))
LINKS = st.sampled_from(["a", "../..", "/etc/passwd", "nowhere/at/all"])
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(NAMES, st.one_of(FILES, LINKS), max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(FILES, LINKS, inner), max_size=4),
    max_leaves=12,
)


def build(builder: TreeBuilder, tree: Tree, name: bytes = b"/") -> DirectoryEntry:
    """Store a tree value and return its directory entry."""
    entries: list[Entry] = []
    for child, value in tree.items():
        if isinstance(value, dict):
            entries.append(build(builder, value, child))
        elif isinstance(value, str):
            entries.append(SymlinkEntry(child, 0o777, 0, os.fsencode(value)))
        else:
            content, mode = value
            entries.append(FileEntry(child, mode, 0, len(content), hash_of(content)))
    return builder.store_directory(name, mode=0o755, mtime_ns=0, entries=entries).entry


def root_of(entry: DirectoryEntry) -> Root:
    """Return a directory whose pages are objects of their own as a root."""
    return make_root(StoredDirectory(entry, None))


def hash_of(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def flatten(tree: Tree, prefix: bytes = b"") -> dict[bytes, tuple[bytes, int] | str | None]:
    """Return leaf by path; an empty directory is None."""
    found: dict[bytes, tuple[bytes, int] | str | None] = {}
    for name, value in tree.items():
        path = prefix + name
        if isinstance(value, dict):
            found.update(flatten(value, path + b"/") if value else {path: None})
        else:
            found[path] = value
    return found


def write(tree: Tree, directory: bytes) -> None:
    """Write a tree value to an existing local directory."""
    for name, value in tree.items():
        path = os.path.join(directory, name)
        if isinstance(value, dict):
            os.mkdir(path)
            write(value, path)
        elif isinstance(value, str):
            os.symlink(value, path)
        else:
            content, mode = value
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)


def snapshot(directory: str | Path, *, times: bool = True) -> dict[bytes, tuple[object, ...]]:
    """Return everything that a version keeps about what is in a local directory, by path; b"." is itself."""
    top = os.fsencode(directory)
    found: dict[bytes, tuple[object, ...]] = {}
    waiting = [b"."]
    while waiting:
        path = waiting.pop()
        local = os.path.join(top, path)
        status = os.lstat(local)
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(local)
        elif stat.S_ISREG(status.st_mode):
            with open(local, "rb") as file:
                content = file.read()
        else:
            waiting += [os.path.join(path, name) for name in os.listdir(local)]
        mode = status.st_mode & 0o777 if not stat.S_ISLNK(status.st_mode) else None
        found[path] = (stat.S_IFMT(status.st_mode), mode, status.st_mtime_ns if times else None, content)
    return found


def memory() -> tuple[MemoryPages, Trees, TreeBuilder]:
    pages = MemoryPages()
    trees = Trees(pages)
    return pages, trees, TreeBuilder(pages, trees)
