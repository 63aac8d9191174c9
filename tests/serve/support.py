"""A repository with something of everything, and a client of its API, for the tests of the web page."""

from __future__ import annotations

import io
import json
import os
import struct
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet
from starlette.testclient import TestClient

from artifactfs.paths import parse_ref
from artifactfs.places import Places
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import put_paths
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.sources import Source
from artifactfs.repository.staging import StagingArea
from artifactfs.runs.history import RunLog
from artifactfs.serve.application import make_application
from artifactfs.serve.context import Context
from artifactfs.serve.guard import Access
from artifactfs.serve.server import open_context

AUTHOR = "tester"
HOSTILE_NAMES = (
    "<img src=x onerror=alert(1)>.png",
    "\"'><script>alert(1)<!--.txt",
    "javascript:alert(1).md",
    "a\nb\tc.txt",
    "ünïcode \u202e gnp.exe",
    "%2e%2e%2f#?&=+.txt",
)


def fill(folder: Path) -> None:
    """Make a repository in a folder: `animals` with three versions, `table`, `model` with runs, `hostile`."""
    with open_one(folder) as repository:
        source = folder / "source"
        make_files(source)
        put(repository, "animals", source, message="first", description="Animals, to be *looked* at", tags=("raw",))
        (source / "notes.txt").write_text("one\nthree\n")
        (source / "code.py").rename(source / "moved.py")
        make_image(source / "images" / "cat.png", (10, 200, 90))
        put(repository, "animals", source, message="second", aliases=("best",), metadata={"accuracy": 0.9, "who": "me"})
        (source / "images" / "dog.png").unlink()
        put(repository, "animals", source, message="third")
        make_hostile(folder / "hostile")
        put(
            repository,
            "hostile",
            folder / "hostile",
            description="<script>window.hacked = 1</script>",
            message="<img src=x onerror=window.hacked=1>",
            aliases=("<b>",),
        )
        make_runs(repository, source)
        collection, version = repository.resolve(parse_ref("animals"))
        StagingArea(repository).create(collection.name, version=version, followed="latest", driver="union")


@contextmanager
def open_one(folder: Path) -> Iterator[Repository]:
    """Open the repository in a folder; references are followed to local files in it."""
    with open_repository(
        str(folder / "repository"),
        state=str(folder / "state"),
        author=AUTHOR,
        references=lambda: References(ReferencePolicy((folder.as_uri(),))),
    ) as repository:
        yield repository


def put(repository: Repository, name: str, source: Path, **more: Any) -> None:
    put_paths(repository, name, [Source(os.fsencode(source), b"")], options=CommitOptions(**more))


def make_image(path: Path, colour: tuple[int, int, int], size: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)


def make_files(folder: Path) -> None:
    """Make a file of each kind that is shown."""
    make_image(folder / "images" / "cat.png", (200, 30, 40))
    make_image(folder / "images" / "dog.png", (20, 30, 200))
    (folder / "README.md").write_text(
        "# Animals\n\nSee [notes](notes.txt) and ![cat](images/cat.png).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    (folder / "notes.txt").write_text("one\ntwo\n")
    (folder / "code.py").write_text(
        'def cat(sound: str) -> str:\n    """Say it."""\n    return f"{sound}!"  # loudly\n'
    )
    (folder / "rows.csv").write_text("name,age,good\ncat,3,true\ndog,4.5,false\n")
    (folder / "rows.jsonl").write_text('{"name": "cat", "age": 3}\n{"name": "dog", "tags": ["a"]}\n')
    parquet.write_table(pa.table({"name": ["cat", "dog"], "age": [3, 4]}), folder / "rows.parquet")
    np.save(folder / "array.npy", np.zeros((3, 5), np.float32))
    np.savez(folder / "arrays.npz", first=np.zeros(4, np.int8), second=np.ones((2, 2)))
    (folder / "weights.safetensors").write_bytes(make_safetensors())
    (folder / "raw.bin").write_bytes(bytes(range(256)))
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 8000, "NONE", ""))
        sound.writeframes(b"\0\1" * 8000)
    (folder / "link").symlink_to("notes.txt")
    (folder / "empty").mkdir()


