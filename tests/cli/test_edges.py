"""What a shell sees: exit codes, where errors go, signals, a reader that leaves, and questions."""

from __future__ import annotations

import errno
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from artifactfs_cli.failures import report
from artifactfs_cli.main import COMMANDS, program
from artifactfs_cli.options import global_options
from artifactfs_cli.session import Session
from click.testing import CliRunner

from artifactfs.errors import ArtifactFSError, StorageFullError
from tests.cli.support import PROGRAM, Cli, run

FAILURES: list[tuple[int, list[str]]] = [
    (2, ["nonsense"]),
    (2, ["show"]),
    (2, ["show", "animals", "--nonsense"]),
    (13, ["show", "animals:@staging"]),
    (13, ["cat", "animals:@staging/README"]),
    (2, ["put", "animals", "images", "--metadata", "novalue"]),
    (2, ["put", "animals", "images", "--metadata", 'cut={"a":']),
    (2, ["put", "animals", "images", "--metadata", "cut=[1, 2"]),
    (2, ["put", "animals", "images", "--metadata", "large=9007199254740993"]),
    (2, ["put", "animals", "images", "--type", "model"]),
    (2, ["rm", "--collection", "animals"]),
    (2, ["status"]),
    (2, ["status", "animals:v0"]),
    (10, ["show", "animels"]),
    (10, ["stage", "missing:v0"]),
    (11, ["show", "animals:v9"]),
    (12, ["show", "animals:nightly"]),
    (13, ["show", "animals/nothing"]),
    (13, ["put", "animals", "nothing"]),
    (13, ["status", "animals"]),
    (13, ["ls", "--repo", "/nonexistent/repository"]),
    (14, ["get", "animals", "images"]),
    (15, ["put", ".hidden", "images"]),
    (15, ["put", "animals", "images", "--alias", "v3"]),
    (15, ["cat", "animals/../etc/passwd"]),
    (15, ["cat", "animals:v0//" + "x" * 300]),
    (22, ["rm", "animals:v1"]),
    (60, ["mount", "nothing"]),
    (60, ["umount", "images"]),
]


@pytest.mark.parametrize(("code", "args"), FAILURES, ids=[" ".join(args)[:40] for _, args in FAILURES])
def test_errors_have_their_code_and_go_to_standard_error(animals: Cli, code: int, args: list[str]) -> None:
    result = animals(*args, code=code)
    assert result.stdout == ""
    assert result.stderr
    assert animals.json("ls", "animals")["aliases"] == {"best": "v1", "latest": "v1"}


def test_an_unknown_name_is_answered_with_near_misses(animals: Cli) -> None:
    assert "did you mean animals?" in animals("show", "animels", code=10).stderr
    assert "did you mean best?" in animals("show", "animals:bets", code=12).stderr
    assert "Did you mean show?" in animals("sohw", code=2).stderr
    assert "did you mean v1?" in animals("show", "animals:V1", code=12).stderr
    assert "did you mean best" in animals("show", "animals:BEST", code=12).stderr
    assert "did you mean best" in animals("alias", "rm", "animals", "Best", code=12).stderr
    assert "did you mean cat.txt?" in animals("show", "animals/CAT.TXT", code=13).stderr
    for command in ("show", "cat", "ls", "get"):
        assert "did you mean sub/dog.txt?" in animals(command, "animals:v0/sub/dig.txt", code=13).stderr
        assert "did you mean sub?" in animals(command, "animals/sab/dog.txt", code=13).stderr


def test_an_unknown_name_without_a_near_miss_is_answered_with_what_there_is(animals: Cli) -> None:
    said = animals("show", "animals:xyzzy", code=12).stderr
    assert "aliases are best, latest; versions are v0 to v1" in said
    said = animals("alias", "rm", "animals", "xyzzy", code=12).stderr
    assert "aliases are best, latest" in said
    assert "versions" not in said
    animals("rm", "animals:v0", "--yes")
    assert "the only version is v1" in animals("show", "animals:v7", code=11).stderr


def test_global_options_before_and_after_the_command(animals: Cli, tmp_path: Path) -> None:
    assert animals("--json", "ls").stdout == animals("ls", "--json").stdout
    for args in (["--repo", str(tmp_path / "other"), "ls"], ["ls", "--repo", str(tmp_path / "other")]):
        assert "other" in animals(*args, code=13).stderr
    animals("--yes", "rm", "--collection", "animals")


def test_every_command_has_the_global_options() -> None:
    expected = {option for parameter in global_options() for option in parameter.opts}
    for command in iter_commands(program):
        assert expected <= {option for parameter in command.params for option in parameter.opts}, command.name


def iter_commands(group: click.Group) -> list[click.Command]:
    """Return all commands, those of groups included."""
    context = click.Context(group)
    found: list[click.Command] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(command)
        if isinstance(command, click.Group):
            found += iter_commands(command)
    return found


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_every_command(cli: Cli, name: str) -> None:
    assert cli(name, "--help").stdout.startswith(f"Usage: artifactfs {name}")


