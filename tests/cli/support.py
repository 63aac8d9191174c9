"""Two ways to run the command line: in this process, and as a program."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from artifactfs_cli.main import program
from click.testing import CliRunner, Result

PROGRAM = [sys.executable, "-c", "from artifactfs_cli.main import main; main()"]


class Cli:
    """Runs commands in this process."""

    def __call__(self, *args: str | bytes, code: int = 0) -> Result:
        """Run a command, expect its exit code and return what it did."""
        arguments = [os.fsdecode(arg) for arg in args]
        result = CliRunner().invoke(program, arguments, prog_name="artifactfs")
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr, result.exception)
        assert "Traceback" not in result.stderr
        return result

    def json(self, *args: str, code: int = 0) -> dict[str, Any]:
        """Run a command with --json and return the document."""
        document = json.loads(self(*args, "--json", code=code).stdout)
        assert document["schema"] == 1
        assert isinstance(document, dict)
        return document


def prepare_shell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, empty, of a shell with `artifactfs` on the PATH and a repository of its own."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "artifactfs").write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    (programs / "artifactfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("ARTIFACTFS_REPO", str(folder / "repository"))
    here = folder / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def run(*args: str | bytes, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the program as a process of its own."""
    return subprocess.run([*PROGRAM, *args], capture_output=True, check=False, timeout=60, **more)