def make_safetensors() -> bytes:
    header = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + bytes(24)


def make_hostile(folder: Path) -> None:
    """Make files whose names and contents would run something if they could."""
    folder.mkdir(parents=True)
    for name in HOSTILE_NAMES:
        (folder / name).write_text("<script>window.hacked = 1</script>")
    (folder / os.fsdecode(b"not\xff-utf8.txt")).write_text("bytes")
    script = "<svg xmlns='http://www.w3.org/2000/svg' onload='window.hacked=1'><script>window.hacked=1</script></svg>"
    (folder / "script.svg").write_text(script)
    (folder / "page.html").write_text("<script>window.hacked = 1</script><h1>page</h1>")
    (folder / "evil.md").write_text(
        "<script>window.hacked=1</script>\n\n[x](javascript:window.hacked=1) <img src=x onerror=window.hacked=1>\n\n"
        "![x](http://evil.example/x.png)\n\n[up](../../../etc/passwd)\n"
    )
    (folder / "evil.csv").write_text("<script>window.hacked=1</script>,=1+1\n<img src=x onerror=window.hacked=1>,2\n")


def make_runs(repository: Repository, source: Path) -> None:
    """Make two runs: one that reads `animals:v0` and makes `model:v0`, and one that failed."""
    count = [0]

    def random(size: int) -> bytes:
        count[0] += 1
        return count[0].to_bytes(size)

    log = RunLog(repository.store, clock=repository.clock, random=random)
    run = log.start(author=AUTHOR, name="train", job_type="training", config={"rate": 0.1}).run
    log.use(run, "animals:v0")
    (source / "weights.safetensors").rename(source.parent / "weights.safetensors")
    model = source.parent / "model"
    model.mkdir()
    (source.parent / "weights.safetensors").rename(model / "weights.safetensors")
    put(repository, "model", model, type="model", run=run, inputs=("animals:v0",), metadata={"accuracy": 0.93})
    log.log(run, "model:v0", is_new=True)
    log.finish(run, exit_code=0)
    failed = log.start(author=AUTHOR, name="oops", job_type="training").run
    log.use(failed, "animals:v1")
    log.finish(failed, exit_code=1)


@dataclass
class Client:
    """Asks the API."""

    http: TestClient
    context: Context
    folder: Path

    def get(self, address: str, /, status: int = 200, **parameters: Any) -> Any:
        """Return the members of an answer, after its status was as expected."""
        response = self.http.get(f"/api/{address}", params=parameters or None)
        assert response.status_code == status, response.text
        assert response.json()["schema"] == 1
        return response.json()

    def send(self, method: str, path: str, body: Any, status: int = 200, **headers: str) -> Any:
        """Send JSON with the CSRF token, and return the members of the answer."""
        sent = {"X-CSRF-Token": self.context.csrf, "Content-Type": "application/json", **headers}
        response = self.http.request(method, f"/api/{path}", content=json.dumps(body), headers=sent)
        assert response.status_code == status, response.text
        return response.json()

    def raw(self, address: str, /, status: int = 200, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
        """Return an answer that is no JSON."""
        response = self.http.get(f"/api/{address}", params=parameters, headers=headers or {})
        assert response.status_code == status, response.text
        return response


def places_of(folder: Path) -> Places:
    return Places(
        repository=str(folder / "repository"),
        state=str(folder / "state"),
        cache=str(folder / "cache"),
        runtime=str(folder / "run"),
    )


@contextmanager
def open_client(folder: Path, *, may_write: bool = False, token: str = "") -> Iterator[Client]:
    with (
        open_one(folder) as repository,
        open_context(repository, places_of(folder), cache=None, may_write=may_write) as context,
    ):
        application = make_application(context, Access(token, context.csrf))
        with TestClient(application, base_url="http://127.0.0.1:8265", raise_server_exceptions=False) as http:
            yield Client(http, context, folder)


def image_bytes(size: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size)).save(buffer, "PNG")
    return buffer.getvalue()


__all__ = ["AUTHOR", "HOSTILE_NAMES", "Client", "fill", "image_bytes", "open_client", "open_one", "put"]
