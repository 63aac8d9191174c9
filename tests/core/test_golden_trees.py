"""Golden vectors of the repository format: trees and records of format 1 are these bytes, for ever.

A vector never changes; a new one may be added. docs/format.md describes what they show.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifactfs.digest import hash_bytes
from artifactfs.errors import MalformedError
from artifactfs.manifest import build_directory, decode_page
from artifactfs.model import (
    DirectoryEntry,
    Entry,
    FileEntry,
    Placement,
    ReferenceEntry,
    Root,
    SymlinkEntry,
    Validator,
)
from artifactfs.repository.records import Commit, DeleteVersion, Pin, Record, SetAliases, encode_record
from artifactfs.storedpage import decode_stored, encode_stored

GOLDEN = json.loads((Path(__file__).parent / "golden" / "format1.json").read_text())
CAT = hash_bytes(b"cat\n").raw
BIG = FileEntry(b"big", 0o755, 1_700_000_000_123_456_789, 5 << 20, b"\x01" * 32, b"\x02" * 32)
LINK = SymlinkEntry(b"link", 0o777, -1, b"../elsewhere")
REFERENCE = ReferenceEntry(
    b"remote", 0o644, 0, 7, "s3://bucket/key", Validator("etag", '"abc"'), b"\x03" * 32, has_sha256=False
)
KNOWN_REFERENCE = ReferenceEntry(
    b"sure", 0o644, 0, 4, "https://host/cat", Validator("sha256", CAT.hex()), CAT, has_sha256=True
)
EXAMPLE: list[Entry] = [FileEntry(b"a", 0o644, 0, 4, CAT)]
EVERYTHING: list[Entry] = [
    *EXAMPLE,
    BIG,
    DirectoryEntry(b"dir", 0o750, 5, b"\x04" * 32, b"\x05" * 32, 10, 2),
    LINK,
    REFERENCE,
    KNOWN_REFERENCE,
    FileEntry(b"\xff", 0o600, 2**63 - 1, 0, hash_bytes(b"").raw),
]
MANY: list[Entry] = [FileEntry(b"%06d" % number, 0o644, number, 4, CAT) for number in range(3000)]
ROOT = Root("sha256:" + "0" * 64, "sha256:" + "1" * 64, 0o755, 5, 6, 7)
BODIES = {
    "commit": Commit(
        version=1,
        type="dataset",
        root=ROOT,
        aliases=("latest",),
        metadata={"b": 1, "a": [0.5, None]},
        tags=("t",),
        base=0,
    ),
    "set-aliases": SetAliases(version=0, aliases=("best", "ö")),
    "delete-version": DeleteVersion(version=0),
    "pin": Pin(pin="p", version=0, purpose="staging directory @staging"),
}


@pytest.mark.parametrize(("name", "entries"), [("empty", []), ("example", EXAMPLE), ("everything", EVERYTHING)])
def test_a_page_has_these_bytes_and_digests(name: str, entries: list[Entry]) -> None:
    golden = GOLDEN["pages"][name]
    [page] = build_directory(entries)
    assert page.data.hex() == golden["canonical"]
    assert page.tree.hex() == golden["tree"]
    assert page.content.hex() == golden["content"]
    assert [page.size, page.count, page.entry_count] == golden["totals"]
    assert decode_page(bytes.fromhex(golden["canonical"])).items == tuple(entries)


def test_a_large_directory_falls_into_these_pages() -> None:
    pages = build_directory(MANY)
    assert [[page.level, page.entry_count, page.tree.hex()] for page in pages] == GOLDEN["large"]["pages"]
    assert pages[-1].content.hex() == GOLDEN["large"]["content"]


def test_a_stored_page_says_where_its_content_lies() -> None:
    [page] = build_directory(EXAMPLE)
    golden = GOLDEN["stored"]
    assert encode_stored(page).hex() == golden["loose"]
    placed = encode_stored(page, [Placement(b"\x06" * 32, 10, 4)])
    assert placed.hex() == golden["packed"]
    assert decode_stored(placed, expected=page.digest).placements == (Placement(b"\x06" * 32, 10, 4),)
    inside = encode_stored(page, [Placement(b"\0" * 32, 10, 4)])
    assert inside.hex() == golden["in the same pack"]
    assert decode_stored(inside, expected=page.digest, holder=b"\x07" * 32).placements[0].pack == b"\x07" * 32


@pytest.mark.parametrize("name", BODIES)
def test_a_record_has_these_bytes(name: str) -> None:
    record = Record("animals", 2, "sha256:" + "2" * 64, "3" * 32, 4, "ada@host", BODIES[name], message="why")
    data, digest = encode_record(record)
    assert [data.decode(), digest] == GOLDEN["records"][name]


@pytest.mark.parametrize("field", ["trailing", "wide integer", "unsorted", "unknown kind", "extra field", "dot"])
def test_any_other_encoding_is_refused(field: str) -> None:
    with pytest.raises(MalformedError):
        decode_page(bytes.fromhex(GOLDEN["refused"][field]))
