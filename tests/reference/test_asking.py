"""A service that does not answer is not asked again and again."""

from __future__ import annotations

import pytest

from artifactfs.errors import AccessDeniedError, RemoteTimeoutError, RemoteUnavailableError
from artifactfs.model import ReferenceEntry, Validator
from artifactfs.reference.asking import Asking


class Answers:
    """Answers for references as it is told to."""

    def __init__(self, **given: list) -> None:
        self.given = given
        self.asked: list[str] = []

    def find_drift(self, entry: ReferenceEntry) -> str | None:
        self.asked.append(entry.uri)
        answers = self.given[entry.uri.split("/")[2]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def make(uri: str) -> ReferenceEntry:
    return ReferenceEntry(b"a", 0o644, 0, 1, uri, Validator("etag", "a"), bytes(32), False)


def test_after_three_failures_in_a_row_a_service_is_left_alone_and_others_are_not() -> None:
    answers = Answers(down=[RemoteTimeoutError("late")], up=[None])
    asking = Asking(answers)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(RemoteTimeoutError):
            asking.find_drift(make("s3://down/a"))
        assert asking.find_drift(make("s3://up/a")) is None
    with pytest.raises(RemoteUnavailableError, match="s3://down was not asked: 3 times"):
        asking.find_drift(make("s3://down/b"))
    assert asking.find_drift(make("s3://up/b")) is None
    assert answers.asked.count("s3://down/a") == 3
    assert "s3://down/b" not in answers.asked


def test_an_answer_of_any_kind_begins_the_count_anew() -> None:
    late = RemoteUnavailableError("down")
    answers = Answers(host=[late, late, "changed", late, late, AccessDeniedError("no"), late, late, None])
    asking, said = Asking(answers), []  # type: ignore[arg-type]
    for _ in range(9):
        try:
            said.append(asking.find_drift(make("https://host/a")))
        except (RemoteUnavailableError, AccessDeniedError) as error:
            said.append(error.message)
    assert said == ["down", "down", "changed", "down", "down", "no", "down", "down", None]
