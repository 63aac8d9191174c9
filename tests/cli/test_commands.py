"""Each command: what it prints where, as text and as JSON, and what it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.options import Finding
from tests.cli.support import Cli


def test_put_prints_the_version_alone(cli: Cli) -> None:
    result = cli("put", "animals", "images")
    assert result.stdout == "animals:v0\n"
    assert "put images as images/" in result.stderr
    assert "made animals:v0 (3 files, 8 B)" in result.stderr


def test_put_quiet_says_nothing_else(cli: Cli) -> None:
    assert cli("put", "animals", "images", "-q").stderr == ""


def test_put_keeps_the_name_or_puts_the_contents_at_the_root(cli: Cli) -> None:
    cli("put", "named", "images")
    cli("put", "contents", "images/")
    assert cli("ls", "named:v0").stdout == "images\n"
    assert cli("ls", "contents:v0").stdout.split() == ["cat.txt", "link", "sub"]


def test_put_the_same_name_twice(cli: Cli, work: Path) -> None:
    (work / "other").mkdir()
    (work / "other" / "cat.txt").write_text("x")
    assert "would be there twice" in cli("put", "a", "images/cat.txt", "other/cat.txt", code=14).stderr
    assert cli.json("ls")["collections"] == []


def test_put_records_what_it_is_told(cli: Cli) -> None:
    more = ["--metadata", "n=3", "--metadata", "list=[1]", "--metadata", "word=three=3", "--tag", "b", "--tag", "a"]
    fields = cli.json("put", "a", "images", "--type", "model", "-m", "why", "--description", "what", *more)
    assert fields["ref"] == "a:v0"
    assert fields["is_new"] is True
    assert fields["type"] == "model"
    assert fields["message"] == "why"
    assert fields["description"] == "what"
    assert fields["metadata"] == {"n": 3, "list": [1], "word": "three=3"}
    assert fields["tags"] == ["a", "b"]


def test_put_if_changed_makes_no_second_version(cli: Cli) -> None:
    cli("put", "a", "images")
    result = cli("put", "a", "images", "--if-changed")
    assert result.stdout == "a:v0\n"
    assert "nothing changed since a:v0" in result.stderr
    assert cli.json("put", "a", "images", "--if-changed", "--alias", "good")["is_new"] is False
    assert "had no effect" not in result.stderr
    result = cli("put", "a", "images", "--if-changed", "--ttl", "1d")
    assert "--ttl had no effect" in result.stderr
    assert "had no effect" not in cli("put", "a", "images", "--ttl", "1d").stderr
    assert cli.json("show", "a:good")["version"] == "v0"


def test_put_if_changed_says_what_had_no_effect(cli: Cli) -> None:
    options = ["--description", "what", "--metadata", "n=3", "--tag", "x"]
    cli("put", "a", "images", *options)
    assert "had no effect" not in cli("put", "a", "images", "--if-changed", *options).stderr
    other = ["--description", "else", "--metadata", "n=4", "--tag", "y", "--ttl", "30d", "--quiet"]
    said = cli("put", "a", "images", "--if-changed", *other).stderr
    assert "--description, --metadata, --tag had no effect; `artifactfs edit a:v0`" in said
    assert "--ttl had no effect" in said
    assert "--tag had no effect" in cli("put", "a", "images", "--if-changed", "--tag", "y", *options[:4]).stderr
    assert "had no effect" not in cli("put", "a", "images", *other).stderr


def test_put_leaves_out_what_is_excluded(cli: Cli) -> None:
    cli("put", "a", "images/", "--exclude", "*.txt")
    assert cli("ls", "-R", "a:v0").stdout.split() == ["link", "sub"]


def test_put_special_files_only_when_told_to_skip_them(cli: Cli, work: Path) -> None:
    os.mkfifo(work / "images" / "pipe")
    assert "pipe" in cli("put", "a", "images/", code=2).stderr
    assert "left out pipe" in cli("put", "a", "images/", "--skip-special").stderr


def test_get_goes_below_artifacts_and_says_where(animals: Cli, work: Path) -> None:
    assert animals("get", "animals").stdout == "artifacts/animals:v1\n"
    assert (work / "artifacts" / "animals:v1" / "cat.txt").read_text() == "cat, longer\n"
    assert (work / "artifacts" / "animals:v1" / "link").is_symlink()
    animals("get", "animals", code=14)


def test_get_a_path_to_a_place(animals: Cli, work: Path) -> None:
    animals("get", "animals:v0/sub", "there")
    assert os.listdir(work / "there") == ["dog.txt"]
    (work / "here").mkdir()
    assert animals("get", "animals:v0/cat.txt", "here").stdout == "here/cat.txt\n"
    assert (work / "here" / "cat.txt").read_text() == "cat\n"


def test_get_only_what_matches(animals: Cli, work: Path) -> None:
    fields = animals.json("get", "animals", "out", "--path", "dog.*")
    assert fields["files"] == 1
    assert fields["destination"] == str(work / "out")
    assert [path.name for path in (work / "out").rglob("*")] == ["sub", "dog.txt"]


def test_get_says_what_it_linked(cli: Cli, work: Path) -> None:
    (work / "images" / "large").write_bytes(b"large" * (1 << 18))
    cli("put", "a", "images/")
    result = cli("get", "a", "out", "--link", "hard")
    assert "1 file of it linked" in result.stderr
    assert "linked" not in cli("get", "a", "copied").stderr


def test_get_replaces_when_told(animals: Cli, work: Path) -> None:
    animals("get", "animals:v0", "out")
    animals("get", "animals:v1", "out", code=14)
    animals("get", "animals:v1", "out", "--replace")
    assert (work / "out" / "cat.txt").read_text() == "cat, longer\n"


def test_ls_collections(animals: Cli) -> None:
    assert animals("ls").stdout == "animals\n"
    assert animals("ls", "-l").stdout.startswith("animals  dataset  2 versions  v1  20")
    (fields,) = animals.json("ls")["collections"]
    assert fields["collection"] == "animals"
    assert fields["versions"] == 2
    assert fields["modified"].endswith("Z")


def test_ls_versions(animals: Cli) -> None:
    assert animals("ls", "animals").stdout == "v0\nv1  latest best\n"
    assert "second" in animals("ls", "-l", "animals").stdout
    document = animals.json("ls", "animals")
    assert [version["ref"] for version in document["versions"]] == ["animals:v0", "animals:v1"]
    assert document["aliases"] == {"best": "v1", "latest": "v1"}


def test_ls_entries(animals: Cli) -> None:
    assert animals("ls", "animals:best/sub").stdout == "dog.txt\n"
    assert animals("ls", "animals/sub").stdout == "dog.txt\n"
    assert animals("ls", "-R", "animals:v0").stdout.split() == ["cat.txt", "link", "sub", "sub/dog.txt"]
    lines = animals("ls", "-l", "animals:v0").stdout.splitlines()
    assert lines[0].startswith("-rw-")
    assert lines[0].endswith("cat.txt")
    assert lines[1].endswith("link -> cat.txt")
    entries = {entry["path"]: entry for entry in animals.json("ls", "-R", "animals:v0")["entries"]}
    assert entries["cat.txt"]["size"] == 4
    assert entries["link"]["target"] == "cat.txt"
    assert entries["sub"]["kind"] == "directory"


def test_names_that_are_not_utf8_are_given_twice(cli: Cli, work: Path) -> None:
    with open(os.fsencode(work) + b"/images/\xff.txt", "wb") as file:
        file.write(b"x")
    cli("put", "a", "images/")
    assert "\\xff.txt" in cli("ls", "a:v0").stdout
    entry = cli.json("ls", "a:v0")["entries"][-1]
    assert entry["path"] == "\\xff.txt"
    assert entry["path_base64"] == "/y50eHQ="
    assert cli("cat", b"a:v0/\xff.txt").stdout == "x"


def test_show(animals: Cli) -> None:
    fields = animals.json("show", "animals:best")
    assert fields["ref"] == "animals:v1"
    assert fields["aliases"] == ["latest", "best"]
    assert fields["author"] == "tester"
    assert fields["digest"].startswith("sha256:")
    assert "message:         second\n" in animals("show", "animals").stdout
    assert animals.json("show", "animals/cat.txt")["size"] == 12


def test_log_newest_first(animals: Cli) -> None:
    records = animals.json("log", "animals")["records"]
    assert [record["message"] for record in records] == ["second", "first"]
    assert records[0]["change"]["kind"] == "commit"
    assert records[0]["change"]["version"] == "v1"
    lines = animals("log", "animals").stdout.splitlines()
    assert lines[0].endswith("tester  committed v1 (latest, best)")
    assert lines[1].strip() == "second"


def test_cat(animals: Cli) -> None:
    assert animals("cat", "animals:v0/cat.txt").stdout == "cat\n"
    animals("cat", "animals:v0/sub", code=2)
    animals("cat", "animals:v0/nothing", code=13)


def test_alias(animals: Cli) -> None:
    assert animals("alias", "set", "animals:v0", "old", "good").stdout == ""
    assert animals.json("show", "animals:good")["version"] == "v0"
    assert animals.json("alias", "set", "animals:v1", "good") == {"schema": 1, "ref": "animals:v1", "aliases": ["good"]}
    animals("alias", "rm", "animals", "old")
    assert animals.json("ls", "animals")["aliases"] == {"best": "v1", "good": "v1", "latest": "v1"}
    animals("alias", "rm", "animals", "old", code=12)
    animals("alias", "set", "animals:v0", "v7", code=15)


def test_edit_changes_only_what_is_given(animals: Cli) -> None:
    animals("edit", "animals:v0", "--description", "all cats", "--metadata", "a=1", "--metadata", "b=2", "--tag", "x")
    animals("edit", "animals:v0", "--unset", "a", "--untag", "x", "--tag", "y")
    fields = animals.json("show", "animals:v0")
    assert (fields["description"], fields["metadata"], fields["tags"]) == ("all cats", {"b": 2}, ["y"])
    animals("edit", "animals:v0", code=2)
    animals("edit", "animals:v0", "--metadata", "novalue", code=2)


def test_edit_refuses_a_path(animals: Cli) -> None:
    assert "not of a path" in animals("edit", "animals/cat.txt", "--description", "x", code=2).stderr
    assert animals.json("show", "animals")["description"] == ""


def test_rm_a_version(animals: Cli) -> None:
    assert "--yes" in animals("rm", "animals:v0", code=2).stderr
    animals("rm", "animals:v0", "--yes")
    assert animals("ls", "animals").stdout == "v1  latest best\n"
    assert "is named by latest, best" in animals("rm", "animals:v1", "-y", code=22).stderr
    animals("rm", "animals", "-y", code=2)
    assert animals.json("rm", "animals:v1", "--force", "-y")["removed"] == "animals:v1"
    animals("show", "animals:v1", code=11)


def test_rm_a_collection_is_not_done_unasked(animals: Cli) -> None:
    assert "--yes" in animals("rm", "--collection", "animals", code=2).stderr
    animals("ls", "animals")
    animals("rm", "--collection", "animals", "--yes")
    assert animals("ls").stdout == ""
    animals("ls", "animals", code=10)


def test_diff(animals: Cli, work: Path) -> None:
    (work / "images" / "sub").rename(work / "images" / "moved")
    (work / "images" / "link").unlink()
    animals("put", "animals", "images/")
    assert animals("diff", "animals").stdout == "D  link\nR  sub/ -> moved/\n"
    assert animals("diff", "animals:v0", "animals:v1").stdout == "M  cat.txt\n"
    (change,) = animals.json("diff", "animals:v1")["changes"]
    assert (change["change"], change["path"], change["old"]["size"], change["new"]["size"]) == (
        "modified",
        "cat.txt",
        4,
        12,
    )
    animals("diff", "animals:v1", "--exit-code", code=1)
    animals("diff", "animals:v1", "animals:best", "--exit-code")
    assert animals("diff", "animals:v0").stdout.startswith("A  ")


def test_verify(animals: Cli, work: Path, tmp_path: Path) -> None:
    animals("verify", "animals")
    animals("get", "animals", "copy")
    animals("verify", "animals", "copy")
    (work / "copy" / "cat.txt").write_text("cut, longer\n")
    assert animals("verify", "animals", "copy", code=30).stdout.startswith("cat.txt ")
    document = animals.json("verify", "animals", "copy", code=30)
    assert document["ok"] is False
    assert document["problems"][0]["path"] == "cat.txt"
    digest = animals.json("show", "animals/cat.txt")["digest"].removeprefix("sha256:")
    (blob,) = (tmp_path / "repository").rglob(digest)
    blob.chmod(0o600)
    blob.write_text("cut, longer\n")
    assert digest in animals("verify", "animals", code=30).stdout
    assert animals("cat", "animals/cat.txt", code=30).stdout == ""


def test_index_rebuild(animals: Cli) -> None:
    assert animals.json("index", "rebuild")["collections"] == 1
    assert animals("cat", "animals:v0/cat.txt").stdout == "cat\n"


def test_doctor_lists_findings(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("device", ok=True, message="fine")]
    monkeypatch.setattr(api, "diagnose", lambda places: found)
    document = cli.json("doctor")
    assert document["ok"] is True
    assert document["findings"] == [{"name": "device", "ok": True, "message": "fine", "mend": ""}]
    assert document["places"].keys() == {"repository", "state", "cache", "runtime"}
    found.append(Finding("libfuse", ok=False, message="missing", mend="install it"))
    shown = cli("doctor", code=60).stdout
    assert f"     repository: {document['places']['repository']}\n" in shown
    assert shown.endswith("ok   device: fine\nBAD  libfuse: missing\n     mend: install it\n")


def test_mounts_without_any(cli: Cli) -> None:
    assert cli.json("mounts")["mounts"] == []
