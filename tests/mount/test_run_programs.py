"""`artifactfs run`: programs that know nothing of artifactfs, and what is recorded of them."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifactfs_cli.main import program
from click.testing import CliRunner

import artifactfs
from artifactfs.repository.runviews import is_held
from artifactfs.sdk.recorded import RecordedRun
from tests.mount.conftest import wait_until
from tests.mount.run_support import CLI

pytestmark = pytest.mark.mounted


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    (folder / "data" / "sub").mkdir(parents=True)
    for number in range(20):
        (folder / "data" / "sub" / f"{number:02}").write_bytes(b"x" * number)
    (folder / "data" / "top").write_text("top")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ARTIFACTFS_REPO", str(tmp_path / "repository"))
    return folder


def cli(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def mounted(work: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a mount of a repository with `data`: v0, and v1 with other content, which is `latest`."""
    cli("put", "data", "data/")
    (work / "data" / "top").write_text("other")
    cli("put", "data", "data/")
    place = tmp_path / "mnt"
    place.mkdir()
    cli("mount", "--transport", "kernel", str(place))
    yield place
    subprocess.run([*CLI, "umount", "--lazy", str(place)], capture_output=True, check=False)


def last_run() -> RecordedRun:
    return next(artifactfs.Api().runs())


READ = "import sys\nfor path in sys.argv[1:]: open(path).read()"


@pytest.mark.parametrize("bind", [True, False])
def test_what_is_read_is_recorded_in_order_with_sizes(mounted: Path, bind: bool) -> None:
    text = (
        "import os, sys; top = os.environ['ARTIFACTFS_MOUNT'];"
        "[open(f'{top}/data/{name}').read() for name in ('latest/sub/07', 'v0/top', 'latest/sub/03', 'latest/sub/07')]"
    )
    cli("run", "--name", "reader", *([] if bind else ["--no-bind"]), "--", sys.executable, "-c", text)
    run = last_run()
    assert (run.name, run.state, run.inputs) == ("reader", "finished", ("data:v1", "data:v0"))
    files = [(file.artifact, file.path, file.size) for file in run.workspace.runs.iter_files(run.id)]
    assert files == [("data:v1", "sub/07", 7), ("data:v0", "top", 3), ("data:v1", "sub/03", 3)]
    assert sorted(os.listdir(mounted)) == ["data"]


LOOK = """
import os, sys, artifactfs
with artifactfs.init() as run:
    animals = run.use_artifact("data:v0")
    open(os.path.join(animals.path, "top")).read()
    open(os.path.join(run.use_artifact("data:v1").path, "sub", "05")).read()
    print(animals.path)
    print([(file.artifact, file.path, file.size) for file in run.looked_up()])
"""


@pytest.mark.parametrize("bind", [True, False])
def test_paths_of_artifacts_lead_into_the_view(mounted: Path, bind: bool) -> None:
    options = [] if bind else ["--no-bind"]
    path, files = cli("run", "--name", "sdk", *options, "--", sys.executable, "-c", LOOK).splitlines()
    run = last_run()
    assert path == str(mounted / ("" if bind else f"@run-{run.id}") / "data/v0")
    looked_up = [("data:v0", "top", 3), ("data:v1", "sub/05", 5)]
    assert files == repr(looked_up)  # known while it ran
    assert [(file.artifact, file.path, file.size) for file in run.looked_up()] == looked_up
    assert artifactfs.Api().artifact("data:v0").path == str(mounted / "data/v0")


