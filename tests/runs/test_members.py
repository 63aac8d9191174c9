"""The processes of a run: that they are found while they begin and end."""

from __future__ import annotations

import pytest

from artifactfs.runs import members


def test_a_process_that_is_missed_at_first_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [[], [], [7], [], [], [], []]
    monkeypatch.setattr(members, "find_members", lambda variable, namespace: found.pop(0))
    assert members.has_members("A=b", namespace=0)
    assert not members.has_members("A=b", namespace=0)
    assert found == [[]]
