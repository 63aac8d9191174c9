"""What the API says of collections, versions, entries, runs, history and this machine."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from artifactfs.repository.put import put_paths
from artifactfs.repository.referring import Referred
from tests.serve.browser import PROGRAM, environment_of
from tests.serve.support import AUTHOR, HOSTILE_NAMES, Client, open_client, open_one


def test_the_server_says_what_it_shows(client: Client) -> None:
    found = client.get("server")
    assert found["repository"] == str(client.folder / "repository")
    assert (found["author"], found["may_write"], found["csrf"]) == (AUTHOR, False, None)


def test_the_catalogue_has_each_collection_with_its_newest_version(client: Client) -> None:
    found = client.get("collections")
    assert (found["total"], found["versions"]) == (3, 5)
    animals, hostile, model = found["collections"]
    assert (animals["collection"], animals["type"], animals["versions"]) == ("animals", "dataset", 3)
    assert (animals["latest"], animals["aliases"]) == ("animals:v2", {"latest": "v2", "best": "v1"})
    assert (model["type"], hostile["aliases"]) == ("model", {"latest": "v0", "<b>": "v0"})
    assert client.get("collections", offset=1, limit=1)["collections"] == [hostile]
    assert client.get("collections/animals")["size"] == animals["size"] > 0


def test_versions_are_paged_with_the_newest_first(client: Client) -> None:
    found = client.get("collections/animals/versions", limit=2)
    assert ([each["version"] for each in found["versions"]], found["total"]) == (["v2", "v1"], 3)
    rest = client.get("collections/animals/versions", offset=2)
    assert [each["message"] for each in rest["versions"]] == ["first"]


def test_find_speaks_the_language_of_the_command(client: Client) -> None:
    assert [each["ref"] for each in client.get("find", query="metadata.accuracy > 0.91")["versions"]] == ["model:v0"]
    assert client.get("find", query="type=dataset", limit=1)["is_cut"]
    wrong = client.get("find", status=400, query="size >")["error"]
    assert (wrong["kind"], "character" in wrong["message"]) == ("UsageError", True)
    assert client.get("find")["versions"] == []


def test_a_version_comes_with_its_neighbours_and_its_run(client: Client) -> None:
    found = client.get("versions/animals:best")
    assert (found["version"]["ref"], found["previous"], found["next"]) == ("animals:v1", "animals:v0", "animals:v2")
    made = client.get("versions/model")
    assert (made["run"]["name"], made["run"]["inputs"], made["run"]["state"]) == ("train", ["animals:v0"], "finished")


def test_what_is_not_there_is_404_and_what_is_no_name_is_400(client: Client) -> None:
    assert client.get("versions/animels", status=404)["error"]["hint"] == "did you mean animals?"
    assert client.get("versions/animals:v9", status=404)["error"]["kind"] == "VersionNotFoundError"
    assert client.get("entries", status=404, ref="animals", path="nothing")["error"]["kind"] == "EntryNotFoundError"
    assert client.get("versions/.x", status=400)["error"]["kind"] == "InvalidNameError"
    assert client.get("entries", status=400, ref="animals", path="../x")["error"]["kind"] == "InvalidPathError"
    assert client.get("nothing", status=404)["error"]["kind"] == "NotFoundError"
    assert client.http.post("/api/collections", headers={"x-csrf-token": client.context.csrf}).status_code in (405, 415)


def test_parameters_are_checked(client: Client) -> None:
    for parameters in ({"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"offset": -1}, {"other": 1}):
        assert client.get("collections", status=400, **parameters)["error"]["kind"] == "UsageError"
    assert "given twice" in client.get("collections?limit=1&limit=2", status=400)["error"]["message"]


def test_a_directory_is_shown_in_windows(client: Client) -> None:
    whole = client.get("entries", ref="animals")
    names = [each["name"] for each in whole["entries"]]
    assert names == sorted(names)
    assert (whole["total"], whole["readme"]) == (len(names), "README.md")
    part = client.get("entries", ref="animals", offset=3, limit=4)
    assert (part["entries"], part["total"]) == (whole["entries"][3:7], whole["total"])
    kinds = {each["name"]: each["shown_as"] for each in whole["entries"]}
    assert kinds["images"] == kinds["empty"] == "directory"
    assert (kinds["rows.csv"], kinds["link"], kinds["sound.wav"], kinds["raw.bin"]) == (
        "table",
        "link",
        "audio",
        "file",
    )
    inner = client.get("entries", ref="animals:v0", path="images")
    assert [each["path"] for each in inner["entries"]] == ["images/cat.png", "images/dog.png"]
    assert inner["entries"][0]["presence"] == "local"


def test_an_entry_says_what_changed_it_last_and_how_to_use_it(client: Client) -> None:
    found = client.get("entry", ref="animals", path="notes.txt")
    assert (found["ref"], found["changed_in"]) == ("animals:v2", "animals:v1")
    assert (
        found["entry"]["digest"]
        == f"sha256:{hashlib.sha256(b'one' + bytes([10]) + b'three' + bytes([10])).hexdigest()}"
    )
    assert found["command"] == "artifactfs get animals:v2/notes.txt ."
    compile(found["code"], "code", "exec")


def test_how_to_use_an_entry_works_whatever_its_name_is(writable: Client, tmp_path: Path) -> None:
    client = writable  # the code makes runs
    environment = {**environment_of(client.folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    entries = client.get("entries", ref="hostile")["entries"]
    places = [("animals", ""), ("animals", "images"), ("animals", "notes.txt"), ("animals", "link")]
    places += [("hostile", base64.b64decode(each["path_base64"])) for each in entries if "path_base64" in each]
    places += [("hostile", "a\nb\tc.txt"), ("hostile", HOSTILE_NAMES[1]), ("hostile", HOSTILE_NAMES[4])]
    for number, (ref, path) in enumerate(places):
        folder = tmp_path / "used" / str(number)
        (folder / "other").mkdir(parents=True)
        found = client.http.get(f"/api/entry?ref={ref}&path={quote(path)}").json()
        script = f'artifactfs() {{ "$PYTHON" -c "$MAIN" "$@"; }}\n{found["command"]}'
        variables = {**environment, "PYTHON": PROGRAM[0], "MAIN": PROGRAM[2]}
        subprocess.run(["bash", "-ec", script], env=variables, cwd=folder, check=True)
        copied = {each.relative_to(folder) for each in folder.rglob("*") if not each.is_dir()}
        assert copied
        subprocess.run([PROGRAM[0], "-c", found["code"]], env=environment, cwd=folder / "other", check=True)
        assert [each for each in (folder / "other").rglob("*") if not each.is_dir()]


def test_of_a_staging_directory_only_its_place_on_disk_is_offered(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(path: str) -> tuple[str, str]:
        found = client.get("entry", ref="animals:@staging", path=path)
        return found["command"], found["code"]

    assert use("notes.txt") == use("") == ("", "")
    monkeypatch.setattr("artifactfs.serve.entries.find_path", lambda *_: "/mnt/a b")
    assert use("notes.txt") == ("'/mnt/a b/notes.txt'", "")
    assert use("") == ("'/mnt/a b'", "")


def test_hostile_names_are_found_by_what_they_are(client: Client) -> None:
    found = {each["name"]: each for each in client.get("entries", ref="hostile")["entries"]}
    assert set(HOSTILE_NAMES) < set(found)
    for name in HOSTILE_NAMES:
        assert client.get("entry", ref="hostile", path=name)["entry"]["path"] == name
        assert client.raw("content", ref="hostile", path=name).text.startswith("<script>")
    odd = next(each for each in found.values() if "name_base64" in each)
    assert odd["name"] == "not\\xff-utf8.txt"
    path = quote(base64.b64decode(odd["path_base64"]))
    assert client.http.get(f"/api/content?ref=hostile&path={path}").text == "bytes"


def test_runs_are_listed_and_described(client: Client) -> None:
    found = client.get("runs")["runs"]
    assert [(each["name"], each["state"]) for each in found] == [("oops", "failed"), ("train", "finished")]
    assert client.get(f"runs/{found[1]['id']}")["run"]["config"] == {"rate": 0.1}
    assert client.get("runs/train")["run"]["outputs"] == ["model:v0"]
    assert client.get("runs/nobody", status=404)["error"]["kind"] == "NotFoundError"


def test_the_log_is_paged_with_the_newest_first(client: Client) -> None:
    found = client.get("collections/animals/log")
    assert found["total"] == len(found["records"]) == 4
    assert [each["text"] for each in found["records"]][1:] == [
        "committed v2 (latest)",
        "committed v1 (latest, best)",
        "committed v0 (latest)",
    ]
    assert client.get("collections/animals/log", offset=1, limit=2)["records"] == found["records"][1:3]
    assert client.get("collections/animals/log", offset=9)["records"] == []


def test_growth_counts_content_once(client: Client) -> None:
    found = client.get("growth", collection="animals")
    assert found["left"] == 0
    first, second, third = found["points"]
    assert first["added"] == first["size"]
    assert 0 < second["added"] < second["size"]
    assert (third["added"], third["size"] < second["size"]) == (0, True)
    everything = client.get("growth")["points"]
    assert {each["ref"]: each["added"] for each in everything}["model:v0"] == 0  # it has the weights of animals:v0


def test_this_machine_is_described(client: Client) -> None:
    assert client.get("mounts")["mounts"] == []
    assert client.get("cache")["directory"] == ""
    (staging,) = client.get("staging")["staging"]
    assert (staging["staging"], staging["base"], staging["path"]) == ("animals:@staging", "animals:v2", None)
    assert client.get("staging/animals:@staging")["total"] == 0
    assert client.get("staging/animals:@other", status=404)["error"]["kind"] == "StagingNotFoundError"
    assert client.get("staging/animals:v1", status=400)["error"]["kind"] == "UsageError"
    assert client.get("entries", ref="animals:@staging", path="images")["total"] == 1


def test_a_tar_file_has_everything_below_a_path(client: Client) -> None:
    whole = client.raw("tar", ref="animals:v2")
    assert whole.headers["content-disposition"].endswith("animals-v2.tar")
    with tarfile.open(fileobj=io.BytesIO(whole.content)) as archive:
        names = {member.name: member for member in archive}
        assert {"empty", "images/cat.png", "link", "notes.txt"} < set(names)
        assert (names["link"].linkname, names["empty"].isdir()) == ("notes.txt", True)
        notes = archive.extractfile("notes.txt")
        assert notes is not None
        assert notes.read() == b"one\nthree\n"
    with tarfile.open(fileobj=io.BytesIO(client.raw("tar", ref="animals", path="images").content)) as archive:
        assert archive.getnames() == ["cat.png"]


def test_the_description_has_every_operation(client: Client) -> None:
    found = client.get("openapi.json")
    assert found["openapi"] == "3.1.0"
    assert len(found["paths"]) > 25
    assert set(found["paths"]["/api/versions/{ref}"]) == {"get", "patch"}


def test_a_reference_says_where_it_leads_and_whether_it_drifted(tmp_path: Path) -> None:
    target = tmp_path / "away.txt"
    target.write_text("away\n")
    with open_one(tmp_path) as repository:
        put_paths(repository, "away", [Referred(target.as_uri(), b"away.txt")])
    with open_client(tmp_path) as client:
        found = client.get("entry", ref="away", path="away.txt", check="true")
        assert (found["entry"]["kind"], found["entry"]["uri"]) == ("reference", target.as_uri())
        assert (found["entry"]["presence"], found["drift"]) == ("local", None)
        assert client.get("preview", ref="away", path="away.txt")["lines"] == [[["", "away"]]]
        target.write_text("other, and longer\n")
        assert client.get("entry", ref="away", path="away.txt")["drift"] is None  # not asked for
        assert "away.txt" in client.get("entry", ref="away", path="away.txt", check="true")["drift"]
        assert client.get("preview", 409, ref="away", path="away.txt")["error"]["kind"] == "ReferenceChangedError"
