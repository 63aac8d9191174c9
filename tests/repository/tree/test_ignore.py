"""Patterns mean what git says they mean: git is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifactfs.errors import UsageError
from artifactfs.repository.ignore import Ignored, Patterns, parse_patterns

PATHS = [
    b"a", b"b", b"ab", b"a.tmp", b"d/a", b"d/b", b"d/a.tmp", b"d/e/a", b"d/e/f/a", b"e/d/a", b"x y", b"d/e/a.txt",
    b"[a]", b"a*", b"!a", b"#a", b"a-b", b"d/A", b"1", b"a\\b",
]  # fmt: skip
PATTERNS = [
    "a", "*.tmp", "/a", "d/", "d", "/d/", "d/a", "d/*", "d/**", "**/a", "**/d/a", "d/**/a", "*", "!a", "!d/a", "a?",
    "?", "[ab]", "[!ab]", "[^a]", "[a-c]*", "\\!a", "\\#a", "#a", "a\\*", "[[]a]", "x y", "x\\ y", "a ", "e/", "**",
    "/**", "d/e/**", "*/a", "/*/a", "[[:upper:]]", "[[:digit:]]", "a[-]b", "[]a]*", "d/*/a", "!*.txt", "\\a", "a\\\\b",
]  # fmt: skip


@pytest.fixture(scope="module")
def work_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("ignore")
    subprocess.run(["git", "init", "-q", str(top)], check=True)
    (top / "tree").mkdir()
    for path in PATHS:
        target = top / "tree" / path.decode()
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_dir():
            target.write_bytes(b"")
    return top


def ask_git(top: Path, patterns: list[str]) -> set[bytes]:
    (top / "tree" / ".gitignore").write_text("\n".join(patterns) + "\n")
    result = subprocess.run(
        ["git", "-C", str(top / "tree"), "check-ignore", "-z", "--no-index", "--stdin"],
        input=b"\0".join(PATHS),
        capture_output=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    return set(result.stdout.split(b"\0")) - {b""}


def walk_says(patterns: Patterns) -> set[bytes]:
    """Return the paths that a walk leaves out."""
    ignored = Ignored(ignored=patterns)
    found = set()
    for path in PATHS:
        parts = path.split(b"/")
        above = [b"/".join(parts[:count]) for count in range(1, len(parts))]
        left_out = [ignored.leaves_out(parent, is_directory=True) for parent in above]
        if any(left_out) or ignored.leaves_out(path, is_directory=False):
            found.add(path)
    return found


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4))
def test_patterns_agree_with_git(work_tree: Path, patterns: list[str]) -> None:
    parsed = parse_patterns([pattern.encode() for pattern in patterns])
    assert walk_says(parsed) == ask_git(work_tree, patterns), patterns


def test_an_ignore_file_counts_below_its_directory_only() -> None:
    ignored = Ignored().enter(b"/a\n*.tmp\n", b"d")
    assert ignored.leaves_out(b"d/a", is_directory=False)
    assert not ignored.leaves_out(b"a", is_directory=False)
    assert ignored.leaves_out(b"d/e/x.tmp", is_directory=False)
    assert not ignored.leaves_out(b"d/e/a", is_directory=False)


def test_what_the_caller_excludes_comes_before_ignore_files() -> None:
    ignored = Ignored(parse_patterns([b"!keep", b"drop"])).enter(b"keep\n!drop\n", b"")
    assert not ignored.leaves_out(b"keep", is_directory=False)
    assert ignored.leaves_out(b"drop", is_directory=False)


def test_names_are_bytes() -> None:
    patterns = parse_patterns([b"\xff*"])
    assert patterns.find_verdict(b"d/\xff\xfe\n", is_directory=False)
    assert patterns.find_verdict(b"d/\xfe", is_directory=False) is None


def test_a_pattern_that_means_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="gitignore"):
        parse_patterns([b"[z-a]"])
