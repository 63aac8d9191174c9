"""The worked example of docs/format.md is true: its bytes decode without this project's code, and written by it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import msgspec

from artifactfs.blobstore.memory import MemoryStore
from artifactfs.blobstore.verifying import MemoryVerified
from artifactfs.digest import Digest
from artifactfs.manifest import build_page
from artifactfs.model import FileEntry, Placement, Root
from artifactfs.repository.objects import ContentStore
from artifactfs.repository.records import Commit, Record, encode_record
from artifactfs.storedpage import encode_stored
from tests.core.test_golden_packs import store_example

FORMAT = Path(__file__).parents[2] / "docs" / "format.md"
SECTION = FORMAT.read_text().partition("## 10. Worked example")[2]
KEY = re.compile(r"^    ((?:blobs|trees|packs|treepacks|collections)/\S+)\n((?:        .*\n)+)", re.MULTILINE)
TREEPACK_PLACE = 146, 181


def read_example() -> dict[str, bytes]:
    """Return the objects that the document shows, by key."""
    found = {}
    for key, block in KEY.findall(SECTION):
        lines = [line[8:] for line in block.splitlines()]
        if key.startswith("collections/"):
            found[key] = ("".join(lines[:-1]) + "\n" + lines[-1] + "\n").encode()
        else:
            found[key] = bytes.fromhex("".join(re.match(r"(?:[0-9a-f]{2} ?)+", line)[0] for line in lines))  # type: ignore[index]
    return found


EXAMPLE = read_example()


def split_page(data: bytes) -> tuple[object, object, bytes]:
    """Return what a stored page says, where its content lies, and its canonical bytes."""
    assert data[:4] == b"aft1"
    length = int.from_bytes(data[4:8], "little")
    canonical, placement = data[8 : 8 + length], data[8 + length :]
    return msgspec.msgpack.decode(canonical), msgspec.msgpack.decode(placement) if placement else None, canonical


def test_each_object_has_its_name() -> None:
    assert len(EXAMPLE) == 5
    for key, data in EXAMPLE.items():
        if key.startswith("trees/"):
            data = split_page(data)[2]  # noqa: PLW2901 (the name is that of the canonical bytes)
        if not key.startswith("collections/"):
            assert key.rpartition("/")[2] == hashlib.sha256(data).hexdigest(), key
            assert key.split("/")[1] == key.rpartition("/")[2][:2]


def test_from_the_record_to_the_bytes() -> None:
    line, seal, end = EXAMPLE["collections/animals/log/00000000000000000001"].split(b"\n")
    assert (seal, end) == (b"sha256:" + hashlib.sha256(line).hexdigest().encode(), b"")
    root = json.loads(line)["body"]["root"]
    tree = root["tree"].removeprefix("sha256:")
    page, placement, _ = split_page(EXAMPLE[f"trees/{tree[:2]}/{tree}"])
    level, [[kind, name, mode, mtime_ns, size, sha256, sums]] = page  # type: ignore[misc]
    assert (level, kind, name, mode, mtime_ns, size, sums, placement) == (0, 1, b"a", 0o644, 0, 4, None, None)
    assert EXAMPLE[f"blobs/{sha256.hex()[:2]}/{sha256.hex()}"] == b"cat\n"
    said = bytes.fromhex(re.search(r"`((?:[0-9a-f]{2} )+[0-9a-f]{2})`", SECTION)[1])  # type: ignore[index]
    assert root["content"] == "sha256:" + hashlib.sha256(said + sha256).hexdigest()


def test_from_a_placement_to_the_bytes() -> None:
    [(_, pack), (name, treepack)] = [(key, data) for key, data in EXAMPLE.items() if "packs/" in key]
    assert f'"placement":["sha256:{name.rpartition("/")[2]}",{TREEPACK_PLACE[0]},{TREEPACK_PLACE[1]}]' in SECTION
    offset, size = TREEPACK_PLACE
    (_, [_, directory]), (packs, places), _ = split_page(treepack[offset : offset + size])  # type: ignore[misc]
    assert (directory[0], directory[1]) == (2, b"d")
    assert pack[places[0][1] :][: places[0][2]] == b"cat\n"
    number, offset, size = places[1]
    assert number == 0, "in the same tree pack"
    (_, files), (packs, places), canonical = split_page(treepack[offset : offset + size])  # type: ignore[misc]
    assert hashlib.sha256(canonical).digest() == directory[4]
    read = {file[1]: pack[offset : offset + size] for file, (_, offset, size) in zip(files, places, strict=True)}
    assert read == {b"b": b"doggy\n", b"c": b"cat\n"}
    assert [f"packs/{found.hex()[:2]}/{found.hex()}" in EXAMPLE for found in packs] == [True]


def test_this_release_writes_these_bytes() -> None:
    blob = hashlib.sha256(b"cat\n").digest()
    page = build_page(0, (FileEntry(b"a", 0o644, 0, 4, blob),))
    root = Root(tree=str(page.digest), content=str(Digest(page.content)), mode=0o755, mtime_ns=0, size=4, count=1)
    record = Record(
        collection="animals",
        seq=1,
        previous="",
        change="0" * 32,
        time_ns=1_700_000_000_000_000_000,
        author="ada@host",
        body=Commit(version=0, type="dataset", root=root, aliases=("latest",)),
        message="first",
    )
    written = {
        f"blobs/{blob.hex()[:2]}/{blob.hex()}": b"cat\n",
        f"trees/{page.tree.hex()[:2]}/{page.tree.hex()}": encode_stored(page),
        "collections/animals/log/00000000000000000001": encode_record(record)[0],
    }
    assert {**written, **store_example()[0].objects} == EXAMPLE


def test_this_release_reads_these_bytes() -> None:
    store = MemoryStore()
    store.objects = dict(EXAMPLE)
    content = ContentStore(store, MemoryVerified())
    name = next(key for key in EXAMPLE if key.startswith("treepacks/"))
    pack = bytes.fromhex(name.rpartition("/")[2])
    _, _, canonical = split_page(EXAMPLE[name][TREEPACK_PLACE[0] :][: TREEPACK_PLACE[1]])
    top = content.read_tree(Digest(hashlib.sha256(canonical).digest()), Placement(pack, *TREEPACK_PLACE))
    assert [item.name for item in top.page.items] == [b"a", b"d"]  # type: ignore[union-attr]
