"""Which commit a run was started from: what git is asked, and for how long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from artifactfs.runs.events import Git
from artifactfs.runs.workingcopy import ask_git, find_git

# `status` and `config` each answer only when the other was asked, too.
MEET = """\
case "$*" in *status*) me=status other=config ;; *config*) me=config other=status ;; *) exit 1 ;; esac
touch "$0.$me"
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do test -e "$0.$other" && break; sleep 0.05; done
test -e "$0.$other" || exit 1
if test $me = config; then exec echo https://a:b@example.org/r; fi
printf '# branch.oid abc\\n# branch.head main\\n1 .M f\\n'
"""
HANG = 'case "$*" in *rev-parse*) echo abc ;; *) exec sleep 60 ;; esac'


def replace_git(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    file = folder / "git"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_git_is_asked_everything_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_git(tmp_path, monkeypatch, MEET)
    find_answer = ask_git(str(tmp_path), timeout_seconds=30)
    assert find_answer() == Git("abc", True, "main", "https://example.org/r")


def test_of_a_large_working_copy_only_the_commit_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_git(tmp_path, monkeypatch, HANG)
    begun = time.monotonic()
    assert find_git(str(tmp_path), timeout_seconds=0.5) == Git("abc")
    assert time.monotonic() - begun < 30


def test_where_there_is_no_working_copy_or_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert find_git(str(tmp_path)) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_git(str(tmp_path)) is None
