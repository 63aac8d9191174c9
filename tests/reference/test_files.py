"""References to local files."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path

import pytest

from artifactfs.errors import AccessDeniedError, ReferenceChangedError, SourceNotFoundError, UsageError
from artifactfs.model import SymlinkEntry
from artifactfs.reference.base import is_unverified
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from artifactfs.repository.referring import Referred, list_referred


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = Path(os.path.realpath(tmp_path)) / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b.txt").write_bytes(b"hello")
    (folder / "sub" / "empty").write_bytes(b"")
    return folder


def following(folder: Path) -> References:
    return References(ReferencePolicy((f"file://{folder}",)))


def add(data: Path, name: str, **more):
    [(_, entry)] = list(following(data).iter_entries(f"file://{data}/{name}", **more))
    return entry


def read(data: Path, entry) -> bytes:
    return following(data).open(entry).read_at(0, 100)


def test_a_file_is_recorded_by_its_sha256_and_read(data: Path) -> None:
    entry = add(data, "a b.txt")
    assert entry.has_sha256
    assert entry.content == hashlib.sha256(b"hello").digest()
    assert entry.uri.endswith("/a%20b.txt")
    assert read(data, entry) == b"hello"
    assert following(data).find_drift(entry) is None


def test_a_directory_is_one_entry_for_each_file_empty_ones_included(data: Path) -> None:
    found = dict(following(data).iter_entries(f"file://{data}"))
    assert {path: entry.size for path, entry in found.items()} == {b"a b.txt": 5, b"sub/empty": 0}
    with pytest.raises(UsageError, match="more than 1"):
        list(following(data).iter_entries(f"file://{data}", max_objects=1))
    with pytest.raises(SourceNotFoundError):
        list(following(data).iter_entries(f"file://{data}/none"))


def test_links_below_a_directory_stay_links(data: Path) -> None:
    (data / "sub" / "link").symlink_to("../a b.txt")
    (data / "other").symlink_to("sub")
    (data / "nowhere").symlink_to("/none")
    found = dict(list_referred(following(data), Referred(f"file://{data}/")))
    links = {path: entry.target for path, entry in found.items() if isinstance(entry, SymlinkEntry)}
    assert links == {b"sub/link": b"../a b.txt", b"other": b"sub", b"nowhere": b"/none"}
    assert len(found) == 5


def test_what_no_entry_can_be_made_of_is_named(data: Path) -> None:
    os.mkfifo(data / "sub" / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(data / "socket"))
    with pytest.raises(UsageError, match=r"^cannot store data/socket \(socket\), data/sub/fifo \(FIFO\) "):
        list_referred(following(data), Referred(f"file://{data}"))
    for name, kind in (("socket", "socket"), ("sub/fifo", "FIFO")):
        with pytest.raises(UsageError, match=f"cannot store {Path(name).name} \\({kind}\\)"):
            list_referred(following(data), Referred(f"file://{data}/{name}"))


def test_a_directory_that_cannot_be_listed_is_an_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: bytes) -> object:
        if path.endswith(b"/sub"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AccessDeniedError, match="/sub: Permission denied"):
        list(following(data).iter_entries(f"file://{data}"))


def test_other_bytes_of_the_same_size_and_time_are_never_handed_out(data: Path) -> None:
    file = data / "a b.txt"
    entry, status = add(data, "a b.txt"), file.stat()
    file.write_bytes(b"HELLO")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ReferenceChangedError, match=hashlib.sha256(b"HELLO").hexdigest()):
        read(data, entry)
    assert following(data).find_drift(entry) is not None


def test_a_file_that_is_open_for_reading_and_changes_is_a_change(data: Path) -> None:
    references = following(data)
    entry = add(data, "a b.txt")
    file = references.open(entry)
    assert file.read_at(0, 2) == b"he"
    file.close()
    (data / "a b.txt").write_bytes(b"jello")
    with pytest.raises(ReferenceChangedError):
        file.read_at(0, 2)


def test_a_file_without_checksum_is_unverified_and_known_by_its_time(data: Path) -> None:
    entry = add(data, "a b.txt", checksum=False)
    assert is_unverified(entry)
    assert read(data, entry) == b"hello"
    os.utime(data / "a b.txt", ns=(1, 1))
    with pytest.raises(ReferenceChangedError, match="modified 1970-01-01T00:00:00"):
        read(data, entry)


def test_what_is_gone_is_a_change(data: Path) -> None:
    entry = add(data, "a b.txt")
    (data / "a b.txt").unlink()
    with pytest.raises(ReferenceChangedError, match="there is nothing"):
        read(data, entry)


def test_no_link_leads_out_of_what_is_followed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hello")
    entry = add(data, "a b.txt")
    (data / "a b.txt").unlink()
    (data / "a b.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(AccessDeniedError, match="no prefix"):
        read(data, entry)
    (data / "a b.txt").unlink()
    (data / "sub" / "real").write_bytes(b"hello")
    (data / "a b.txt").symlink_to("sub/real")
    assert read(data, entry) == b"hello"


def test_a_fifo_in_the_place_of_a_file_does_not_block(data: Path) -> None:
    entry = add(data, "a b.txt")
    (data / "a b.txt").unlink()
    os.mkfifo(data / "a b.txt")
    with pytest.raises(ReferenceChangedError):
        read(data, entry)
