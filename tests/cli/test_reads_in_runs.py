"""What a program of `artifactfs run` reads without a mount, what it makes a version of, and what it says of its run."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from pathlib import Path

import pytest

import artifactfs
from artifactfs.sdk.recorded import RecordedRun
from tests.mount.run_support import CLI, make_two_versions, run_cli


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with `data`: v0 and v1, each with the file `sub/top`."""
    return make_two_versions(tmp_path, monkeypatch, "sub/top")


def run(*arguments: str, code: int = 0, **environ: str) -> str:
    done = run_cli(*arguments, code=code, **environ)
    return done.stdout + done.stderr


def last_run() -> RecordedRun:
    return next(artifactfs.Api().runs())


READS = {
    "cat": (["cat", "data:v0/sub/top"], ["sub/top"]),
    "get": (["get", "data:v0", "copy"], []),
    "get a file": (["get", "data:v0/sub/top", "copy"], ["sub/top"]),
    "copy": (["copy", "data:v0", "other"], []),
    "manifest": (["manifest", "export", "data:v0"], []),
    "export": (["export", "data:v0", "--tar", "-o", "archive.tar"], []),
}


@pytest.mark.parametrize("name", READS)
def test_commands_record_what_they_read(name: str) -> None:
    arguments, files = READS[name]
    run("run", "--", "sh", "-c", '"$@"; true', "-", *CLI, *arguments)
    assert last_run().inputs == ("data:v0",)
    assert [file.path for file in last_run().looked_up()] == files


def test_without_a_mount_it_is_said_that_commands_are_recorded_all_the_same() -> None:
    said = run_cli("run", "--", *CLI, "cat", "data:v0/sub/top").stderr.splitlines()
    assert "nothing is mounted by the kernel transport: only what commands and Python read is recorded" in said
    assert last_run().inputs == ("data:v0",)


def test_commands_record_what_they_read_where_the_run_has_no_view() -> None:
    run("run", "--", "env", f"ARTIFACTFS_STATE={os.path.abspath('elsewhere')}", *CLI, "cat", "data:v0/sub/top")
    assert (last_run().inputs, last_run().looked_up()) == (("data:v0",), [])


def python(text: str, *options: str, **environ: str) -> str:
    return run("run", *options, "--", sys.executable, "-c", text, **environ)


@pytest.mark.parametrize(
    "text",
    [
        "import artifactfs; artifactfs.Api().artifact('data:v0').download()",
        "import artifactfs; artifactfs.Api().artifact('data:v0').get_entry('sub/top').download()",
        "import os, artifactfs\nif os.fork() == 0: artifactfs.Api().artifact('data:v0').download()\nelse: os.wait()",
        "import fsspec; fsspec.open('artifact://data:v0/sub/top').open().read()",
        "from artifactfs import *; a = Artifact('n'); a.add_reference('artifact://data:v0'); init().upsert_artifact(a)",
    ],
)
def test_python_records_what_it_reads(text: str) -> None:
    python(text)
    assert last_run().inputs == ("data:v0",)


def test_python_records_what_it_reads_where_the_run_has_no_view() -> None:
    elsewhere = f"import os; os.environ['ARTIFACTFS_STATE'] = {os.path.abspath('elsewhere')!r}\n"
    python(f"{elsewhere}import artifactfs; artifactfs.Api().artifact('data:v0').download()")
    assert last_run().inputs == ("data:v0",)
    python(f"{elsewhere}import fsspec; fsspec.open('artifact://data:v1/sub/top').open().read()")
    assert last_run().inputs == ("data:v1",)


