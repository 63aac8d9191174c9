"""A real training in three programs that know nothing of artifactfs: prepare, train, evaluate."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import artifactfs

pytestmark = [pytest.mark.mounted, pytest.mark.slow]
CLI = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]

PREPARE = """
import numpy, os
from sklearn.datasets import load_digits
digits = load_digits()
os.makedirs("out")
for name, part in (("train", slice(0, 1400)), ("test", slice(1400, None))):
    numpy.savez(f"out/{name}.npz", data=digits.data[part], target=digits.target[part])
"""
TRAIN = """
import numpy, os, pickle, sys
from sklearn.linear_model import LogisticRegression
train = numpy.load(sys.argv[1] + "/digits/latest/train.npz")
model = LogisticRegression(max_iter=2000).fit(train["data"], train["target"])
os.makedirs("out")
pickle.dump(model, open("out/model.pkl", "wb"))
"""
EVALUATE = """
import json, numpy, os, pickle, sys
model = pickle.load(open(sys.argv[1] + "/model/latest/model.pkl", "rb"))
test = numpy.load(sys.argv[1] + "/digits/latest/test.npz")
os.makedirs("out")
json.dump({"accuracy": float(model.score(test["data"], test["target"]))}, open("out/report.json", "w"))
"""


def cli(*arguments: str) -> str:
    done = subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def step(mountpoint: Path, name: str, text: str, collection: str, folder: Path) -> None:
    """Run a program, and after it `artifactfs put` of what it made, as one run."""
    folder.mkdir()
    assert "artifactfs" not in text
    program = shlex.join([sys.executable, "-c", text, str(mountpoint)])
    put = shlex.join([*CLI, "put", collection, "out/"])
    os.chdir(folder)
    cli("run", "--name", name, "--", "sh", "-c", f"{program} && {put}")


def test_the_graph_of_three_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    monkeypatch.setenv("ARTIFACTFS_REPO", str(tmp_path / "repository"))
    monkeypatch.chdir(tmp_path)
    cli("put", "notes", __file__)
    place = tmp_path / "mnt"
    place.mkdir()
    cli("mount", "--transport", "kernel", str(place))
    try:
        step(place, "prepare", PREPARE, "digits", tmp_path / "1")
        step(place, "train", TRAIN, "model", tmp_path / "2")
        step(place, "evaluate", EVALUATE, "report", tmp_path / "3")
        assert "accuracy" in (place / "report" / "latest" / "report.json").read_text()
    finally:
        subprocess.run([*CLI, "umount", "--lazy", str(place)], capture_output=True, check=False)
    api = artifactfs.Api()
    evaluate, train, prepare = api.runs()
    assert [(run.name, run.inputs, run.outputs, run.state) for run in (prepare, train, evaluate)] == [
        ("prepare", (), ("digits:v0",), "finished"),
        ("train", ("digits:v0",), ("model:v0",), "finished"),
        ("evaluate", ("model:v0", "digits:v0"), ("report:v0",), "finished"),
    ]
    assert [item.name for item in api.artifact("report").ancestors()] == [
        "evaluate", "model:v0", "digits:v0", "train", "prepare",
    ]  # fmt: skip
    read = [(file.artifact, file.path) for file in evaluate.workspace.runs.iter_files(evaluate.id)]
    assert read == [("model:v0", "model.pkl"), ("digits:v0", "test.npz")]
    assert api.artifact("model").logged_by() == train