def test_a_view_that_has_ended_leads_nowhere(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_MOUNT", str(mounted / "@run-01a20a51-331d-7f0e-b627-4f61c62f1334"))
    assert artifactfs.Api().artifact("data:v0").path == str(mounted / "data/v0")


def test_the_files_of_a_run_are_listed(mounted: Path) -> None:
    wanted = [str(mounted / path) for path in ("data/latest/sub/07", "data/v0/top", "data/v1/sub/03")]
    cli("run", "--name", "reader", "--", sys.executable, "-c", READ, *wanted)
    assert cli("runs", "reader", "--files").split("\n") == [
        "           7  data:v1/sub/07",
        "           3  data:v0/top",
        "           3  data:v1/sub/03",
        "",
    ]
    found = json.loads(cli("runs", "reader", "--files", "--uses", "data:v0", "--json"))
    assert found["files"] == [{"artifact": "data:v0", "path": "top", "size": 3}]
    run = last_run()
    assert found["id"] == run.id
    assert [file.path for file in run.looked_up("data:latest")] == ["sub/07", "sub/03"]
    assert len(run.looked_up("data")) == 3
    assert run.looked_up("dat") == run.looked_up("data:v7") == []
    cli("runs", "--files", code=2)


def test_the_view_lies_over_the_mount_point_for_the_program_alone(mounted: Path) -> None:
    cli("run", "--", sys.executable, "-c", READ, str(mounted / "data/v1/top"))
    assert last_run().inputs == ("data:v1",)
    (mounted / "data" / "v0" / "top").read_text()
    assert last_run().inputs == ("data:v1",)


def test_listing_a_version_enters_it_and_the_collection_does_not(mounted: Path) -> None:
    cli("run", "--", "ls", str(mounted / "data"))
    assert last_run().inputs == ()
    cli("run", "--", "ls", str(mounted / "data/v0"))
    assert last_run().inputs == ("data:v0",)
    assert list(last_run().workspace.runs.iter_files(last_run().id)) == []


def test_the_view_shows_what_the_mount_shows(mounted: Path) -> None:
    listing = "import os, sys; print([(at, sorted(d), sorted(f)) for at, d, f in sorted(os.walk(sys.argv[1]))])"
    direct = subprocess.run([sys.executable, "-c", listing, str(mounted)], capture_output=True, text=True, check=True)
    assert cli("run", "--", sys.executable, "-c", listing, str(mounted)) == direct.stdout
    stats = "find . -printf '%p %y %m %s %T@ %l\\n' | sort"
    seen = subprocess.run(["sh", "-c", stats], cwd=mounted, capture_output=True, text=True, check=True).stdout
    assert cli("run", "--", "sh", "-c", f"cd {mounted} && {stats}") == seen
    assert cli("run", "--", "diff", "-r", str(mounted / "data/v1"), "data") == ""


def test_files_share_their_nodes_and_directories_do_not(mounted: Path) -> None:
    ask = ["stat", "-c", "%i", str(mounted / "data/v0/sub"), str(mounted / "data/v0/sub/05")]
    outside = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
    inside = cli("run", "--", *ask).split()
    assert inside[1] == outside[1]
    assert inside[0] != outside[0]


def test_aliases_do_not_move_under_a_program(mounted: Path, work: Path) -> None:
    text = (
        "import os, subprocess, sys; top = sys.argv[1];"
        "subprocess.run([sys.executable, '-c', sys.argv[2], 'put', 'data', 'data/', '--quiet'], check=True);"
        "print(os.readlink(f'{top}/data/latest'), os.path.isdir(f'{top}/data/v2'))"
    )
    out = cli("run", "--", sys.executable, "-c", text, str(mounted), CLI[2])
    assert out.split() == ["data:v2", "v1", "True"]
    assert os.readlink(mounted / "data" / "latest") == "v2"
    assert last_run().outputs == ("data:v2",)


def test_what_a_tree_of_processes_commits_is_an_output_made_from_what_was_read(mounted: Path, work: Path) -> None:
    put = shlex.join([*CLI, "put", "made", "result"])
    cli("run", "--", "sh", "-c", f"cat {mounted}/data/v0/top > result; (sh -c {shlex.quote(put)}) & wait")
    run = last_run()
    assert (run.inputs, run.outputs) == (("data:v0",), ("made:v0",))
    made = artifactfs.Api().artifact("made")
    assert made.logged_by() == run
    assert [item.name for item in made.ancestors()][1:] == ["data:v0"]


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_exit_statuses_are_passed_on(work: Path, command: str, code: int) -> None:
    cli("run", "--", "sh", "-c", command, code=code)
    run = last_run()
    assert (run.exit_code, run.state) == (code, "failed" if code else "finished")


def test_a_program_that_does_not_exist(work: Path) -> None:
    cli("run", "--", "/nothing/there", code=13)
    assert (last_run().state, last_run().exit_code) == ("failed", 127)


def test_signals_are_passed_on(work: Path) -> None:
    text = "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen([*CLI, "run", "--", "sh", "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("got\n", 9)


def test_what_a_killed_run_read_is_recorded_when_it_is_marked(mounted: Path) -> None:
    text = READ + "\nprint('ready', flush=True); sys.stdin.read()"
    command = [*CLI, "run", "--", sys.executable, "-c", text, str(mounted / "data/v0/sub/09")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.communicate(timeout=20)
    assert last_run().state == "crashed"
    wait_until(settles)
    assert (last_run().state, last_run().is_marked, last_run().inputs) == ("crashed", True, ("data:v0",))
    files = [file.path for file in last_run().workspace.runs.iter_files(last_run().id)]
    assert files == ["sub/09"]


def settles() -> bool:
    """Return whether the newest run is marked, after having runs settled: not before its processes have ended."""
    CliRunner().invoke(program, ["runs"])
    return last_run().is_marked and not os.listdir(Path(last_run().workspace.repository.state_directory, "views"))


@pytest.mark.parametrize("bind", [True, False])
def test_a_program_whose_artifactfs_run_was_killed_keeps_its_view(mounted: Path, work: Path, bind: bool) -> None:
    text = (
        "import os, sys; top = sys.argv[1] or os.environ['ARTIFACTFS_MOUNT']\n"
        "for line in sys.stdin: print(open(f'{top}/data/{line.strip()}').read(), flush=True)"
    )
    before = ["--", "env", "-i"] if bind else ["--no-bind", "--"]  # it is found by its mounts, or its environment
    command = [*CLI, "run", *before, sys.executable, "-c", text, str(mounted) if bind else ""]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(path: str) -> str:
        print(path, file=process.stdin, flush=True)
        return process.stdout.readline()

    assert ask("v0/top") == "top\n"
    process.kill()
    process.wait(20)
    cli("put", "data", "data/")
    for _ in range(2):
        CliRunner().invoke(program, ["runs"])  # settles what was left behind: this was not
    assert (last_run().state, last_run().is_marked) == ("crashed", False)
    assert ask("latest/sub/03") == "xxx\n"
    process.stdin.close()
    process.stdout.close()
    wait_until(settles)
    assert (last_run().state, last_run().inputs) == ("crashed", ("data:v0", "data:v1"))
    assert [file.path for file in last_run().workspace.runs.iter_files(last_run().id)] == ["top", "sub/03"]


LATER = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
open(sys.argv[1])
os.stat(sys.argv[2])
"""


@pytest.mark.parametrize("bind", [True, False])
def test_what_processes_read_that_outlive_the_program_is_recorded(mounted: Path, tmp_path: Path, bind: bool) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    top = str(mounted) if bind else "$ARTIFACTFS_MOUNT"
    command = (
        f"cat {top}/data/v0/top; {sys.executable} -c {shlex.quote(LATER)} {fifo} {top}/data/v1/sub/09 >&- 2>&- & exit 3"
    )
    out = cli("run", *([] if bind else ["--no-bind"]), "--", "sh", "-c", command, code=3)
    run = last_run()
    assert (out, run.state, run.exit_code, run.inputs) == ("top", "failed", 3, ("data:v0",))
    views = Path(run.workspace.repository.state_directory, "views")
    CliRunner().invoke(program, ["runs"])  # settles what was left behind: this was not
    assert os.listdir(views) == [run.id]
    fifo.open("w").close()
    wait_until(lambda: not os.listdir(views))
    assert (last_run().state, last_run().inputs) == ("failed", ("data:v0", "data:v1"))
    assert [file.path for file in last_run().workspace.runs.iter_files(run.id)] == ["top", "sub/09"]
    assert [item.name for item in run.ancestors()] == ["data:v0", "data:v1"]
    assert os.listdir(views.parent / "running") == []


def test_a_mount_that_a_run_sees_is_in_use(mounted: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    later = f"{sys.executable} -c {shlex.quote(LATER)} {fifo} {mounted}/data/v1/sub/09"
    cli("run", "--", "sh", "-c", f"{later} >&- 2>&- & exit 0")  # what goes on has nothing open in the mount
    done = subprocess.run([*CLI, "umount", str(mounted)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 21
    assert "which `artifactfs run` started" in done.stderr
    fifo.open("w").close()
    views = Path(last_run().workspace.repository.state_directory, "views")
    wait_until(lambda: not os.listdir(views))
    assert last_run().inputs == ("data:v1",)
    cli("umount", str(mounted))


def test_what_is_left_of_a_killed_recorder_is_recorded_later(mounted: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    later = f"{sys.executable} -c {shlex.quote(LATER)} {fifo} {mounted}/data/v1/sub/09"
    cli("run", "--", "sh", "-c", f"{later} >&- 2>&- & exit 0")
    run = last_run()
    held = os.path.join(run.workspace.repository.state_directory, "views", run.id, "held")
    for process in Path("/proc").glob("[0-9]*"):
        if run.id.encode() in _read_command(process) and b"lingering" in _read_command(process):
            os.kill(int(process.name), signal.SIGKILL)
    wait_until(lambda: not is_held(run.workspace.repository.state_directory, run.id))
    assert os.path.exists(held)
    fifo.open("w").close()
    looked = Path(held).with_name("looked")
    wait_until(lambda: looked.exists() and b"sub/09" in looked.read_bytes())
    wait_until(settles)
    assert last_run().inputs == ("data:v1",)
    assert not os.path.exists(held)


def _read_command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def requests(mounted: Path) -> dict[str, int]:
    """Return how many requests the mount has answered by kind, once that stays the same: it is counted afterwards."""
    before: dict[str, int] | None = None
    while before != (before := count_requests(mounted)):
        pass
    return before


def count_requests(mounted: Path) -> dict[str, int]:
    found = json.loads(cli("mounts", str(mounted), "--json"))["mounts"][0]["figures"]["requests"]
    # What the kernel forgets of processes that ended is told when it likes.
    return {kind: count for kind, count in found.items() if count and "forget" not in kind}


READ_THRICE = """
import os, sys
top = sys.argv[1]
def read():
    for number in range(1, 20):
        file = os.open(f"{top}/data/latest/sub/{number:02}", os.O_RDONLY)
        os.read(file, 99)
        os.close(file)
    print("done", flush=True)
    sys.stdin.readline()
read()
read()
os.listdir(f"{top}/data/v1/sub")
read()
"""


def test_a_first_use_is_one_lookup_and_a_second_is_nothing(mounted: Path) -> None:
    # Nothing is read: the pages are those of the mount. The other lookups are the way there.
    # Whoever drops the caches of the machine meanwhile makes the kernel ask again: then once more.
    for _ in range(5):
        first, second, third = count_three_reads(mounted)
        if "read" not in first and 19 < first["lookup"] <= 19 + 12 and not second and set(third) <= {"readdirplus"}:
            return
    raise AssertionError((first, second, third))


def count_three_reads(mounted: Path) -> list[dict[str, int]]:
    """Return what was asked by kind while a program read files three times, and listed them before the third."""
    subprocess.run(["cat", *[str(mounted / f"data/v1/sub/{number:02}") for number in range(20)]], check=True)
    command = [*CLI, "run", "--", sys.executable, "-c", READ_THRICE, str(mounted)]
    counts = [requests(mounted)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "done\n"
            counts.append(requests(mounted))
            process.stdin.write("\n")
    return [
        {kind: after[kind] - before.get(kind, 0) for kind in after if after[kind] != before.get(kind, 0)}
        for before, after in itertools.pairwise(counts)
    ]


def test_a_file_that_was_listed_before_is_recorded_when_it_is_used(mounted: Path) -> None:
    text = "import os, sys; top = sys.argv[1]; os.listdir(top); open(f'{top}/04').read()"
    cli("run", "--", sys.executable, "-c", text, str(mounted / "data/v1/sub"))
    run = last_run()
    assert [file.path for file in run.workspace.runs.iter_files(run.id)] == ["sub/04"]


def test_what_is_staged_in_a_run_is_served_outside_of_it(mounted: Path) -> None:
    command = shlex.join(CLI)
    text = f"{command} stage model && echo hi > {mounted}/model/@staging/h && cat {mounted}/model/@staging/h"
    assert cli("run", "--", "sh", "-c", f"{text} && {command} status model").splitlines()[1:] == ["hi", "A  h"]
    assert os.listdir(Path(last_run().workspace.repository.state_directory, "views")) == []  # its server is no part
    assert (mounted / "model/@staging/h").read_text() == "hi\n"
    assert "model" in cli("staging")
    cli("commit", "model")
    cli("run", "--", *CLI, "discard", "--yes", "model")
    assert not (mounted / "model/@staging").exists()
    cli("stage", "model")
    assert (mounted / "model/@staging/h").read_text() == "hi\n"
    cli("discard", "--yes", "model")
    cli("umount", str(mounted))


IN_ANOTHER_ROOT = """
set -e
mount --rbind / {root}
exec chroot {root} sh -ec '{text}'
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_is_staged_in_a_run_below_another_root(work: Path, tmp_path: Path) -> None:
    cli("put", "data", "data/")
    root, place = tmp_path / "root", tmp_path / "mnt"
    root.mkdir()
    place.mkdir()
    command = shlex.join(CLI).replace("'", '"')
    staged = f"{command} stage model && echo hi > {place}/model/@staging/h"
    text = (
        f"end() {{ {command} discard --yes model; {command} umount --lazy {place}; }}; trap end EXIT;"
        f'{command} mount --transport kernel {place}; {command} run -- sh -c "$STAGED"; cat {place}/model/@staging/h'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", IN_ANOTHER_ROOT.format(root=root, text=text)],
        env={**os.environ, "STAGED": staged}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["hi"]), done.stderr
