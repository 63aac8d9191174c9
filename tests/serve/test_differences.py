"""What differs between versions, and the lineage as data and as a drawing."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.serve.support import Client


def test_what_differs_between_two_versions(client: Client) -> None:
    found = client.get("diff", old="animals:v0", new="animals:v1")
    changes = {each["path"]: each for each in found["changes"]}
    assert found["counts"] == {"modified": 2, "renamed": 1}
    assert (changes["moved.py"]["old_path"], changes["images/cat.png"]["shown_as"]) == ("code.py", "image")
    assert client.get("diff", old="animals:v0", new="animals:v1", kind="renamed")["total"] == 1
    assert client.get("diff", new="animals:v2")["old"] == "animals:v1"
    assert client.get("diff", new="animals:v0")["old"] is None
    assert client.get("diff", new="animals:@staging") == {
        "schema": 1, "old": "animals:v2", "new": "animals:@staging", "changes": [], "counts": {}, "total": 0,
        "offset": 0,
    }  # fmt: skip


def test_what_differs_in_one_file(client: Client) -> None:
    text = client.get("diff/file", old="animals:v0", new="animals:v1", path="notes.txt")
    assert text["lines"][-3:] == [" one", "-two", "+three"]
    image = client.get("diff/file", old="animals:v0", new="animals:v1", path="images/cat.png")
    assert (image["old"]["kind"], image["new"]["kind"], "lines" in image) == ("image", "image", False)
    gone = client.get("diff/file", old="animals:v1", new="animals:v2", path="images/dog.png")
    assert (gone["old"]["kind"], gone["new"]) == ("image", None)
    table = client.get("diff/file", old="animals:v0", new="animals:v1", path="rows.csv")
    assert table["old"]["table"]["row_count"] == table["new"]["table"]["row_count"] == 2
    moved = client.get("diff/file", old="animals:v0", new="animals:v1", path="moved.py", old_path="code.py")
    assert moved["lines"] == []
    assert client.get("diff/file", 404, old="animals:v0", new="animals:v1", path="nothing")["error"]


def test_lineage_leads_from_data_to_runs_to_models(client: Client) -> None:
    found = client.get("lineage", node="model")
    nodes = {each["id"]: each for each in found["nodes"]}
    assert {"animals:v0", "model:v0"} < set(nodes)
    run = next(each for each in nodes.values() if each["kind"] == "run")
    assert (run["label"], run["state"]) == ("train", "finished")
    edges = [(each["from"], each["to"]) for each in found["edges"]]
    assert ("animals:v0", run["id"]) in edges
    assert (run["id"], "model:v0") in edges


def test_lineage_without_runs_bridges_them(client: Client) -> None:
    found = client.get("lineage", node="model", show="versions")
    assert [each["kind"] for each in found["nodes"]] == ["version"] * len(found["nodes"])
    assert {"from": "animals:v0", "to": "model:v0"} in found["edges"]
    filtered = client.get("lineage", node="animals:v1", direction="down", filter="oops")
    assert {each["id"] if each["kind"] == "version" else each["name"] for each in filtered["nodes"]} == {
        "animals:v1",
        "oops",
    }


def test_the_drawing_names_its_nodes(client: Client) -> None:
    found = client.raw("lineage.svg", node="model:v0")
    assert found.headers["content-type"] == "image/svg+xml"
    names = [group.get("data-node") for group in ET.fromstring(found.text).iter("{http://www.w3.org/2000/svg}g")]
    assert {"animals:v0", "model:v0"} < set(names)
    assert client.get("lineage", 404, node="nobody:v0")["error"]["kind"] == "CollectionNotFoundError"
