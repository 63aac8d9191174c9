"""A mounted repository for tests of `artifactfs run`, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import artifactfs
from artifactfs.sdk.recorded import RecordedRun

CLI = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]
READ = "import sys\nfor path in sys.argv[1:]: open(path).read()"


def run_cli(*arguments: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command, which must end with `code`, and return what it printed."""
    done = subprocess.run(
        [*CLI, *arguments], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environ}
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


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
