"""Digests, names, paths and encodings: what is accepted, what is refused, and that decoding undoes encoding."""

from __future__ import annotations

import doctest
import errno
import hashlib
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactfs import errors, paths
from artifactfs.clock import format_time_ns
from artifactfs.digest import Digest, HashingReader, hash_bytes, parse_digest
from artifactfs.errors import (
    ArtifactFSError,
    DigestMismatchError,
    InvalidNameError,
    InvalidPathError,
    MalformedError,
    NameTooLongError,
    translate_os_error,
)
from artifactfs.manifest import build_directory, decode_page, decode_sums, encode_sums, is_boundary
from artifactfs.model import Entry, FileEntry, Placement, SymlinkEntry
from artifactfs.paths import (
    are_names,
    check_alias_name,
    check_collection_name,
    check_name,
    parse_path,
    parse_ref,
    printable,
    split_path,
)
from artifactfs.storedpage import decode_stored, encode_stored

names = st.binary(min_size=1, max_size=255).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)
raw_digests = st.binary(min_size=32, max_size=32)
times = st.integers(-(2**63), 2**63 - 1)
modes = st.integers(0, 0o777)
sizes = st.integers(0, 2**63 - 1)
files = st.builds(FileEntry, names, modes, times, st.integers(0, 2**40), raw_digests, st.none() | raw_digests)
links = st.builds(SymlinkEntry, names, modes, times, st.binary(min_size=1, max_size=4095))
directories = st.lists(files | links, max_size=20, unique_by=lambda entry: entry.name)


def test_doctests() -> None:
    assert doctest.testmod(paths).failed == 0


@given(st.binary(max_size=1000))
def test_a_digest_is_that_of_sha256sum(data: bytes) -> None:
    digest = hash_bytes(data)
    assert str(digest) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert parse_digest(str(digest)) == digest
    reader = HashingReader(io.BytesIO(data))
    assert b"".join(reader.iter_chunks(7)) == data
    assert (reader.digest, reader.size) == (digest, len(data))


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "G" * 64, "md5:" + "0" * 64, "0" * 64]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_digest(text)
    with pytest.raises(MalformedError):
        Digest(b"short")


@given(directories)
def test_decoding_a_page_undoes_encoding(entries: list[Entry]) -> None:
    [page] = build_directory(entries)
    assert decode_page(page.data) == page
    assert list(page.items) == sorted(entries, key=lambda entry: entry.name)


@given(directories, st.data())
def test_decoding_a_stored_page_undoes_encoding(entries: list[Entry], data: st.DataObject) -> None:
    [page] = build_directory(entries)
    place = st.none() | st.builds(Placement, raw_digests.filter(any), sizes, sizes)
    placements = tuple(data.draw(st.lists(place, min_size=len(entries), max_size=len(entries))))
    stored = decode_stored(encode_stored(page, placements), expected=page.digest)
    assert (stored.page, stored.placements) == (page, placements)


@given(directories.filter(bool), st.integers(0), st.integers(1, 255))
def test_a_changed_byte_of_a_page_is_noticed(entries: list[Entry], at: int, change: int) -> None:
    [page] = build_directory(entries)
    data = bytearray(encode_stored(page))
    data[at % len(data)] ^= change
    with pytest.raises((DigestMismatchError, MalformedError)):
        decode_stored(bytes(data), expected=page.digest)


@given(st.permutations([FileEntry(b"%d" % number, 0o644, 0, 1, b"\1" * 32) for number in range(30)]))
def test_the_order_of_entries_does_not_matter(entries: list[Entry]) -> None:
    assert build_directory(entries) == build_directory(entries[::-1])


def test_the_content_digest_leaves_out_times_and_all_modes_but_one() -> None:
    def content(entry: Entry) -> bytes:
        return build_directory([entry])[-1].content

    plain = FileEntry(b"a", 0o644, 0, 1, b"\1" * 32)
    assert content(plain) == content(FileEntry(b"a", 0o600, 99, 1, b"\1" * 32))
    for other in (
        FileEntry(b"a", 0o744, 0, 1, b"\1" * 32),
        FileEntry(b"b", 0o644, 0, 1, b"\1" * 32),
        FileEntry(b"a", 0o644, 0, 1, b"\2" * 32),
        SymlinkEntry(b"a", 0o777, 0, b"\1" * 32),
    ):
        assert content(plain) != content(other)


def test_pages_end_where_the_names_say() -> None:
    entries: list[Entry] = [FileEntry(b"%05d" % number, 0o644, 0, 1, b"\1" * 32) for number in range(1500)]
    assert len(build_directory(entries[:1024])) == 1
    *leaves, top = build_directory(entries)
    assert top.level == 1
    assert b"".join(item.name for page in leaves for item in page.items) == b"".join(entry.name for entry in entries)
    assert all(is_boundary(0, page.last) for page in leaves[:-1])


def test_two_entries_of_one_name_are_refused() -> None:
    entry = FileEntry(b"a", 0o644, 0, 1, b"\1" * 32)
    with pytest.raises(MalformedError):
        build_directory([entry, entry])


