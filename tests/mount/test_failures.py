"""What failed a moment ago is not waited for again."""

from __future__ import annotations

import errno

from artifactfs.mount.failures import REMEMBERED_SECONDS, SLOW_SECONDS, Failures


def test_what_was_waited_for_fails_at_once_for_a_moment() -> None:
    time = [10.0]
    failures = Failures(now=lambda: time[0])
    failures.note("quick", errno.EIO, begun=time[0] - SLOW_SECONDS / 2)
    failures.note("slow", errno.ETIMEDOUT, begun=time[0] - SLOW_SECONDS)
    assert [failures.find(key) for key in ("quick", "slow", "other")] == [0, errno.ETIMEDOUT, 0]
    time[0] += REMEMBERED_SECONDS
    assert failures.find("slow") == 0


def test_little_is_remembered() -> None:
    failures = Failures(now=lambda: 10.0)
    for number in range(3000):
        failures.note(number, errno.EIO, begun=0.0)
    assert failures.find(2999)
    assert not failures.find(0)
