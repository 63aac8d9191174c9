"""Golden vectors of drafts: the steps of one, byte for byte. They never change; new ones may be added."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifactfs.blobstore.keys import draft_key
from artifactfs.errors import DigestMismatchError, MalformedError
from artifactfs.model import Root
from artifactfs.repository.draft_steps import (
    Closed,
    Committed,
    Dropped,
    Part,
    Step,
    decode_draft_step,
    encode_draft_step,
    find_draft_id,
)
from artifactfs.repository.sealed import seal

GOLDEN = json.loads((Path(__file__).parent / "golden" / "drafts1.json").read_text())
NAME = "job 7"
ID = GOLDEN["id"]
ROOT = Root("sha256:" + "11" * 32, "sha256:" + "22" * 32, 0o755, 5, 4, 1, ("sha256:" + "33" * 32, 6, 7))
STEPS: dict[str, Step] = {
    "part": Part("animals", ID, NAME, "01" * 16, "ada@host", 1000, 2000, root=ROOT),
    "part, all": Part(
        "animals",
        ID,
        NAME,
        "02" * 16,
        "ada@host",
        1001,
        2001,
        type="dataset",
        aliases=("best",),
        description="d",
        metadata={"é": [1, None]},
        tags=("t",),
        inputs=("cats:v1",),
        run="0193e1d4-5b6c-7d8e-9f00-112233445566",
        root=ROOT,
    ),
    "closed": Closed(
        "animals",
        ID,
        NAME,
        "03" * 16,
        "bob@host",
        1002,
        2002,
        change="04" * 16,
        seq=9,
        message="m",
        version_expires_ns=3,
    ),
    "committed": Committed("animals", ID, NAME, "05" * 16, "bob@host", 1003, version=4),
    "dropped": Dropped("animals", ID, NAME, "06" * 16, "bob@host", 1004),
}


def test_the_id_is_made_of_the_name() -> None:
    assert find_draft_id(NAME) == ID


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_has_these_bytes(kind: str) -> None:
    data = GOLDEN["steps"][kind].encode()
    assert encode_draft_step(STEPS[kind]) == data
    assert decode_draft_step(data, key=draft_key("animals", ID, 1)) == STEPS[kind]


def test_what_is_not_such_a_step_is_refused() -> None:
    data, key = GOLDEN["steps"]["part"].encode(), draft_key("animals", ID, 1)
    for wrong in (draft_key("plants", ID, 1), draft_key("animals", "0" * 32, 1), "drafts/animals/x/1"):
        with pytest.raises(MalformedError):
            decode_draft_step(data, key=wrong)
    with pytest.raises(DigestMismatchError):
        decode_draft_step(data.replace(b"ada", b"eve"), key=key)
    for line in (b"{}", b"[]", b'{"kind":"other"}', data.split(b"\n")[0].replace(b'"part"', b'"parts"')):
        with pytest.raises(MalformedError):
            decode_draft_step(seal(line), key=key)


def test_unknown_fields_are_ignored() -> None:
    line = GOLDEN["steps"]["dropped"].split("\n")[0].encode()
    found = decode_draft_step(seal(line[:-1] + b',"zzz":1}'), key=draft_key("animals", ID, 1))
    assert found == STEPS["dropped"]
