"""What shells offer for a word that is being typed."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli.support import PROGRAM, Cli, run


def test_a_script_for_each_shell(animals: Cli) -> None:
    for shell in ("zsh", "fish"):
        assert "_ARTIFACTFS_COMPLETE" in animals("completion", shell).stdout
    animals("completion", "csh", code=2)


def test_names_and_options_are_offered(animals: Cli) -> None:
    def offered(words: str) -> list[str]:
        environment = {**os.environ, "_ARTIFACTFS_COMPLETE": "fish_complete", "COMP_WORDS": words}
        word = words.rsplit(" ", maxsplit=1)[-1]
        answer = run(env={**environment, "COMP_CWORD": word}).stdout.decode()
        return [line.partition(",")[2].partition("\t")[0] for line in answer.splitlines() if line]

    animals("stage", "animals", "--name", "mine")
    assert offered("artifactfs mo") == ["mount", "mounts"]
    assert offered("artifactfs show an") == ["animals"]
    assert offered("artifactfs show animals:v") == ["animals:v0", "animals:v1"]
    assert offered("artifactfs diff animals:@") == ["animals:@mine"]
    assert offered("artifactfs commit animals:") == ["animals:@mine"]
    assert offered("artifactfs show ../animals:") == []
    assert "--if-changed" in offered("artifactfs put --if")


IN_BASH = [
    ("show an", ["show", "an"], ["animals"]),
    ("show animals:", ["show", "animals", ":"], ["best", "latest", "v0", "v1"]),
    ("show animals:b", ["show", "animals", ":", "b"], ["best"]),
    ("show 'animals:b", ["show", "'animals:b"], ["animals:best"]),
    ("diff animals:v0 animals:v", ["diff", "animals", ":", "v0", "animals", ":", "v"], ["v0", "v1"]),
    ("stage --driver=un", ["stage", "--driver", "=", "un"], ["union"]),
    ("alias ", ["alias", ""], ["rm", "set"]),
    ("nonsense ", ["nonsense", ""], []),
]


@pytest.mark.parametrize(("line", "words", "answers"), IN_BASH, ids=[line for line, _, _ in IN_BASH])
def test_bash_splits_words_at_colons_and_completes_the_last(
    animals: Cli, tmp_path: Path, line: str, words: list[str], answers: list[str]
) -> None:
    program = tmp_path / "artifactfs"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    line = f"artifactfs {line}"
    script = f"""
        {animals("completion", "bash").stdout}
        COMP_WORDS=({shlex.join(["artifactfs", *words])}) COMP_CWORD={len(words)}
        COMP_LINE={shlex.quote(line + " more")} COMP_POINT={len(line)}
        compopt() {{ :; }}
        _artifactfs_completion {shlex.quote(str(program))}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == answers
    assert result.stderr == ""
