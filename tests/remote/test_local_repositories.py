"""Local repositories with references: what is set for services counts there, too, in commands and in mounts."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.support import PROGRAM
from tests.mount.conftest import errno_of
from tests.reference.odd_server import Odd, running_odd_server
from tests.remote.reference_checks import put
from tests.remote.servers import Server

OFFLINE = 43
Run = Callable[..., str]


@pytest.fixture
def odd() -> Iterator[Odd]:
    with running_odd_server() as server:
        server.files |= {"/cat": b"meow" * 1000, "/dog": b"wuff" * 1000}
        yield server


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user whose home directory alone says how services are spoken to."""
    (tmp_path / "config.toml").write_text("")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    folders = {name: str(tmp_path / name.lower()) for name in ("REPO", "STATE", "CACHE")}
    return {
        **kept,
        **{f"ARTIFACTFS_{name}": folder for name, folder in folders.items()},
        "ARTIFACTFS_CONFIG": str(tmp_path / "config.toml"),
        "HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    """Return what runs a command, and returns what it said: of one that fails on standard error."""

    def run(*arguments: str | Path, code: int = 0, **more: str) -> str:
        command = [*PROGRAM, *map(str, arguments)]
        done = subprocess.run(command, env={**environ, **more}, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if not code else done.stderr

    return run


@pytest.fixture
def pictures(odd: Odd, run: Run, tmp_path: Path) -> Run:
    """Return the same, with `pictures:v0` of two references, one of which was read."""
    (tmp_path / "config.toml").write_text(f"follow_references = {json.dumps([odd.url])}\n")
    run("put", "pictures", f"{odd.url}/cat", f"{odd.url}/dog")
    assert run("cat", "pictures/cat") == "meow" * 1000
    odd.requests.clear()
    return run


def test_offline_commands_ask_nobody(pictures: Run, odd: Odd) -> None:
    assert pictures("--offline", "cat", "pictures/cat") == "meow" * 1000
    for more in ({}, {"ARTIFACTFS_OFFLINE": "1"}):
        said = pictures(*(() if more else ("--offline",)), "cat", "pictures/dog", code=OFFLINE, **more)
        assert f"{odd.url}/dog is not on this machine" in said
    pictures("--offline", "verify", "pictures", code=OFFLINE)
    pictures("--offline", "put", "more", f"{odd.url}/cat", code=OFFLINE)
    assert odd.requests == []


@pytest.mark.mounted
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
@pytest.mark.parametrize("how", ["option", "environment"])
def test_offline_mounts_ask_nobody(pictures: Run, odd: Odd, tmp_path: Path, transport: str, how: str) -> None:
    mountpoint = tmp_path / "mnt"
    option, more = (("--offline",), {}) if how == "option" else ((), {"ARTIFACTFS_OFFLINE": "1"})
    pictures(*option, "mount", mountpoint, "--mkdir", "--transport", transport, **more)
    try:
        top = mountpoint / "pictures" / "v0"
        assert (top / "cat").read_bytes() == b"meow" * 1000
        assert errno_of((top / "dog").read_bytes) == errno.ENETDOWN
    finally:
        pictures("umount", mountpoint)
    assert odd.requests == []


@pytest.mark.mounted
@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_mount_has_the_keys_of_the_home_directory(
    run: Run, environ: dict[str, str], moto: Server, tmp_path: Path, transport: str
) -> None:
    folder = Path(environ["HOME"], ".aws")
    folder.mkdir(parents=True)
    (folder / "config").write_text(f"[default]\nregion = us-east-1\nendpoint_url = {moto.endpoint}\n")
    (folder / "credentials").write_text("[default]\naws_access_key_id = test\naws_secret_access_key = secret\n")
    uri = put(moto, moto.make_bucket(), {"im/cat": b"meow"})
    run("put", "animals", f"{uri}/im")
    mountpoint = tmp_path / "mnt"
    run("mount", mountpoint, "--mkdir", "--transport", transport)
    try:
        assert (mountpoint / "animals" / "v0" / "im" / "cat").read_bytes() == b"meow"
    finally:
        run("umount", mountpoint)


def test_public_data_is_read_without_keys(run: Run, moto: Server) -> None:
    bucket = moto.make_bucket()
    moto.client().put_object(Bucket=bucket, Key="im/cat", Body=b"meow", ACL="public-read")
    public = {"AWS_ENDPOINT_URL": moto.endpoint, "AWS_SKIP_SIGNATURE": "true"}
    run("put", "animals", f"s3://{bucket}/im/cat", **public)
    assert run("cat", "animals/cat", **public) == "meow"
