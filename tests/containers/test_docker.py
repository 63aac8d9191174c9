"""The recipes for Docker and Compose of docs/containers.md, in real containers."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import docker
from tests.containers.support import PROJECT, Host, read_through_kills

pytestmark = [
    pytest.mark.containers,
    pytest.mark.mounted,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(docker.missing()), reason=docker.missing() or "-"),
]
PAGE = (PROJECT / "docs" / "containers.md").read_text()


@pytest.fixture(scope="module")
def top() -> Iterator[Path]:
    """Return a shared directory that is older than the daemon, as `/` is where systemd runs."""
    path = Path(tempfile.mkdtemp(prefix="afs-shared-"))
    subprocess.run(["mount", "--bind", path, path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    yield path
    subprocess.run(["umount", "-l", "-R", path], check=False)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def daemon(top: Path) -> Iterator[docker.Docker]:
    found = docker.Docker(Path(tempfile.mkdtemp(prefix="afs-docker-")))
    try:
        found.start()
        yield found
    finally:
        found.end()


@pytest.fixture
def shared(top: Path) -> Iterator[Path]:
    """Return a directory in which something can be mounted on `artifacts`."""
    path = Path(tempfile.mkdtemp(dir=top))
    (path / "artifacts").mkdir()
    path.chmod(0o755)
    yield path
    subprocess.run(["umount", "-l", path / "artifacts"], capture_output=True, check=False)


def with_places(recipe: str, shared: Path) -> str:
    assert "/srv/artifactfs" in recipe
    return recipe.replace("/srv/artifactfs", str(shared)).replace("IMAGE", docker.IMAGE)


def test_docker_reads_while_everything_is_killed(daemon: docker.Docker, host: Host, shared: Path) -> None:
    recipe = re.search(r"`docker run (--mount \S+) IMAGE \.\.\.`", PAGE)[1]
    mount = shlex.split(with_places(recipe, shared))
    name = f"afs-{secrets.token_hex(4)}"
    daemon.run("run", "-d", "--name", name, "--user", "54321:54321", *mount, docker.IMAGE, "sleep", "600")
    read_through_kills(host, shared, ["docker", "exec", name], env=daemon.env)


def test_compose_reads_while_everything_is_killed(
    daemon: docker.Docker, host: Host, shared: Path, tmp_path: Path
) -> None:
    words = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if daemon.run(*words[1:], "version", program=words[0], check=False).returncode:
        pytest.skip("no Compose here")
    recipe = re.search(r"```yaml\n(services:.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "recipe.yaml").write_text(with_places(recipe, shared))
    # The daemon of the tests has no networks.
    (tmp_path / "more.yaml").write_text("services:\n  train:\n    command: sleep 600\n    network_mode: none\n")
    name = f"afs-{secrets.token_hex(4)}"
    words += ["-p", name, "-f", str(tmp_path / "recipe.yaml"), "-f", str(tmp_path / "more.yaml")]
    daemon.run(*words[1:], "up", "-d", program=words[0])
    read_through_kills(host, shared, [*words, "exec", "-T", "train"], env=daemon.env)