def test_the_version(cli: Cli) -> None:
    from artifactfs import __version__

    assert cli("--version").stdout == f"artifactfs {__version__}\n"


def test_a_bug_has_a_traceback_and_1(animals: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Session, "open_repository", fail)
    result = CliRunner().invoke(program, ["ls"])
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr


def test_an_error_of_the_system_is_told_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(OSError(errno.ENOSPC, "No space left on device", "/x"), verbose=False) == StorageFullError.exit_code
    assert capsys.readouterr().err.startswith("artifactfs: /x: No space left on device\n")


def test_messages_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report(ArtifactFSError("bad \x1b[31mname\udcff"), verbose=False)
    assert capsys.readouterr().err == "artifactfs: bad \\x1b[31mname\\xff\n"


def test_verbose_shows_where_an_error_comes_from(animals: Cli) -> None:
    result = CliRunner().invoke(program, ["show", "nothing", "-v"])
    assert result.exit_code == 10
    assert "Traceback" in result.stderr


def test_a_program_exits_with_the_code(animals: Cli) -> None:
    assert (run("ls").returncode, run("ls").stdout) == (0, b"animals\n")
    failed = run("show", "animals:v9")
    assert (failed.returncode, failed.stdout) == (11, b"")
    assert failed.stderr.startswith(b"artifactfs: there is no animals:v9\n")


def test_a_reader_that_leaves_is_no_error(animals: Cli, work: Path) -> None:
    (work / "images" / "big").write_bytes(b"x" * 4_000_000)
    animals("put", "animals", "images/")
    with subprocess.Popen([*PROGRAM, "cat", "animals/big"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 128 + signal.SIGPIPE


def test_a_full_standard_output_is_an_error(animals: Cli) -> None:
    with open("/dev/full", "wb") as full:
        failed = subprocess.run([*PROGRAM, "ls"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert failed.returncode == 50
    assert b"Traceback" not in failed.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(cli: Cli, work: Path, number: signal.Signals, code: int) -> None:
    # `cat` of a large file blocks in a pipe that nobody reads, so it is certainly in the middle of its work.
    (work / "images" / "big").write_bytes(b"x" * 4_000_000)
    cli("put", "animals", "images/")
    with subprocess.Popen([*PROGRAM, "cat", "animals/big"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.send_signal(number)
        assert process.wait(30) == code
        error = process.stderr.read()
    assert b"Traceback" not in error
    assert error.startswith(b"artifactfs: ")


def ask(*args: str, answer: bytes) -> tuple[int, bytes]:
    """Run the program with a terminal that answers its question; return exit code and what the terminal showed."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen([*PROGRAM, *args], stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL) as process:
            os.close(theirs)
            shown = b""
            while b"[y/N]" not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, answer)
            return process.wait(30), shown
    finally:
        os.close(ours)


def test_errors_of_paths_name_the_version_that_was_meant(cli: Cli, work: Path) -> None:
    (work / "images" / "away").symlink_to("cat.png")
    cli("put", "animals", "images")
    failed = cli("cat", "animals/images/away", code=2).stderr
    assert "animals:v0/images/away is a symbolic link, not a file" in failed
    assert "it leads to 'cat.png'" in failed
    failed = cli("cat", "animals", code=2).stderr
    assert "animals:v0 is a directory, not a file" in failed
    assert "`artifactfs ls animals:v0`" in failed
    for command in ("cat", "ls"):
        failed = cli(command, "animals/nothing", code=13).stderr
        assert "there is no 'nothing' in animals:v0" in failed
        assert "`artifactfs ls animals:v0/` lists entries" in failed


def test_a_collection_is_removed_when_the_answer_is_yes(animals: Cli) -> None:
    code, shown = ask("rm", "--collection", "animals", answer=b"n\n")
    assert code == 130
    assert b"Remove the collection animals with 2 versions?" in shown
    assert animals("ls").stdout == "animals\n"
    assert ask("rm", "--collection", "animals", answer=b"y\n")[0] == 0
    assert animals("ls").stdout == ""


def test_ls_loads_only_what_it_needs(animals: Cli) -> None:
    code = (
        "import sys\nfrom artifactfs_cli.main import program\n"
        "try: program.main(['ls'], 'artifactfs')\n"
        "except SystemExit: print(*sorted(sys.modules))"
    )
    done = subprocess.run([PROGRAM[0], "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "artifactfs_cli.ls" in loaded
    assert loaded.isdisjoint({"rich", "fuse", "artifactfs.mount", "artifactfs.vfs", "tomllib", "artifactfs_cli.put"})


def test_the_command_line_imports_its_own_modules_relatively() -> None:
    import ast

    from artifactfs_cli import main

    folder = Path(main.__file__).parent
    own = {path.stem for path in folder.glob("*.py")}
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in {"artifactfs_cli", "cli"}, f"{path.name} imports {name}"
    assert set(COMMANDS) <= own
