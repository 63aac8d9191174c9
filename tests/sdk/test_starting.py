"""Runs of real programs: how they begin, go on and end, and what is recorded of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import artifactfs
from artifactfs.errors import AlreadyExistsError, InvalidNameError, NotFoundError, UsageError
from artifactfs.runs.state import RunState
from tests.cli.support import PROGRAM


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ARTIFACTFS_REPO", str(tmp_path / "repository"))
    return folder


def program(text: str, *arguments: str, code: int | None = 0, **environ: str) -> RunState:
    """Run a program that begins a run, and return the newest run."""
    done = subprocess.run(
        [sys.executable, "-c", f"import artifactfs\n{text}", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert code is None or done.returncode == code, done.stderr.decode()
    return next(artifactfs.Api().runs())


DAEMON = """
import os, time
with artifactfs.init():
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("text", "code", "state"),
    [
        ("artifactfs.init()", 0, "finished"),
        ("artifactfs.init(); raise ValueError", 1, "failed"),
        ("with artifactfs.init(): raise SystemExit(7)", 7, "failed"),
        ("artifactfs.init(); import sys; sys.exit(7)", 7, "failed"),
        ("artifactfs.init(); artifactfs.init(); import sys; sys.exit('no')", 1, "failed"),
        ("with artifactfs.init(): import sys; sys.exit(True)", 1, "failed"),
        ("artifactfs.init(); import sys, threading as t; t.Thread(target=sys.exit, args=(1,)).start()", 0, "finished"),
        ("with artifactfs.init(): raise KeyboardInterrupt", 130, "failed"),
        ("artifactfs.init(); import os; os._exit(0)", None, "crashed"),
        ("artifactfs.init(); import os; os.abort()", None, "crashed"),
        ("artifactfs.init(); import os, signal; os.kill(os.getpid(), signal.SIGKILL)", None, "crashed"),
        ("artifactfs.init(); import os; p = os.fork(); p and os.waitpid(p, 0)", 0, "finished"),
        ("import os\nwith artifactfs.init(): p = os.fork(); os.waitpid(p, 0) if p else exit(5)", 0, "finished"),
        (DAEMON, 0, "finished"),
    ],
)
def test_how_a_run_ends(text: str, code: int | None, state: str) -> None:
    run = program(text, code=None)
    assert run.state == state
    assert run.exit_code == (None if state == "crashed" else code)


def test_the_next_run_marks_the_one_that_was_killed() -> None:
    killed = program("artifactfs.init(); import os; os._exit(1)", code=1)
    assert not killed.is_marked
    with artifactfs.init() as run:
        assert run.state == "running"
        assert artifactfs.Api().run(killed.id).is_marked
        assert artifactfs.Api().run(run.id).state == "running"
    assert (run.state, artifactfs.Api().run(run.id).state) == ("finished", "finished")
    assert not list(Path(os.environ["XDG_STATE_HOME"]).rglob("running/*"))


ELSEWHERE = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c"]
AS_ANOTHER_HOST = 'echo elsewhere > /proc/sys/kernel/hostname; "$@"; exit $?'
AS_A_CONTAINER = '"$@"; exit $?'


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("how", [AS_ANOTHER_HOST, AS_A_CONTAINER])
def test_other_hosts_and_containers_do_not_mark_a_run_as_crashed(how: str) -> None:
    killed = program("artifactfs.init(); import os; os._exit(1)", code=1)
    listed = subprocess.run([*ELSEWHERE, how, "-", *PROGRAM, "runs"], capture_output=True, text=True, check=True)
    assert listed.stdout.split()[:2] == [killed.id, "running"]
    assert (artifactfs.Api().run(killed.id).state, artifactfs.Api().run(killed.id).is_marked) == ("crashed", False)
    text = "import artifactfs, os; artifactfs.init(); os._exit(1)"
    subprocess.run([*ELSEWHERE, how, "-", sys.executable, "-c", text], check=False)
    subprocess.run([*PROGRAM, "runs"], capture_output=True, check=True)
    assert [(run.state, run.is_marked) for run in artifactfs.Api().runs()] == [("running", True), ("crashed", True)]


def test_an_end_that_cannot_be_recorded_is_recorded_by_the_next_run() -> None:
    text = "import artifactfs, os, sys\nartifactfs.init()\nplace = os.environ['ARTIFACTFS_REPO']\n"
    text += "os.rename(place, place + '.away')\nsys.exit(3)"
    assert subprocess.run([sys.executable, "-c", text], timeout=60, check=False).returncode == 3
    place = os.environ["ARTIFACTFS_REPO"]
    os.rename(place + ".away", place)
    found = next(artifactfs.Api().runs())
    assert found.state == "crashed"
    artifactfs.init().finish()
    assert (artifactfs.Api().run(found.id).state, artifactfs.Api().run(found.id).exit_code) == ("failed", 3)


