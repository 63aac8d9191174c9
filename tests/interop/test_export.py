"""`artifactfs export --tar`: what tar(1) makes of it, the same bytes again, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pty
import subprocess
import tarfile
from pathlib import Path

import pytest

from artifactfs.errors import DigestMismatchError
from tests.cli.support import PROGRAM, Cli, run

LARGE = hashlib.shake_128(b"large").digest((5 << 20) + 7)


@pytest.fixture
def odd(cli: Cli, work: Path) -> Cli:
    """Return the command line with a version `animals:v0` that has whatever a tree can have."""
    images = work / "images"
    (images / "empty").mkdir(mode=0o700)
    (images / "large.bin").write_bytes(LARGE)
    (images / ("n" * 200)).write_text("long")
    (images / ("d" * 120)).mkdir()
    (images / ("d" * 120) / ("e" * 200)).symlink_to("t" * 300)
    Path(os.fsdecode(os.fsencode(images) + b"/\xff\xfe")).write_text("odd")
    (images / "tool").write_text("#!/bin/sh\n")
    (images / "tool").chmod(0o755)
    os.utime(images / "cat.txt", ns=(0, 1_500_000_000_123_456_789))
    os.utime(images / "tool", ns=(0, -1_500_000_000))
    cli("put", "animals", "images/")
    return cli


def describe(top: Path) -> dict[bytes, tuple[object, ...]]:
    """Return what a directory holds: kind, mode, time, and content or target of each name."""
    found: dict[bytes, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            link = os.readlink(path) if os.path.islink(path) else b""
            content = b"" if link or name in folders else Path(os.fsdecode(path)).read_bytes()
            time = 0 if link else status.st_mtime_ns
            found[os.path.relpath(path, os.fsencode(top))] = (status.st_mode, time, link, content)
    return found


def test_tar_unpacks_what_get_gives(odd: Cli, work: Path) -> None:
    (work / "unpacked").mkdir()
    archive = run("export", "animals", "--tar")
    assert (archive.returncode, len(archive.stdout) % 10240) == (0, 0)
    subprocess.run(["tar", "-xpf", "-", "-C", work / "unpacked"], input=archive.stdout, check=True)
    odd("get", "animals:v0", str(work / "got"))
    assert describe(work / "unpacked") == describe(work / "got")


def test_same_version_gives_the_same_bytes(odd: Cli, work: Path) -> None:
    first = run("export", "animals", "--tar").stdout
    odd("--repo", str(work / "other"), "put", "again", "images/")
    second = run("--repo", str(work / "other"), "export", "again", "--tar").stdout
    assert first == second
    assert hashlib.sha256(first).digest() == hashlib.sha256(run("export", "animals", "--tar").stdout).digest()
    with tarfile.open(fileobj=io.BytesIO(first), errors="surrogateescape") as archive:
        names = archive.getnames()
    assert names == sorted(names, key=lambda name: os.fsencode(name).split(b"/"))


def test_prefix_part_and_pattern_choose_names(odd: Cli, work: Path) -> None:
    def names(*arguments: str) -> list[str]:
        odd("export", *arguments, "--tar", "-o", "x.tar")
        with tarfile.open(work / "x.tar") as archive:
            return archive.getnames()

    assert names("animals/sub") == ["dog.txt"]
    assert names("animals/sub", "--prefix", "data/animals/") == ["data/animals", "data/animals/dog.txt"]
    assert names("animals/sub/dog.txt") == ["dog.txt"]
    assert names("animals/sub/dog.txt", "--prefix", "p") == ["p/dog.txt"]
    assert names("animals", "--path", "*.txt") == ["cat.txt", "sub", "sub/dog.txt"]
    assert names("animals", "--path", "sub") == ["sub", "sub/dog.txt"]
    assert names("animals", "--path", "empty") == ["empty"]
    odd("export", "animals", "--tar", "-o", "y.tar", "--path", "*.zip", code=13)
    odd("export", "animals", "--tar", "-o", "y.tar", "--prefix", "../up", code=15)
    odd("export", "animals/nothing", "--tar", "-o", "y.tar", code=13)
    assert [name.name for name in work.iterdir() if "y.tar" in name.name] == []


def test_compression_is_chosen_by_name_or_option(odd: Cli, work: Path) -> None:
    plain = run("export", "animals", "--tar").stdout
    for name in ("a.tar.gz", "a.tgz", "a.tar.zst", "a.tzst", "b.tar.gz"):
        odd("export", "animals", "--tar", "-o", name)
    assert gzip.decompress((work / "a.tar.gz").read_bytes()) == plain
    assert (work / "a.tar.gz").read_bytes() == (work / "b.tar.gz").read_bytes() == (work / "a.tgz").read_bytes()
    zstandard = pytest.importorskip("zstandard", reason="Python 3.14 has it in compression.zstd")
    assert zstandard.ZstdDecompressor().stream_reader((work / "a.tar.zst").read_bytes()).read() == plain
    assert (work / "a.tzst").read_bytes() == (work / "a.tar.zst").read_bytes()
    assert run("export", "animals", "--tar", "--compress", "gzip").stdout == (work / "a.tar.gz").read_bytes()
    odd("export", "animals", "--tar", "-o", "c.tar.gz", "--compress", "none")
    assert (work / "c.tar.gz").read_bytes() == plain


def test_a_terminal_gets_no_archive(odd: Cli) -> None:
    leader, follower = pty.openpty()
    try:
        found = subprocess.run(
            [*PROGRAM, "export", "animals", "--tar"], stdout=follower, stderr=subprocess.PIPE, check=False, timeout=60
        )
    finally:
        os.close(follower)
        os.close(leader)
    assert found.returncode == 2
    assert b"terminal" in found.stderr
    odd("export", "animals", code=2)
    odd("export", "animals", "--tar", "--json", code=2)
    assert odd.json("export", "animals", "--tar", "-o", "x.tar")["files"] == 8


def test_damage_leaves_no_file_and_no_end(odd: Cli, work: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(LARGE).hexdigest()
    blob = tmp_path / "repository" / "blobs" / digest[:2] / digest
    blob.chmod(0o600)
    blob.write_bytes(LARGE[:-1] + b"?")
    (work / "x.tar").write_text("earlier")
    odd("export", "animals", "--tar", "-o", "x.tar", code=DigestMismatchError.exit_code)
    assert (work / "x.tar").read_text() == "earlier"
    assert sorted(path.name for path in work.iterdir()) == ["images", "x.tar"]
    broken = run("export", "animals", "--tar")
    assert broken.returncode == DigestMismatchError.exit_code
    assert subprocess.run(["tar", "-tf", "-"], input=broken.stdout, capture_output=True, check=False).returncode != 0


def test_reader_that_leaves_ends_it_quietly(odd: Cli) -> None:
    found = subprocess.run(
        ["sh", "-c", '"$@" | head -c 1000 > /dev/null', "sh", *PROGRAM, "export", "animals", "--tar", "-q"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert found.stderr == b""


def test_a_file_may_be_a_pipe(odd: Cli, work: Path) -> None:
    os.mkfifo(work / "pipe")
    with subprocess.Popen(["sh", "-c", "cat pipe > copy"]) as reader:
        assert run("export", "animals", "--tar", "-o", "pipe").returncode == 0
        assert reader.wait(60) == 0
    assert (work / "copy").read_bytes() == run("export", "animals", "--tar").stdout
