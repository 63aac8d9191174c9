"""Mounts of repositories in buckets, read by both transports."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifactfs.digest import CHUNK_SIZE
from artifactfs.errors import MountError, NotFoundError
from artifactfs.mount.kernel.apart import call_apart
from tests.remote.servers import Server

pytestmark = pytest.mark.mounted
SMALL, LARGE = b"hello\n", os.urandom(1 << 16) * (3 * CHUNK_SIZE >> 16)


@pytest.mark.parametrize("transport", ["kernel", "fusepy"])
def test_a_mount_of_a_bucket_is_read(moto: Server, tmp_path: Path, transport: str) -> None:
    environ = {
        **os.environ,
        **moto.environ,
        "AWS_ALLOW_HTTP": "true",
        "ARTIFACTFS_REPO": f"s3://{moto.make_bucket()}/a",
    }

    def run(*arguments: str | Path) -> None:
        command = [sys.executable, "-c", "from artifactfs_cli.main import main; main()", *arguments]
        subprocess.run(command, env=environ, check=True, timeout=60)

    source, mountpoint = tmp_path / "source", tmp_path / "mnt"
    source.mkdir()
    mountpoint.mkdir()
    (source / "small").write_bytes(SMALL)
    (source / "large").write_bytes(LARGE)
    run("put", "animals", source)
    run("mount", mountpoint, "--transport", transport)
    try:
        top = mountpoint / "animals" / "latest" / "source"
        assert (top / "small").read_bytes() == SMALL
        assert (top / "large").read_bytes() == LARGE
    finally:
        run("umount", mountpoint)


def test_what_is_called_apart_answers_or_raises() -> None:
    assert call_apart(lambda: [1, 2]) == [1, 2]
    with pytest.raises(NotFoundError, match="nothing here"):
        call_apart(_fail)
    with pytest.raises(MountError, match="status 7"):
        call_apart(lambda: os._exit(7))


def test_what_fails_apart_in_an_unexpected_way_is_in_the_log(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    logging.getLogger("artifactfs").addHandler(handler)
    try:
        with pytest.raises(MountError, match="status 1"):
            call_apart(lambda: 1 // 0)
    finally:
        logging.getLogger("artifactfs").removeHandler(handler)
        handler.close()
    assert "ZeroDivisionError" in (tmp_path / "log").read_text()


def _fail() -> None:
    msg = "nothing here"
    raise NotFoundError(msg)