def test_a_run_of_another_repository_keeps_nobody_from_working(tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    script = 'A="$1"; shift; "$@" --repo "$A" put plants data/; "$@" --repo "$A" cat plants/sub/top'
    run("run", "--", "sh", "-ec", script, "-", other, *CLI)
    assert last_run().outputs == last_run().inputs == ()
    with artifactfs.Api(other) as api:
        assert api.artifact("plants").files()
        assert list(api.runs()) == []
    python(f"import artifactfs; artifactfs.init(repository={other!r}, name='there').finish()")
    with artifactfs.Api(other) as api:
        (there,) = api.runs()
    assert (there.name, there.parent) == ("there", last_run().id)


def test_what_a_run_takes_over_is_an_input_and_what_it_has_made_is_none() -> None:
    script = '"$@" put a artifact://data:v0/sub; "$@" put b artifact://a:v0; "$@" cat a/sub/top; "$@" put c data/'
    run("run", "--", "sh", "-ec", script, "-", *CLI)
    found = last_run()
    assert (found.inputs, found.outputs) == (("data:v0",), ("a:v0", "b:v0", "c:v0"))
    edges = json.loads(run("lineage", "--json", "b:v0"))["edges"]
    pairs = {(edge["from"], edge["to"]) for edge in edges}
    assert pairs == {("data:v0", found.id), (found.id, "b:v0"), ("a:v0", "b:v0"), (found.id, "a:v0")}
    text = (
        "import artifactfs\nwith artifactfs.init() as run:\n"
        " made = run.log_artifact('data', 'own'); run.use_artifact('own'); made.download()\n"
        " run.log_artifact('data', 'more'); print(run.inputs)"
    )
    assert "[]" in python(text)
    assert (last_run().inputs, last_run().outputs) == ((), ("own:v0", "more:v0"))
    assert artifactfs.Api().artifact("more").ancestors() == [last_run()]


@pytest.mark.parametrize("again", [False, True])
def test_the_base_of_what_a_run_makes_is_an_input(again: bool) -> None:
    run("stage", "data:v0")
    script = '"$@" commit data' + ('; "$@" commit data' if again else "")
    run("run", "--", "sh", "-ec", script, "-", *CLI)
    found = last_run()
    assert (found.inputs, found.outputs) == (("data:v0",), ("data:v2", "data:v3") if again else ("data:v2",))
    assert [node["id"] for node in json.loads(run("lineage", "--json", "--up", found.id))["nodes"]] == [
        found.id,
        "data:v0",
    ]
    if again:
        ancestors = [getattr(item, "name", "") for item in artifactfs.Api().artifact("data:v3").ancestors()]
        assert sorted(ancestors) == ["", "data:v0", "data:v2"]
    run("stage", "fresh")
    run("run", "--", *CLI, "commit", "fresh")
    assert last_run().inputs == ()


GIVEN = "name='n', project='p', job_type='t', tags=['b', 'c'], notes='hm', config={'lr': 2, 'more': 1}"


def test_init_completes_what_the_command_line_gave() -> None:
    said = python(f"import artifactfs; artifactfs.init({GIVEN})")
    found = last_run()
    assert (found.name, found.project, found.job_type, found.tags) == ("n", "p", "t", ("b", "c"))
    assert (found.notes, found.config, "Warning" in said) == ("hm", {"lr": 2, "more": 1}, False)
    assert json.loads(run("lineage", "--json", found.id))["nodes"][0]["name"] == "n"


def test_what_the_command_line_gave_stays_and_a_warning_says_so() -> None:
    options = ["--name", "x", "--tag", "a", "--config", "lr=1", "--project", "p"]
    said = python(f"import artifactfs; run = artifactfs.init({GIVEN}); print(run.name, run.config['lr'])", *options)
    found = last_run()
    assert (found.name, found.job_type, found.tags) == ("x", "t", ("a", "b", "c"))
    assert (found.notes, found.config) == ("hm", {"lr": 1, "more": 1})
    assert "UserWarning: name, config['lr'] given to init() differ" in said
    assert "x 1" in said


def test_the_python_of_the_program_and_its_packages_are_recorded() -> None:
    python("pass")
    environment = last_run().environment
    assert environment is not None
    assert environment.python == f"{platform.python_implementation()} {platform.python_version()}"
    assert any(package.startswith("msgspec==") for package in environment.packages)
    run("run", "--", "true")
    environment = last_run().environment
    assert environment is not None
    assert (environment.python, environment.packages) == ("", ())
    run("run", "--", "sh", "-c", f"{sys.executable} -c 'import artifactfs; artifactfs.init()'")
    environment = last_run().environment
    assert environment is not None
    assert environment.python.endswith(platform.python_version())
    assert any(package.startswith("msgspec==") for package in environment.packages)


def test_an_end_that_cannot_be_recorded_takes_no_exit_status_away(tmp_path: Path) -> None:
    place = tmp_path / "repository"
    said = run("run", "--", "sh", "-c", f"mv {place} {place}.away; exit 7", code=7)
    assert "the end of the run is not recorded yet" in said
    place.with_name("repository.away").rename(place)
    assert (last_run().state, last_run().is_marked) == ("crashed", False)
    run("runs")
    assert (last_run().state, last_run().exit_code) == ("failed", 7)


def test_aliases_stay_in_a_run_but_for_those_of_what_it_has_made() -> None:
    cat, put = '"$@" cat data/sub/top; ', '"$@" put data data/; '
    outside = "env -u ARTIFACTFS_RUN "
    script = f"echo new > data/sub/top; {outside}{put}{cat}{outside}{cat} echo own > data/sub/top; {put}{cat}"
    printed = run("run", "--quiet", "--", "sh", "-ec", script, "-", *CLI).splitlines()
    assert [line for line in printed if line in ("othernew", "own", "new")] == ["othernew", "own"]
    assert last_run().inputs == ("data:v1",)
    text = f"""
import artifactfs, subprocess
before = artifactfs.Api().artifact("data").name
subprocess.run({["env", "-u", "ARTIFACTFS_RUN", *CLI, "put", "data", "data/"]!r}, check=True)
print(before, artifactfs.Api().artifact("data:latest").name)
"""
    assert "data:v3 data:v3" in python(text)
    assert artifactfs.Api().artifact("data").name == "data:v4"


COMMANDS = {
    "get": '"$@" get data:latest copy; cat copy/sub/top',
    "put": '"$@" put taken artifact://data:latest/sub/; "$@" cat taken/top',
}
MORE_COMMANDS = {
    "get a file": '"$@" get data/sub/top file; cat file',
    "export": '"$@" export data:latest --tar -o a.tar; tar -xOf a.tar sub/top',
    "ls": '"$@" ls -l data:latest/sub | grep -q "  5  " && echo other',
    "show": '"$@" show data:latest | grep -q "^ref: .*v1$" && echo other',
    "blame": '"$@" blame data sub/top | grep -q v1 && echo other',
    "diff": '"$@" diff --lines data:v0 data | grep "^+other" | cut -c2-',
    "verify": '"$@" --json verify data | grep -q data:v1 && echo other',
}
OPEN = "import fsspec; print(fsspec.open('artifact://data:latest/sub/top').open().read().decode())"
REFER = (
    "from artifactfs import *; a = Artifact('n'); a.add_reference('artifact://data/sub/'); run = init();"
    "run.log_artifact(a); print(open(run.use_artifact('n').download() + '/top').read())"
)
PYTHON = {name: shlex.join([sys.executable, "-c", text]) for name, text in (("fsspec", OPEN), ("refer", REFER))}


@pytest.mark.parametrize("reads", [COMMANDS, pytest.param(MORE_COMMANDS | PYTHON, marks=pytest.mark.slow)])
def test_aliases_mean_in_a_run_what_its_view_shows(reads: dict[str, str]) -> None:
    before = 'printf longer > data/sub/top; env -u ARTIFACTFS_RUN "$@" put data data/ >&2\n'
    script = before + "\n".join(f"printf '{name}= '; ( {read} ) | tail -n 1; echo" for name, read in reads.items())
    printed = run_cli("--quiet", "run", "--", "sh", "-c", script, "-", *CLI).stdout
    assert " ".join(printed.split()) == " ".join(f"{name}= other" for name in reads)


def test_every_change_of_a_log_says_from_which_run() -> None:
    steps = ["stage data", "commit data --close --message m", "stage data", "discard data --yes"]
    more = ["alias set data:v0 best", "alias rm data best", "edit data:v0 --tag x", "rm data:v0 --yes"]
    script = "; ".join(f'"$@" {step}' for step in [*steps, *more])
    run("run", "--", "sh", "-ec", script, "-", *CLI)
    records = json.loads(run_cli("log", "data", "--json").stdout)["records"]
    made = [record for record in records if record["seq"] > 2]
    assert len({record["change"]["kind"] for record in made}) > 5
    assert {record["run"] for record in made} == {last_run().id}
