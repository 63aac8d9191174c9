"""What `check` advises is what mends it: it is followed to the letter until there is nothing more to be done."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from artifactfs_cli.main import program
from click.testing import CliRunner

from artifactfs.repository.repository import open_repository
from tests.cli.support import Cli
from tests.core.golden_archives import unpack_archive
from tests.core.golden_whole import CHANGED, FILES, put_references, write_files

STEPS = 4


def flip(path: Path) -> None:
    """Flip a bit in the middle of an object."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Cut an object short."""
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-5])


def remove(path: Path) -> None:
    """Remove an object."""
    path.unlink()


class Place:
    """A repository, a copy of it, and the files that it was made of; it is looked at by somebody who has seen it."""

    def __init__(self, folder: Path, archive: str) -> None:
        self._folder = folder
        self.top = unpack_archive(archive, folder)
        self.has_copy = True
        shutil.copytree(self.top, folder / "copy")

    def find(self, pattern: str) -> Path:
        """Return the first object whose key matches."""
        return min(path for path in self.top.glob(pattern) if path.is_file())

    def check(self) -> list[tuple[str, str]]:
        """Return key and advice of everything that is damaged."""
        result = CliRunner().invoke(program, ["--json", "check", "--read-data"])
        damage = json.loads(result.stdout)["damage"]
        assert result.exit_code == (30 if damage else 0)
        return [(item["object"], item["advice"]) for item in damage]

    def mend(self) -> list[str]:
        """Follow the advice until nothing is damaged, and return it."""
        followed: list[str] = []
        for _ in range(STEPS):
            found = self.check()
            if not found:
                return followed
            followed += [advice for _, advice in found]
            for key, advice in found:
                self._follow(key, advice)
        raise AssertionError(followed)

    def _follow(self, key: str, advice: str) -> None:
        command = re.search(r"`(artifactfs (?:check|prune|log) [^`]*)`", advice)
        moved = re.search(r"move (\S+) out of the repository", advice)
        if "restore it from a copy" in advice and self.has_copy:
            (self.top / key).unlink(missing_ok=True)
            shutil.copy2(self._folder / "copy" / key, self.top / key)
        elif advice.startswith("store the files again"):
            self._put()
        elif moved:
            shutil.move(
                self.top / (key if moved[1] == "it" else moved[1]), self._folder / f"moved {len(key)}{key[-9:]}"
            )
        else:
            assert command, advice
            arguments = ["--yes", *shlex.split(command[1])[1:]]
            assert CliRunner().invoke(program, arguments).exit_code in (0, 30), advice

    def _put(self) -> None:
        for files in (FILES, CHANGED):
            write_files(self._folder / "files", files)
            Cli()("put", "animals", f"{self._folder}/files/")
        Cli()("put", "plants", f"{self._folder}/files/images/")
        with open_repository(str(self.top), state=str(self._folder / "state"), author="tester") as repository:
            put_references(repository)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Place]:
    def unpack(archive: str) -> Place:
        found = Place(tmp_path, archive)
        monkeypatch.setenv("ARTIFACTFS_REPO", str(found.top))
        monkeypatch.setenv("ARTIFACTFS_AUTHOR", "tester")
        Cli()("ls", "-R")  # sees all logs
        assert found.check() == []
        return found

    return unpack


WITH_COPY = [
    ("collections/animals/log/*2", flip),
    ("collections/animals/log/*4", remove),
    ("collections/far/log/*2", remove),
    ("collections/often/checkpoint/*", flip),
    ("format/1.json", flip),
    ("format/2.json", remove),
    ("prune/*/condemned", cut),
    ("prune/*/verdict", flip),
    ("prune/*/done", flip),
]
WITHOUT = [
    ("runs/*/*-*/*[0-9]", flip),
    ("runs/*/resumed-*", flip),
    ("runs/environment/*", flip),
]
"""What can be given up, too."""


@pytest.mark.parametrize("has_copy", [True, False])
def test_what_is_no_content(make: Callable[[str], Place], *, has_copy: bool) -> None:
    """The last record of a log can be given up; one in the middle cannot."""
    place = make("whole")
    place.has_copy = has_copy
    cases = [*WITHOUT, *(WITH_COPY if has_copy else WITH_COPY[2:])]
    for pattern, damage in cases:
        damage(place.find(pattern))
    assert len(place.mend()) == len(cases)


@pytest.mark.parametrize("has_copy", [True, False])
def test_steps_of_drafts(make: Callable[[str], Place], *, has_copy: bool) -> None:
    place = make("drafts")
    place.has_copy = has_copy
    for number, damage in enumerate((flip, remove)):
        damage(sorted(place.top.glob("drafts/*/*/*1"))[number])
    assert len(place.mend()) == 2
    Cli()("prune", "--dry-run")


def test_content_that_no_version_needs(make: Callable[[str], Place]) -> None:
    place = make("whole")
    path = place.find("packs/ef/*")
    flip(path)
    assert place.mend() == ["no version needs it: `artifactfs check --read-data --repair` sets it aside"]
    assert not path.exists()


def damage_each(place: Place, damage: Callable[[Path], None]) -> None:
    """Damage each object that holds content, mend it, and look for what was lost."""
    keys = [
        path for folder in ("blobs", "sums", "packs", "treepacks") for path in sorted(place.top.glob(f"{folder}/*/*"))
    ]
    assert len(keys) > 8
    for path in keys:
        if path.exists():
            damage(path)
            place.mend()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, cut, remove])
@pytest.mark.parametrize("has_copy", [True, False])
def test_content(make: Callable[[str], Place], damage: Callable[[Path], None], *, has_copy: bool) -> None:
    place = make("whole")
    place.has_copy = has_copy
    damage_each(place, damage)
    for ref in ("animals:v0", "animals:v1", "often", "plants"):
        Cli()("verify", ref)
