"""What Python programs read through references is kept where mounts and commands keep it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import artifactfs
from tests.reference.odd_server import running_odd_server


def test_what_is_read_through_a_reference_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_odd_server() as odd:
        odd.files["/cat"] = b"meow" * 1000
        config = tmp_path / "config.toml"
        config.write_text(f"follow_references = {json.dumps([odd.url])}\n")
        monkeypatch.setenv("ARTIFACTFS_CONFIG", str(config))
        monkeypatch.setenv("ARTIFACTFS_REPO", str(tmp_path / "repository"))
        for kind in ("STATE", "CACHE", "RUNTIME"):
            monkeypatch.setenv(f"ARTIFACTFS_{kind}", str(tmp_path / kind.lower()))
        artifact = artifactfs.Artifact("animals", type="dataset")
        artifact.add_reference(f"{odd.url}/cat")
        with artifactfs.init() as run:
            run.log_artifact(artifact)
        for turn in range(2):
            odd.requests.clear()
            with artifactfs.init() as run:
                found = Path(run.use_artifact("animals:latest").download(tmp_path / f"out{turn}"))
            assert (found / "cat").read_bytes() == b"meow" * 1000
            assert bool(odd.requests) == (turn == 0)
