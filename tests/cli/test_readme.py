"""What the README shows: each command is run as it stands there, and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import prepare_shell, run

README = Path(__file__).parents[2] / "README.md"


def read_session() -> list[tuple[str, list[str]]]:
    """Return the commands of "Sixty seconds", each with the words that it prints."""
    section = README.read_text().partition("## Sixty seconds")[2].partition("From Python")[0]
    commands: list[tuple[str, list[str]]] = []
    for line in re.findall(r"^    (.+)$", section, re.MULTILINE):
        if line.startswith("$ "):
            commands.append((line[2:].partition("  #")[0].strip(), []))
        else:
            commands[-1][1].extend(line.split())
    return commands


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a directory as the README describes it, with `artifactfs` on the PATH."""
    here = prepare_shell(tmp_path, monkeypatch)
    (here / "images").mkdir()
    for name in ("images/cat.png", "images/coffee.png", "dog.png"):
        (here / name).write_bytes(name.encode() * 1000)
    yield here
    run("umount", "--lazy", str(tmp_path / "mnt"))


@pytest.mark.mounted
def test_sixty_seconds(place: Path) -> None:
    commands = read_session()
    assert len(commands) >= 11
    mountpoint = str(place.parent / "mnt")
    for command, words in commands:
        typed = command.replace("/mnt/artifacts", mountpoint)
        done = subprocess.run(typed, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (typed, done.stderr)
        assert done.stdout.split() == [word.replace("/mnt/artifacts", mountpoint) for word in words], typed


def test_the_example_in_python(place: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code + "print(directory)\n"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("./artifacts/animals:v0\n", "")
    assert (place / "artifacts" / "animals:v0" / "images" / "cat.png").is_file()
