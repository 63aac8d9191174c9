"""Where things are: option before environment before configuration file before default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artifactfs.errors import AccessDeniedError, ConfigurationError
from artifactfs.places import find_author, find_places, make_runtime_directory
from artifactfs.settings import Settings, find_packed_below, find_settings_path, load_settings

HOME = {"HOME": "/home/ann"}


def test_defaults_of_a_user_and_of_root() -> None:
    places = find_places(HOME, uid=1000, settings=Settings())
    assert places.repository == "/home/ann/.local/share/artifactfs/repository"
    assert places.state == "/home/ann/.local/state/artifactfs"
    assert places.cache == "/home/ann/.cache/artifactfs"
    assert places.runtime == "/tmp/artifactfs-1000"
    root = find_places(HOME, uid=0, settings=Settings())
    assert (root.repository, root.runtime) == ("/var/lib/artifactfs", "/run/artifactfs")


def test_root_of_a_user_namespace_alone_is_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a real one: `tests/containers/test_podman.py`."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    monkeypatch.setattr("artifactfs.places.ROOT_RUNTIME", str(tmp_path / "artifactfs"))
    monkeypatch.setattr("artifactfs.places.ROOT_REPOSITORY", str(tmp_path / "artifactfs"))
    places = find_places(HOME, uid=0, settings=Settings())
    assert (places.repository, places.runtime) == (
        "/home/ann/.local/share/artifactfs/repository",
        "/tmp/artifactfs-0",
    )


def test_xdg_variables_count_when_they_are_absolute() -> None:
    environ = {
        **HOME,
        "XDG_DATA_HOME": "/x/data",
        "XDG_STATE_HOME": "/x/state",
        "XDG_CACHE_HOME": "relative",
        "XDG_RUNTIME_DIR": "/run/user/1000",
    }
    places = find_places(environ, uid=1000, settings=Settings())
    assert places.repository == "/x/data/artifactfs/repository"
    assert places.state == "/x/state/artifactfs"
    assert places.cache == "/home/ann/.cache/artifactfs"
    assert places.runtime == "/run/user/1000/artifactfs"


def test_option_before_environment_before_file() -> None:
    settings = Settings(repository="/file", state="/file-state", runtime="/file-run")
    environ = {**HOME, "ARTIFACTFS_REPO": "/environment", "ARTIFACTFS_STATE": "~/state"}
    assert find_places(environ, uid=0, repository="/option", settings=settings).repository == "/option"
    assert find_places(environ, uid=0, settings=settings).repository == "/environment"
    places = find_places(HOME, uid=0, settings=settings)
    assert (places.repository, places.state, places.runtime) == ("/file", "/file-state", "/file-run")
    assert find_places(environ, uid=0, settings=settings).state == "/home/ann/state"


def test_a_relative_place_is_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_places(HOME, uid=0, repository="repo/", settings=Settings()).repository == str(tmp_path / "repo")
    assert find_places(HOME, uid=0, repository="s3://b/p", settings=Settings()).repository == "s3://b/p"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def load(config: Path) -> Settings:
    return load_settings({**HOME, "ARTIFACTFS_CONFIG": str(config)})


def test_the_configuration_file(config: Path, tmp_path: Path) -> None:
    config.write_text('repository = "data/repo"\nauthor = "Ann"\n')
    settings = load(config)
    assert settings.repository == str(tmp_path / "data" / "repo")
    assert settings.author == "Ann"
    assert find_packed_below(settings) == 1 << 20
    config.write_text("packed_below = 0")
    assert find_packed_below(load(config)) == 0
    config.write_text('repository = "data/repo"')
    assert find_places({**HOME, "ARTIFACTFS_CONFIG": str(config)}, uid=0).repository == settings.repository


@pytest.mark.parametrize(
    "text",
    [
        "repo = 'x'",
        "repository = 3",
        "repository = ''",
        "repository = ",
        "packed_below = -1",
        "packed_below = 5000000",
        "a = '\udcff'",
    ],
)
def test_a_configuration_file_that_cannot_be_used(config: Path, text: str) -> None:
    config.write_bytes(os.fsencode(text))
    with pytest.raises(ConfigurationError, match=r"config\.toml"):
        load(config)


def test_a_missing_file_says_nothing_unless_it_was_named(config: Path, tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path), **HOME}
    assert find_settings_path(environ) == str(tmp_path / "artifactfs" / "config.toml")
    assert load_settings(environ).repository is None
    with pytest.raises(ConfigurationError, match="no configuration file"):
        load(config)


def test_author() -> None:
    settings = Settings(author="file")
    assert find_author({"ARTIFACTFS_AUTHOR": "env"}, settings, user="u", host="h") == "env"
    assert find_author({}, settings, user="u", host="h") == "file"
    assert find_author({}, Settings(), user="u", host="h") == "u@h"
    with pytest.raises(ConfigurationError):
        find_author({"ARTIFACTFS_AUTHOR": "a\nb"}, settings, user="u", host="h")


def test_the_runtime_directory_belongs_to_the_user_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "run")
    assert make_runtime_directory(path, uid=os.getuid()) == path
    assert os.stat(path).st_mode & 0o777 == 0o700
    make_runtime_directory(path, uid=os.getuid())
    with pytest.raises(AccessDeniedError):
        make_runtime_directory(path, uid=os.getuid() + 1)
    os.chmod(path, 0o770)
    with pytest.raises(AccessDeniedError):
        make_runtime_directory(path, uid=os.getuid())
    os.symlink(tmp_path, tmp_path / "link")
    with pytest.raises(AccessDeniedError):
        make_runtime_directory(str(tmp_path / "link"), uid=os.getuid())