def test_what_is_recorded(place: Path) -> None:
    for command in (["init", "-q", "-b", "topic"], ["add", "."], ["commit", "-qm", "x"]):
        (place / "train.py").write_text("x")
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *command], check=True)
    subprocess.run(["git", "remote", "add", "origin", "https://ann:hunter2@example.org/r.git"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    run = program("artifactfs.init(project='p', job_type='train', notes='n', tags=['t'], config={'lr': 1})")
    assert (run.project, run.job_type, run.notes, run.tags, run.config) == ("p", "train", "n", ("t",), {"lr": 1})
    assert run.git is not None
    assert (run.git.commit, run.git.dirty, run.git.branch) == (head, False, "topic")
    assert run.git.remote == "https://example.org/r.git"
    assert (run.host, run.circumstances.directory) == (os.uname().nodename, str(place))
    assert run.circumstances.command[:2] == (sys.executable, "-c")
    assert run.user
    (place / "train.py").write_text("changed")
    changed = program("artifactfs.init()")
    assert changed.git is not None
    assert changed.git.dirty is True


def test_secrets_are_nowhere_in_the_repository(tmp_path: Path) -> None:
    text = (
        "run = artifactfs.init(config={'db': {'password': 'swordfish'}, 'url': 'https://u:swordfish@h/'},"
        "name='a swordfish-env', project='token=swordfish', job_type='pass=swordfish', tags=['pin=swordfish'],"
        "notes='see https://u:swordfish@h/');"
        "run.update_config({'api_key': 'swordfish'})"
    )
    secrets = {"HF_TOKEN": "swordfish-env", "SOME_VARIABLE": "swordfish", "CUDA_VISIBLE_DEVICES": "0,swordfish-env"}
    run = program(text.replace("swordfish", "sword' + 'fish"), "--token", "swordfish", "x=swordfish-env", **secrets)
    assert run.config == {"db": {"password": "***"}, "url": "https://***@h/", "api_key": "***"}
    assert run.circumstances.variables["CUDA_VISIBLE_DEVICES"] == "0,***"
    assert "SOME_VARIABLE" not in run.circumstances.variables
    stored = [path for path in (tmp_path / "repository").rglob("*") if path.is_file()]
    assert len(stored) > 3
    assert not [path for path in stored if b"swordfish" in path.read_bytes()]


def test_a_configuration_is_what_argparse_returns_too() -> None:
    import argparse
    import enum

    import numpy as np

    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("images"))
    parser.add_argument("--token", default="swordfish")
    kind = enum.Enum("Kind", {"ONE": "one"}, type=str)
    with artifactfs.init(config=parser.parse_args([]), tags="single") as run:
        run.update_config({"lr": np.float32(0.5), "epochs": np.int64(3), "kind": kind.ONE, "x": np.float64(2)})
        for wrong in ({"x": np.inf}, {"x": object()}, 7, ["a"]):
            with pytest.raises(UsageError):
                run.update_config(wrong)  # type: ignore[arg-type]
    found = artifactfs.Api().run(run.id)
    assert found.config == {"data": "images", "token": "***", "lr": 0.5, "epochs": 3, "kind": "one", "x": 2.0}
    assert found.tags == ("single",)


def test_an_event_knows_those_before_it() -> None:
    with artifactfs.init() as run:
        before = run._workspace.runs
        run.update_config({"a": 1})
        assert run._workspace.runs is before


def test_resuming(place: Path) -> None:
    with artifactfs.init(name="first", config={"a": 1}) as run:
        pass
    with pytest.raises(AlreadyExistsError):
        artifactfs.init(id=run.id)
    with artifactfs.init(id=run.id, resume="must", config={"b": 2}) as again:
        assert (again.id, again.name, again.config) == (run.id, "first", {"a": 1, "b": 2})
        assert artifactfs.Api().run(run.id).state == "running"
    assert artifactfs.Api().run(run.id).state == "finished"
    fresh = run.id[:-4] + "0000"
    with pytest.raises(NotFoundError):
        artifactfs.init(id=fresh, resume="must")
    with artifactfs.init(id=fresh, resume=True) as other:
        assert other.id == fresh
    for wrong in ({"resume": "must"}, {"id": fresh, "resume": "maybe"}):
        with pytest.raises(UsageError):
            artifactfs.init(**wrong)
    with pytest.raises(InvalidNameError):
        artifactfs.init(id="mine")


def test_a_program_that_is_part_of_a_run_joins_it(place: Path) -> None:
    (place / "f").write_text("x")
    with artifactfs.init(name="outer") as run:
        text = "r = artifactfs.init(config={'x': 1}); r.log_artifact('f', name='made')"
        assert program(text, ARTIFACTFS_RUN=run.id).id == run.id
        assert artifactfs.Api().run(run.id).state == "running"
    found = artifactfs.Api().run(run.id)
    assert (found.outputs, found.config, found.state) == (("made:v0",), {"x": 1}, "finished")
    assert found.circumstances.process is not None
    assert found.circumstances.process.pid == os.getpid()


@pytest.mark.slow
def test_two_hundred_runs_at_once(tmp_path: Path) -> None:
    text = """
import artifactfs, sys
from concurrent.futures import ThreadPoolExecutor
def work(number):
    run = artifactfs.init(name=f"run-{number}", config={"number": number})
    artifact = artifactfs.Artifact("shared", type="model")
    with artifact.new_file("n") as file:
        file.write(str(number))
    run.log_artifact(artifact)
    runs.append(run)
runs = []
with ThreadPoolExecutor(25) as pool:
    list(pool.map(work, range(int(sys.argv[1]), int(sys.argv[1]) + 25)))
print("all running", flush=True)
sys.stdin.readline()
for run in runs:
    run.finish()
"""
    commands = [[sys.executable, "-c", text, str(first)] for first in range(0, 200, 25)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for command in commands]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"all running\n"
    assert [run.state for run in artifactfs.Api().runs()] == ["running"] * 200
    children[0].send_signal(signal.SIGKILL)
    for child in children:
        child.communicate(b"\n", timeout=60)
    runs = list(artifactfs.Api().runs())
    assert sorted(run.state for run in runs) == ["crashed"] * 25 + ["finished"] * 175
    assert sorted(run.config["number"] for run in runs) == list(range(200))
    assert sorted(run.outputs for run in runs) == sorted((f"shared:v{number}",) for number in range(200))
