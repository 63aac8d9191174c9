"""The progress bar: not before a second, not without a terminal, and gone at the end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from artifactfs_cli.progress import Bar, show_progress
from artifactfs_cli.session import Session


def test_nothing_is_shown_in_the_first_second(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 0.5, 0.9])
    bar = Bar("put animals", now=lambda: next(times))
    bar.begin(files=2, size=10)
    bar.advance(files=1, size=5)
    bar.advance(files=1, size=5)
    bar.close()
    assert capsys.readouterr().err == ""


def test_without_a_terminal_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(Session(), "put animals") as progress:
        assert progress is None


SLOW = """
from artifactfs_cli.progress import Bar
times = iter([0.0, 2.0, 3.0, 4.0, 5.0])
bar = Bar("put animals", now=lambda: next(times))
bar.begin(files=4, size=4_000_000)
bar.advance(files=1, size=1_000_000)
bar.advance(files=1, size=1_000_000)
bar.close()
"""


def test_bytes_files_and_title_are_shown_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stderr=theirs, stdout=subprocess.PIPE, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # EIO: the other end is closed
            pass
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(ours)
    assert b"put animals" in shown
    assert b"2/4 files" in shown
    assert b"MiB" in shown
