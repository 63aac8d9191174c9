"""Settings of object stores that cannot be meant, and a client that breaks off: errors that say so, no tracebacks."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from artifactfs.blobstore.locations import parse_remote_location
from artifactfs.blobstore.objectstore import BucketStore, open_bucket
from artifactfs.credentials import find_remote_options
from artifactfs.errors import ConfigurationError
from artifactfs.settings import Settings
from tests.cli.support import PROGRAM


def connect(url: str, **environ: str) -> BucketStore:
    return open_bucket(parse_remote_location(url), find_remote_options({"HOME": "/none", **environ}, Settings()))


@pytest.mark.parametrize(
    "value", ["localhost:9000", "user:hunter2@host", "", "http://", "ftp://host", "http://host:x", "http://[::1"]
)
def test_an_endpoint_that_is_no_url_is_named_and_not_repeated(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^AWS_ENDPOINT_URL is not the URL of a service \(") as caught:
        connect("s3://bucket/a", AWS_ENDPOINT_URL=value)
    assert "http://HOST:PORT" in caught.value.hint
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"), [("gs://bucket/a", "GOOGLE_BASE_URL"), ("az://bucket/a", "AZURE_STORAGE_ENDPOINT")]
)
def test_endpoints_of_every_service_are_looked_at(url: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} is not"):
        connect(url, **{name: "localhost:9000"})


def test_an_endpoint_out_of_a_file_is_named_as_its_variable(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\nendpoint_url = localhost:9000\n")
    with pytest.raises(ConfigurationError, match=r"^AWS_ENDPOINT_URL_S3 is not"):
        connect("s3://bucket/a", HOME=str(tmp_path))


def test_urls_are_taken_and_other_services_may_say_what_they_like() -> None:
    for value in ("http://localhost:9000", "https://[::1]:9000/minio", "https://host"):
        connect("s3://bucket/a", AWS_ENDPOINT_URL=value, AZURE_ENDPOINT="localhost:9000")


class PanicException(BaseException):
    """As pyo3 has it: no `Exception`."""


class _Panicking:
    def get(self, key: str) -> None:
        raise PanicException(f"http://user:hunter2@host/{key}")


def test_a_client_that_breaks_off_is_an_error_in_every_thread() -> None:
    store = BucketStore(_Panicking(), None, location="s3://bucket")
    found: list[str] = []

    def read() -> None:
        with pytest.raises(
            ConfigurationError, match=r"^reading a at s3://bucket: the client .* broke off \("
        ) as caught:
            store.read("a")
        assert not caught.value.retryable
        assert caught.value.__suppress_context__
        found.append(str(caught.value))

    read()
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(found) == 2
    assert "hunter2" not in "".join(found)


def test_the_command_line_says_it(tmp_path: Path) -> None:
    environ = {**os.environ, "AWS_ENDPOINT_URL": "localhost:9000", "ARTIFACTFS_STATE": str(tmp_path)}
    command = [*PROGRAM, "--repo", "s3://bucket/a", "ls"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done.stderr
    assert "AWS_ENDPOINT_URL is not the URL of a service" in done.stderr
    assert "panicked" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["gs://bucket/a", "az://bucket/a"])
@pytest.mark.parametrize("profile", ["default", "sso", "missing"])
def test_settings_of_one_service_are_of_no_concern_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, profile: str
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\nregion = eu-west-1\n[profile sso]\nregion = eu-west-1\n")
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_access_key_id = k\naws_secret_access_key = s\n")
    environ = {"HOME": str(tmp_path)} | ({"AWS_PROFILE": profile} if profile != "default" else {})
    connect(url, **environ)
    if profile == "default":
        connect("s3://bucket/a", **environ)
    else:
        with pytest.raises(ConfigurationError, match="AWS profile"):
            connect("s3://bucket/a", **environ)


def test_a_profile_without_keys_hinders_only_who_needs_them(tmp_path: Path) -> None:
    environ = {**os.environ, "HOME": str(tmp_path), "AWS_PROFILE": "sso", "ARTIFACTFS_STATE": str(tmp_path / "state")}

    def run(*arguments: str, code: int) -> str:
        done = subprocess.run(
            [*PROGRAM, *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    for words in (("ls",), ("mount", str(mountpoint))):
        assert "there is no AWS profile 'sso'" in run("--repo", "s3://bucket/a", *words, code=4)
    said = run("--repo", str(tmp_path / "local"), "put", "animals", "http://127.0.0.1:1/cat", code=42)
    assert "an address that is not public" in said
