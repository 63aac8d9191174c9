"""Golden vectors of packs and tree packs, and repositories that earlier releases wrote: read alike, for ever.

`loose` has each file and page as an object of its own, as before there were packs; `packs` has them in packs, and a
second version with one more file. A vector and a repository never change; new ones may be added.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import pack_key, treepack_key
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.blobstore.verifying import MemoryVerified
from artifactfs.model import FileEntry
from artifactfs.repository.objects import ContentStore
from artifactfs.repository.repository import open_repository
from artifactfs.repository.treebuilder import TreeBuilder, make_root
from artifactfs.repository.trees import Trees, root_placement

GOLDEN = json.loads((Path(__file__).parent / "golden" / "packs1.json").read_text())
REPOSITORIES = Path(__file__).parent / "golden" / "repositories"
CAT, DOG = b"cat\n", b"doggy\n"


def store_example() -> tuple[MemoryStore, object]:
    """Store `a` (cat), `d/b` (doggy) and `d/c` (cat again), as docs/format.md section 10 has it."""
    store = MemoryStore()
    with ContentStore(store, MemoryVerified(), packed_below=1 << 20).begin() as batch:
        builder = TreeBuilder(batch)
        cat, dog = batch.store_bytes(CAT), batch.store_bytes(DOG)
        inner = [FileEntry(name, 0o644, 0, blob.size, blob.sha256) for name, blob in ((b"b", dog), (b"c", cat))]
        below = builder.store_directory(
            b"d", mode=0o755, mtime_ns=0, entries=inner, places={b"b": dog.place, b"c": cat.place}
        )
        entries = [FileEntry(b"a", 0o644, 0, cat.size, cat.sha256), below.entry]
        top = builder.store_directory(
            b"/", mode=0o755, mtime_ns=0, entries=entries, places={b"a": cat.place, b"d": below.place}
        )
        batch.flush()
    return store, make_root(top)


def test_a_pack_and_a_tree_pack_have_these_bytes() -> None:
    store, root = store_example()
    assert {key: data.hex() for key, data in store.objects.items()} == GOLDEN["objects"]
    assert list(root.placement) == GOLDEN["placement"]  # type: ignore[attr-defined]
    pack, treepack = GOLDEN["pack"], GOLDEN["treepack"]
    assert {pack_key(bytes.fromhex(pack)), treepack_key(bytes.fromhex(treepack))} == set(store.objects)
    assert store.objects[pack_key(bytes.fromhex(pack))] == CAT + DOG


FILES = {
    b"README": b"tiny\n",
    b"empty": b"",
    b"images/again.txt": b"cat\n",
    b"images/cat.txt": b"cat\n",
    b"large.bin": bytes(range(256)) * 4096,
    b"link": "images/cat.txt",
}


@pytest.mark.parametrize("name", ["loose", "packs"])
def test_a_repository_of_an_earlier_release_is_read_and_written_to(name: str, tmp_path: Path) -> None:
    location = tmp_path / "repository"
    shutil.copytree(REPOSITORIES / name, location)
    with open_repository(str(location), state=str(tmp_path / "state"), author="tester") as repository:
        versions = repository.get_collection("tiny").versions
        assert len(versions) == (1 if name == "loose" else 2)
        for version in versions.values():
            found: dict[bytes, object] = {}
            trees = Trees(repository.blobs)
            for path, entry, place in trees.iter_placed(version.root.as_entry(), b"", root_placement(version.root)):
                if isinstance(entry, FileEntry):
                    found[path] = repository.open_file(entry, place).read_at(0, 3 << 20)
                elif not hasattr(entry, "tree"):
                    found[path] = entry.target.decode()  # type: ignore[union-attr]
            expected = FILES if version.number == 0 else {**FILES, b"new": b"new\n"}
            assert found == expected
