"""Random histories of commits, aliases, removals, expiry, repacking and prunes, against a dict.

Two repositories are open on one store, so that each meets what the other did, and a prune may be as slow as its user:
what it found is kept, and deleted after other steps.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from artifactfs.blobstore.keys import PACKS_PREFIX, TREEPACKS_PREFIX
from artifactfs.blobstore.memory import MemoryStore
from artifactfs.repository import changes
from artifactfs.repository.check import check_repository
from artifactfs.repository.condemning import ListExclusion, Timing
from artifactfs.repository.expire import Retention, judge, remove
from artifactfs.repository.prune import Garbage, delete_garbage, find_garbage
from artifactfs.repository.repack import repack
from artifactfs.repository.repository import Repository
from artifactfs.repository.usage import Repacking
from artifactfs.testing.repositories import Content, commit_files
from tests.repository.prune.support import open_listed, read_all

NAMES = st.sampled_from(["animals", "plants"])
WHO = st.integers(0, 1)
PICK = st.integers(0, 1 << 16)
FILES = st.sampled_from([{b"a": b"x"}, {b"a": b"z" * 300, b"b": b""}])


class Histories(RuleBasedStateMachine):
    """Two users of one store."""

    def __init__(self) -> None:
        super().__init__()
        store = MemoryStore()
        self.users = [open_listed(store, start=(number + 1) << 64, packed_below=200) for number in range(2)]
        for user in self.users:
            assert isinstance(user.exclusion, ListExclusion)
            user.exclusion.timing = replace(Timing(), grace_seconds=0)
        self.live: dict[str, dict[bytes, bytes]] = {}
        self.aliases: dict[tuple[str, str], int] = {}
        self.count = {"animals": 0, "plants": 0}
        self.found: list[tuple[Repository, Garbage]] = []

    def numbers(self, name: str) -> list[int]:
        return sorted(int(ref.partition(":v")[2]) for ref in self.live if ref.startswith(f"{name}:"))

    def forget_version(self, name: str, number: int) -> None:
        del self.live[f"{name}:v{number}"]
        had_latest = self.aliases.get((name, "latest")) == number
        self.aliases = {key: to for key, to in self.aliases.items() if not (key[0] == name and to == number)}
        if had_latest and self.numbers(name):
            self.aliases[name, "latest"] = self.numbers(name)[-1]

    @rule(who=WHO, name=NAMES, top=FILES, below=FILES)
    def commit(self, who: int, name: str, top: dict[bytes, bytes], below: dict[bytes, bytes]) -> None:
        content: dict[bytes, Content] = {**top, b"dir": below}
        version = commit_files(self.users[who], name, content)
        assert version.number == self.count[name]
        self.count[name] += 1
        self.live[f"{name}:v{version.number}"] = {**top, **{b"dir/" + key: data for key, data in below.items()}}
        self.aliases[name, "latest"] = version.number

    @precondition(lambda self: self.live)
    @rule(who=WHO, pick=PICK)
    def alias(self, who: int, pick: int) -> None:
        name, number = self.pick_version(pick)
        self.users[who].append(name, lambda state: changes.set_aliases(state, version=number, aliases=["best"]))
        self.aliases[name, "best"] = number

    @precondition(lambda self: self.live)
    @rule(who=WHO, pick=PICK)
    def remove_version(self, who: int, pick: int) -> None:
        name, number = self.pick_version(pick)
        self.users[who].append(name, lambda state: changes.delete_version(state, number=number, force=True))
        self.forget_version(name, number)

    @rule(who=WHO, name=NAMES, last=st.integers(1, 3))
    def expire(self, who: int, name: str, last: int) -> None:
        collection = self.users[who].find_collection(name)
        if collection is None:
            return
        retention = Retention(keep_last=last, keep_aliased=True)
        for judged in judge(collection, retention, now_ns=self.users[who].clock.now_ns()):
            if judged.is_removed:
                remove(self.users[who], collection, judged)
                self.forget_version(name, judged.version.number)
        named = {to for (owner, _), to in self.aliases.items() if owner == name}
        assert set(self.numbers(name)) <= named | set(self.numbers(name)[-last:])

    @rule(who=WHO)
    def look_for_garbage(self, who: int) -> None:
        self.found.append((self.users[who], find_garbage(self.users[who])))

    @precondition(lambda self: self.found)
    @rule(pick=PICK)
    def delete_what_was_found(self, pick: int) -> None:
        delete_garbage(*self.found.pop(pick % len(self.found)))

    @precondition(lambda self: self.found)
    @rule(pick=PICK, some=PICK)
    def repack_what_was_found(self, pick: int, some: int) -> None:
        user, garbage = self.found.pop(pick % len(self.found))
        every = sorted(pack for prefix in (PACKS_PREFIX, TREEPACKS_PREFIX) for pack in garbage.usage.live_sizes(prefix))
        chosen = frozenset(pack for number, pack in enumerate(every) if some >> number % 16 & 1)
        user.blobs.forget()  # as a prune that was just started
        repack(user, Repacking(chosen), garbage.roots)

    @invariant()
    def everything_is_there(self) -> None:
        for user in self.users:
            assert read_all(user) == self.live
            assert check_repository(user, share=1.0).damage == ()
        shown = {
            (name, alias): number
            for name in self.users[0].collection_names()
            for alias, number in self.users[0].get_collection(name).aliases.items()
        }
        assert shown == self.aliases

    def pick_version(self, pick: int) -> tuple[str, int]:
        ref = sorted(self.live)[pick % len(self.live)]
        name, _, number = ref.partition(":v")
        return name, int(number)


class TestHistories(Histories.TestCase):
    settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestHistoriesLonger(Histories.TestCase):
    settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
