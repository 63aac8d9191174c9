"""What is said through the socket in a mount: nothing of it is lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec

from artifactfs.mount.port.messages import CommitAnswer, encode_commit
from artifactfs.repository.repository import Repository
from artifactfs.repository.staging import StagingArea


def test_what_there_is_to_know_of_a_commit_goes_through(repository: Repository) -> None:
    area = StagingArea(repository)
    done = area.commit(area.create("animals", version=repository.get_collection("animals").versions[0]))
    done = replace(done, result=replace(done.result, unverified=3), unnoted="no room is left")
    said = json.loads(json.dumps(encode_commit(done, location="here", closed=True)))
    answer = msgspec.convert(said["answer"], CommitAnswer)
    assert (answer.result.version, answer.result.unverified) == (done.result.version, 3)
    assert (answer.unnoted, answer.moved, answer.closed) == ("no room is left", done.moved, True)
