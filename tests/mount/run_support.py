"""A mounted repository for tests of `artifactfs run`, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import artifactfs
from artifactfs.sdk.recorded import RecordedRun
from tests.cli.support import PROGRAM

CLI = PROGRAM
READ = "import sys\nfor path in sys.argv[1:]: open(path).read()"


def run_cli(*arguments: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command, which must end with `code`, and return what it printed."""
    done = subprocess.run(
        [*CLI, *arguments], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environ}
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def make_two_versions(top: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> Path:
    """Make a repository with `data`: v0 and v1, each with a file at `path`; return the folder that holds `data`."""
    folder = top / "work"
    file = folder / "data" / path
    file.parent.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ARTIFACTFS_REPO", str(top / "repository"))
    for text in ("top", "other"):
        file.write_text(text)
        run_cli("put", "data", "data/")
    return folder


@contextmanager
def mounting(place: Path, *options: str) -> Iterator[Path]:
    """Mount the repository for as long as the context lasts."""
    place.mkdir()
    run_cli("mount", *options, str(place))
    try:
        yield place
    finally:
        subprocess.run([*CLI, "umount", "--lazy", str(place)], capture_output=True, check=False)


def named_run(name: str) -> RecordedRun:
    """Return the one run of a name."""
    (found,) = [run for run in artifactfs.Api().runs() if run.name == name]
    return found
