"""Manifests as W&B has them: the digest, what is listed, and versions made of them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

import artifactfs
from artifactfs.errors import DigestMismatchError, MalformedError, UsageError
from artifactfs.interop.wandbmanifest import (
    Manifest,
    ManifestEntry,
    _follow,
    decode_manifest,
    encode_manifest,
    make_manifest,
)
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees
from artifactfs.testing.repositories import Content, commit_files, make_repository
from tests.cli.support import Cli


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


# `wandb` 0.31.0 says this digest of an Artifact with the files `a.txt` (alpha) and `dir/b.bin` (100,000 zeros).
GOLDEN_FILES: dict[bytes, Content] = {b"a.txt": b"alpha", b"dir": {b"b.bin": bytes(100_000)}}
GOLDEN = "5310aaa5fe272712f9915033f4415be4"


def manifest_of(repository: Repository, files: dict[bytes, Content]) -> Manifest:
    return make_manifest(repository, commit_files(repository, "animals", files).root)


def test_the_digest_is_that_of_wandb(tmp_path: Path) -> None:
    with make_repository(tmp_path) as repository:
        manifest = manifest_of(repository, GOLDEN_FILES)
    lines = f"wandb-artifact-manifest-v1\na.txt:{md5(b'alpha')}\ndir/b.bin:{md5(bytes(100_000))}\n"
    assert manifest.digest == hashlib.md5(lines.encode()).hexdigest() == GOLDEN


def test_paths_are_in_the_order_of_their_names_not_of_directories(tmp_path: Path) -> None:
    files: dict[bytes, Content] = {b"a": {b"x": b"1"}, b"a-b": b"2", "é".encode(): b"3", "\U0001f600".encode(): b"4"}
    with make_repository(tmp_path) as repository:
        manifest = manifest_of(repository, files)
    expected = "".join(
        f"{path}:{md5(data)}\n" for path, data in [("a-b", b"2"), ("a/x", b"1"), ("é", b"3"), ("\U0001f600", b"4")]
    )
    assert manifest.digest == hashlib.md5(b"wandb-artifact-manifest-v1\n" + expected.encode()).hexdigest()
    assert list(json.loads(encode_manifest(manifest))["contents"]) == ["a-b", "a/x", "é", "\U0001f600"]


def test_links_are_the_files_that_they_point_to(tmp_path: Path) -> None:
    files: dict[bytes, Content] = {
        b"real": {b"file": b"data", b"self": "../real/./file", b"deep": {}},
        b"link": "real/file",
        b"up": {b"link": "../link"},
        b"empty": {},
    }
    with make_repository(tmp_path) as repository:
        digests = {path: entry.digest for path, entry in manifest_of(repository, files).contents.items()}
        assert digests == dict.fromkeys(["real/file", "real/self", "link", "up/link"], md5(b"data"))
        for target in ("missing", "/etc/passwd", "../outside", "real", "loop", "real/f/below"):
            with pytest.raises(UsageError, match="link"):
                manifest_of(repository, {b"real": {b"f": b"x"}, b"loop": target})
        with pytest.raises(UsageError, match="UTF-8"):
            manifest_of(repository, {b"\xff": b"x"})


def test_links_through_links_to_directories_are_followed(tmp_path: Path) -> None:
    with make_repository(tmp_path) as repository:
        root = commit_files(repository, "animals", {b"real": {b"f": b"x"}, b"dir": "real", b"l": "dir/f"}).root
        trees = Trees(repository.blobs)
        found = _follow(trees, root, b"l")
        assert found[0] == trees.find_entry(root, b"real/f")
        with pytest.raises(UsageError, match="'dir' is a link"):
            make_manifest(repository, root)


def test_what_is_read_is_what_was_written() -> None:
    manifest = Manifest({"b": ManifestEntry("x", 3), "a": ManifestEntry("etag", 4, "s3://bucket/key", {"etag": "e"})})
    assert decode_manifest(encode_manifest(manifest)) == manifest
    members = json.loads(encode_manifest(manifest))
    assert set(members) == {"version", "storagePolicy", "storagePolicyConfig", "contents"}
    members["contents"]["b"] |= {"birthArtifactID": "QQ==", "local_path": "/x"}  # W&B has more
    assert decode_manifest(json.dumps(members).encode()) == manifest


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b'{"version":1}', b'{"version":2,"contents":{}}', b'{"version":1,"contents":{"a":{}}}', b"\xff"],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_manifest(data)


def test_a_version_goes_out_and_comes_back(cli: Cli, work: Path, tmp_path: Path) -> None:
    (work / "dir").mkdir()
    (work / "dir" / "a").write_text("alpha")
    (work / "b").write_text("beta")
    cli("put", "animals", ".")
    file = tmp_path / "manifest.json"
    digest = cli.json("manifest", "export", "animals", "-o", str(file))["digest"]
    assert cli("manifest", "export", "animals", "--digest").stdout == f"{digest}\n"
    assert json.loads(cli("manifest", "export", "animals").stdout) == json.loads(file.read_text())
    assert digest in cli("manifest", "check", "animals", str(file)).stderr
    assert cli("manifest", "import", "copy", str(file), "--tag", "imported").stdout == "copy:v0\n"
    assert cli("manifest", "export", "copy", "--digest").stdout == f"{digest}\n"
    (work / "b").write_text("other")
    (work / "extra").write_text("not listed")
    refused = cli("manifest", "import", "copy", str(file), "--files", str(work), code=30)
    assert "'b'" in refused.stderr
    assert "copy:v1" not in cli("ls", "copy").stdout
    cli("put", "animals", ".")
    compared = cli("manifest", "check", "animals", str(file), code=30)
    assert compared.stdout == "M b\nA extra\n"
    os.unlink(work / "dir" / "a")
    cli("manifest", "import", "copy", str(file), code=13)
    cli("manifest", "check", "animals/b", str(file), code=2)
    cli("manifest", "check", "animals", str(tmp_path / "none"), code=13)


def test_files_of_another_digest_and_paths_that_leave(cli: Cli, work: Path, tmp_path: Path) -> None:
    (work / "a").write_text("alpha")
    file = tmp_path / "manifest.json"
    file.write_bytes(encode_manifest(Manifest({"a": ManifestEntry("x", 5, None, {"alg": "XXH128"})})))
    assert "XXH128" in cli("manifest", "import", "animals", str(file), code=2).stderr
    file.write_bytes(encode_manifest(Manifest({"../a": ManifestEntry(md5(b"alpha"), 5)})))
    cli("manifest", "import", "animals", str(file), code=15)


def test_references_are_looked_at_where_they_are(
    cli: Cli, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text(f"follow_references = {json.dumps([f'file://{tmp_path}'])}\n")
    monkeypatch.setenv("ARTIFACTFS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "outside").write_text("outside")
    uri = f"file://{tmp_path}/outside"
    cli("put", "animals", uri)
    file = tmp_path / "manifest.json"
    cli("manifest", "export", "animals", "-o", str(file))
    entry = json.loads(file.read_text())["contents"]["outside"]
    assert (entry["ref"], entry["size"]) == (uri, 7)
    cli("manifest", "import", "copy", str(file))
    assert cli("cat", "copy/outside").stdout == "outside"
    (tmp_path / "outside").write_text("more than before")
    assert "any more" in cli("manifest", "import", "copy", str(file), code=34).stderr


def test_damage_is_no_digest(tmp_path: Path) -> None:
    from artifactfs.testing.repositories import find_stored

    with make_repository(tmp_path) as repository:
        version = commit_files(repository, "animals", {b"a": b"alpha" * 1000})
        find_stored(repository, version.root, b"a").damage()
    with make_repository(tmp_path) as repository, pytest.raises(DigestMismatchError):
        make_manifest(repository, version.root)


def test_the_same_in_python(cli: Cli, work: Path) -> None:
    cli("put", "animals", "images/cat.txt")
    artifact = artifactfs.Api().artifact("animals")
    assert artifact.wandb_digest() == cli("manifest", "export", "animals", "--digest").stdout.strip()
    assert decode_manifest(artifact.wandb_manifest()).digest == artifact.wandb_digest()
    with pytest.raises(UsageError):
        artifactfs.Artifact("draft").wandb_digest()
