"""What files look like: data, never HTML, whatever they hold."""

from __future__ import annotations

import json
import struct

import pytest

from artifactfs.errors import UsageError
from artifactfs.serve.previews.arrays import read_arrays
from artifactfs.serve.previews.markdown import DEPTH, parse_markdown
from artifactfs.serve.previews.tables import COUNTED_BYTES, PARSED_BYTES, read_table
from artifactfs.serve.previews.text import decode_text, split_lines
from tests.serve.support import Client


class Bytes:
    """A file in memory; `size` can be more than what is there."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data, self.size = data, len(data) if size is None else size

    def read_at(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]

    def extent(self) -> None:
        return None

    def close(self) -> None:
        pass


def test_each_kind_has_its_preview(client: Client) -> None:
    def of(path: str) -> dict:
        return client.get("preview", ref="animals:v0", path=path)

    assert (of("images/cat.png")["kind"], of("images/cat.png")["media_type"]) == ("image", "image/png")
    assert of("sound.wav")["kind"] == "audio"
    assert (of("link")["kind"], of("link")["target"]) == ("link", "notes.txt")
    assert (of("images")["kind"], of("")["kind"]) == ("directory", "directory")
    assert of("notes.txt")["lines"] == [[["", "one"]], [["", "two"]]]
    assert (of("raw.bin")["kind"], of("raw.bin")["bytes"][:8]) == ("binary", "00010203")
    code = of("code.py")
    assert (code["language"], ["k", "def"] in code["lines"][0], ["f", "cat"] in code["lines"][0]) == (
        "python",
        True,
        True,
    )


def test_tables_of_all_formats_say_the_same(client: Client) -> None:
    expected = {"rows.csv": ["text", "number", "boolean"], "rows.jsonl": ["text", "integer", "list"]}
    for name, types in expected.items():
        table = client.get("preview", ref="animals", path=name)["table"]
        assert ([column["type"] for column in table["columns"]], table["row_count"]) == (types, 2)
    table = client.get("preview", ref="animals", path="rows.parquet")["table"]
    assert table["rows"] == [["cat", "3"], ["dog", "4"]]
    assert table["columns"] == [{"name": "name", "type": "string"}, {"name": "age", "type": "int64"}]


def test_arrays_are_described_by_their_headers(client: Client) -> None:
    (one,) = client.get("preview", ref="animals", path="array.npy")["arrays"]["arrays"]
    assert (one["type"], one["shape"], one["order"]) == ("<f4", [3, 5], "C")
    many = client.get("preview", ref="animals", path="arrays.npz")["arrays"]
    assert ([each["name"] for each in many["arrays"]], many["value_count"]) == (["first", "second"], 8)
    weights = client.get("preview", ref="model", path="weights.safetensors")["arrays"]
    assert (weights["arrays"][0]["shape"], weights["metadata"]) == ([2, 3], {"format": "pt"})


def test_markdown_is_a_tree_of_known_elements(client: Client) -> None:
    found = client.get("preview", ref="animals", path="README.md")
    text = json.dumps(found["document"])
    assert found["document"][0]["tag"] == "h1"
    assert '"file": "notes.txt"' in text
    assert '"tag": "td"' in text
    hostile = client.get("preview", ref="hostile", path="evil.md")["document"]
    text = json.dumps(hostile)
    assert "<script>" in text  # as text
    assert '"link"' not in text
    assert "evil.example" not in text
    assert "passwd" not in text


def test_deep_markdown_stays_shallow() -> None:
    document = parse_markdown(">" * 500 + " x", directory="")
    depth, level = 0, document
    while level and level[0].get("children"):
        depth, level = depth + 1, level[0]["children"]
    assert depth <= DEPTH


def test_what_cannot_be_read_is_shown_as_text_or_bytes(client: Client) -> None:
    for name, data in (("x.npy", b"nothing"), ("x.safetensors", struct.pack("<Q", 1 << 60)), ("x.npz", b"PK\3\4")):
        with pytest.raises(UsageError):
            read_arrays(Bytes(data), name.partition(".")[2])
    for data in (b"\x93NUMPY\1\0\xff\xff" + b"[" * 70000, b"\x93NUMPY\1\0\x06\0__im()"):
        with pytest.raises(UsageError):
            read_arrays(Bytes(data), "npy")
    with pytest.raises(UsageError):
        read_table(Bytes(b"PAR1 nothing"), "parquet")
    with pytest.raises(UsageError):
        read_table(Bytes(b"{no json}\n"), "jsonl")


def test_rows_of_a_long_table_are_counted_or_estimated() -> None:
    head = b"a,b\n" + b"1,2\n" * 300_000
    counted = read_table(Bytes(head), "csv")
    assert (counted["row_count"], counted["is_exact"], len(counted["rows"])) == (300_000, True, 100)
    estimated = read_table(Bytes(head, COUNTED_BYTES + 4), "csv")
    assert (estimated["is_exact"], estimated["row_count"]) == (False, pytest.approx(COUNTED_BYTES / 4, rel=0.01))


def test_rows_are_counted_where_line_ends_are_not_those_of_rows() -> None:
    quoted = read_table(Bytes(b"a,b\n" + b'"x\n\ny",2\n' * 200_000), "csv")
    assert (quoted["row_count"], quoted["is_exact"]) == (200_000, True)
    blank = read_table(Bytes(b"a,b\r\n" + b"1,2\r\n\r\n" * 200_000 + b"3,4"), "csv")
    assert (blank["row_count"], blank["is_exact"]) == (200_001, True)
    blank = read_table(Bytes(b'{"a": "\\""}\n \n' * 200_000), "jsonl")
    assert (blank["row_count"], blank["is_exact"]) == (200_000, True)
    short = read_table(Bytes(b"a\n" + b'"1\n2"\n' * 150), "csv")
    assert (short["row_count"], len(short["rows"]), short["is_exact"]) == (150, 100, True)
    many = read_table(Bytes(b"a,b\n" + b'"x\ny",2\n' * (PARSED_BYTES // 8 + 100)), "csv")
    assert (many["row_count"], many["is_exact"]) == (pytest.approx(PARSED_BYTES / 8, rel=0.01), False)


def test_lines_of_json_end_at_line_feeds_only() -> None:
    text = "one\x85two\u2028three\u2029four"
    table = read_table(Bytes(f'{{"a": "{text}"}}\r\n{{"a": "b"}}\n'.encode()), "jsonl")
    assert (table["rows"], table["row_count"]) == ([[text], ["b"]], 2)


def test_tables_of_odd_shapes() -> None:
    empty = read_table(Bytes(b""), "csv")
    assert (empty["columns"], empty["rows"], empty["row_count"]) == ([], [], 0)
    ragged = read_table(Bytes(b"a;b\n1\n1;2;3\n"), "csv")
    assert [column["name"] for column in ragged["columns"]] == ["a", "b", "column 3"]
    assert ragged["rows"] == [["1", None, None], ["1", "2", "3"]]
    assert read_table(Bytes(b'"a\nb",c\n1,2\n'), "csv")["columns"][0]["name"] == "a\nb"


def test_text_in_its_encodings() -> None:
    assert decode_text("héé".encode(), is_whole=True) == "héé"
    assert decode_text("hé".encode()[:-1], is_whole=False) == "h"
    assert decode_text("hé".encode("latin-1"), is_whole=True) == "hé"
    assert decode_text("hé".encode("utf-16"), is_whole=True) == "hé"
    assert decode_text(b"\x00\x01", is_whole=True) is None
    assert split_lines("a\n\nb", "python") == [[("", "a")], [], [("", "b")]]
    assert split_lines("x" * 5000, "python") == [[("", "x" * 5000)]]  # long lines have no colours