@given(st.lists(raw_digests, max_size=5))
def test_sums_are_read_back_and_checked(chunks: list[bytes]) -> None:
    data = encode_sums(chunks)
    assert decode_sums(data, expected=hash_bytes(data)) == tuple(chunks)
    with pytest.raises(DigestMismatchError):
        decode_sums(data + b"x", expected=hash_bytes(data))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_names_that_leave_the_tree_are_refused(name: bytes) -> None:
    with pytest.raises(InvalidPathError):
        check_name(name)


def test_limits_of_names_and_paths() -> None:
    assert check_name(b"x" * 255)
    with pytest.raises(NameTooLongError):
        check_name(b"x" * 256)


def is_name(name: bytes) -> bool:
    try:
        check_name(name)
    except InvalidNameError:
        return False
    return True


@given(
    st.lists(
        st.one_of(st.binary(max_size=3), st.sampled_from([b"", b".", b"..", b"a/b", b"\0", b"x" * 255, b"x" * 256]))
    )
)
def test_many_names_are_checked_like_each(names: list[bytes]) -> None:
    assert are_names(names) == all(map(is_name, names))
    assert len(split_path(b"x/" * 2047 + b"xx")) == 2048
    with pytest.raises(NameTooLongError):
        split_path(b"x/" * 2048 + b"x")


@given(st.lists(names, max_size=5))
def test_a_path_is_its_names(parts: list[bytes]) -> None:
    assert split_path(b"/".join(parts)) == tuple(parts)


@pytest.mark.parametrize(
    ("text", "path"), [("a/b", b"a/b"), ("./a//b/", b"a/b"), (".", b""), ("", b""), ("a/\udcff", b"a/\xff")]
)
def test_paths_that_people_write(text: str, path: bytes) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["/a", "..", "a/../b", "a/.."])
def test_paths_that_leave_the_tree_are_refused(text: str) -> None:
    with pytest.raises(InvalidPathError):
        parse_path(text)


@given(st.binary())
def test_what_is_printed_controls_no_terminal(name: bytes) -> None:
    shown = printable(name)
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode("utf-8")


@pytest.mark.parametrize("name", ["a", "A-b_c.1", "x" * 128, "-", "v0"])
def test_collection_names(name: str) -> None:
    assert check_collection_name(name) == name


@pytest.mark.parametrize("name", ["", ".a", "a b", "a/b", "a:b", "ö", "x" * 129, "a\n"])
def test_bad_collection_names(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_collection_name(name)


@pytest.mark.parametrize("name", ["latest", "best model", "ö", "x" * 128, "v", "v1a"])
def test_alias_names(name: str) -> None:
    assert check_alias_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".a", "@a", "a/b", "a:b", "v0", "v12", "v01", "x" * 129, "ö" * 65, "a\tb", "\udcff"]
)
def test_bad_alias_names(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_alias_name(name)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("animals", ("animals", "latest", None, None, b"")),
        ("animals:v3", ("animals", None, 3, None, b"")),
        ("animals:best/a/b", ("animals", "best", None, None, b"a/b")),
        ("animals/a:b", ("animals", "latest", None, None, b"a:b")),
        ("animals:@mine", ("animals", None, None, "mine", b"")),
    ],
)
def test_what_a_ref_names(text: str, parts: tuple[object, ...]) -> None:
    ref = parse_ref(text)
    assert (ref.collection, ref.alias, ref.version, ref.staging, ref.path) == parts
    assert parse_ref(str(ref)) == ref


@pytest.mark.parametrize("text", ["", ":v1", "a:", "a:v01", "a:@", "a:@x y", "a:b:c", "a/../b"])
def test_what_is_no_ref_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        parse_ref(text)


def test_times_are_rfc_3339_in_utc() -> None:
    assert format_time_ns(0) == "1970-01-01T00:00:00.000000Z"
    assert format_time_ns(1_795_461_931_697_891_639) == "2026-11-23T19:25:31.697891Z"
    assert format_time_ns(1_795_461_931_697_891_639, digits=9) == "2026-11-23T19:25:31.697891639Z"
    assert format_time_ns(-1) == "1969-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, 50), (errno.EDQUOT, 50), (errno.ENOENT, 13), (errno.EACCES, 42), (errno.EROFS, 20),
        (errno.EEXIST, 14), (errno.ENAMETOOLONG, 15), (errno.EBUSY, 21), (errno.EIO, 1),
    ],
)  # fmt: skip
def test_errors_of_the_system_have_their_exit_code(number: int, code: int) -> None:
    error = translate_os_error(OSError(number, os.strerror(number)), doing="reading x", subject="x")
    assert error.exit_code == code
    assert error.message == f"reading x: {os.strerror(number)}"


def test_each_error_class_has_an_errno_and_an_exit_code() -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ArtifactFSError)
    ]
    assert len(classes) > 30
    for error in classes:
        assert errno.errorcode[error.errno]
        assert 1 <= error.exit_code <= 143
        assert error.__doc__
    assert str(MalformedError("what", hint="try")) == "what (try)"
