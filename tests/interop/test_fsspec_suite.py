"""fsspec's own abstract tests, as far as a file system that is only read can run them.

All of `AbstractGetTests` runs, on versions that hold what the fixtures describe. In the other suites each test writes
to the file system (`AbstractPutTests`, `AbstractCopyTests`, `AbstractPipeTests`, `AbstractOpenTests`, and the tests of
moving), so they cannot run; that each of these ways to write is refused is tested in `test_filesystem`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

from tests.cli.support import Cli


class VersionFixtures(AbstractFixtures):
    """The fixtures that make files do so in a local directory, of which a version is made."""

    @pytest.fixture
    def fs(self, cli: Cli) -> Any:
        return fsspec.filesystem("artifact", skip_instance_cache=True)

    @pytest.fixture
    def fs_path(self, cli: Cli) -> str:
        return "suite:latest"

    @pytest.fixture
    def fs_target(self, fs_path: str) -> str:
        return f"{fs_path}/target"

    @pytest.fixture
    def make(self, cli: Cli, local_fs: Any, local_join: Any, tmp_path: Path) -> Any:
        """Return a function that makes a version of what a scenario of the suite makes."""

        def make(scenario: Any) -> str:
            folder = tmp_path / "scenario"
            folder.mkdir()
            scenario(local_fs, local_join, str(folder))
            cli("put", "suite", f"{folder}/")
            return "suite:latest/source"

        return make

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, make: Any) -> str:
        return make(self._bulk_operations_scenario_0)

    @pytest.fixture
    def fs_glob_edge_cases_files(self, make: Any) -> str:
        return make(self._glob_edge_cases_files)

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, make: Any) -> str:
        return make(self._dir_and_file_with_same_name_prefix)

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, make: Any) -> str:
        return make(self._10_files_with_hashed_names)


class TestGet(VersionFixtures, AbstractGetTests):
    """Copying out: single files, directories, globs, lists, with and without slashes."""

    def test_get_directory_recursive(  # type: ignore[override]
        self, fs: Any, fs_join: Any, fs_path: Any, local_fs: Any, local_join: Any, local_target: Any,
        make: Any, monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        """Run the suite's test; the file that it would make through the file system is there already."""

        def scenario(some_fs: Any, join: Any, path: str) -> None:
            some_fs.makedirs(join(path, "src"))
            some_fs.touch(join(path, "src", "file"))

        make(scenario)
        monkeypatch.setattr(fs, "mkdir", lambda path: None)
        monkeypatch.setattr(fs, "touch", lambda path: None)
        super().test_get_directory_recursive(fs, fs_join, fs_path, local_fs, local_join, local_target)
