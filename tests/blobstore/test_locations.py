"""Locations in object stores, and how often a request is made again."""

from __future__ import annotations

import pytest

from artifactfs.blobstore.locations import is_remote, parse_remote_location
from artifactfs.blobstore.retrying import LONGEST_WAIT_SECONDS, RetryPolicy
from artifactfs.errors import (
    ArtifactFSError,
    BlobMissingError,
    ConfigurationError,
    OfflineError,
    RemoteDeniedError,
    RemoteUnavailableError,
)


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("gs://my.bucket/a/b/", "gs://my.bucket/a/b"),
        ("az://container/team data/x=1", "az://container/team data/x=1"),
    ],
)
def test_a_location_has_one_spelling(text: str, spelt: str) -> None:
    assert is_remote(text)
    assert str(parse_remote_location(text)) == spelt


@pytest.mark.parametrize(
    "text",
    [
        "ftp://bucket/x",
        "s3://",
        "s3://b/../c",
        "s3://bucket/a//b",
        "s3://bucket/a/./b",
        "s3://bucket/%2e%2e",
        "s3://bücket/x",
        "s3://user:hunter2@bucket/x",
        "s3://bucket/x?X-Amz-Signature=hunter2",
        "s3://bucket/x#hunter2",
    ],
)
def test_what_cannot_be_a_location_is_refused_and_secrets_are_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_remote_location(text)
    assert "hunter2" not in f"{caught.value} {caught.value.subject}"


class Waiting:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


def make_policy(waiting: Waiting, *, attempts: int = 100, deadline: float = 60) -> RetryPolicy:
    return RetryPolicy(attempts, deadline, lambda size: b"\xff" * size, waiting.sleep, lambda: waiting.time)


def fail_always() -> None:
    msg = "busy"
    raise RemoteUnavailableError(msg)


def test_waits_double_up_to_a_limit_and_end_at_the_deadline() -> None:
    waiting = Waiting()
    with pytest.raises(RemoteUnavailableError):
        make_policy(waiting).run(fail_always)
    assert waiting.waits[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(waiting.waits) == LONGEST_WAIT_SECONDS
    assert 50 < waiting.time <= 60


def test_attempts_are_counted() -> None:
    waiting = Waiting()
    with pytest.raises(RemoteUnavailableError):
        make_policy(waiting, attempts=3).run(fail_always)
    assert len(waiting.waits) == 2


@pytest.mark.parametrize("error", [BlobMissingError, OfflineError, RemoteDeniedError])
def test_what_will_not_pass_is_not_tried_again(error: type[ArtifactFSError]) -> None:
    def fail() -> None:
        msg = "gone"
        raise error(msg)

    waiting = Waiting()
    with pytest.raises(error):
        make_policy(waiting).run(fail)
    assert waiting.waits == []
