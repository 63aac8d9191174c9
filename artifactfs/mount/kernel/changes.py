"""What moves above versions: collections, aliases, versions and staging directories that come, go or change.

The notifier asks after each event; the answer is found by comparing the logs' states with those of the last time.
At the first call nothing is known, so everything that the kernel may hold on to is told: a notifier that was killed
has then missed nothing. So it is when a process has shown something as it was last known, because the service did not
answer: what was told of changes before that, the kernel asked for too soon. And each change of a repository elsewhere
is told a second time, when no process takes the state of before for the present one any more (its poll interval).

Threading: one thread.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactfs.errors import ArtifactFSError
from artifactfs.index.epoch import ROOT_NODE, SHARED, read_node
from artifactfs.mount.kernel.source import Change
from artifactfs.repository.watching import find_log_directories
from artifactfs.vfs.node_records import AliasNode, CollectionNode, DifferenceLinkNode, StagingNode
from artifactfs.vfs.nodes import difference_links_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from artifactfs.repository.repository import Repository
    from artifactfs.vfs.nodes import NodeTable
    from artifactfs.vfs.staging_places import StagingPlaces

STAGING_FOLDER = "staging"
_ALIASES, _COLLECTIONS, _STAGING, _DIFFERENCE_LINKS = b"a", b"c", b"s", b"x"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a collection looked like: record number, alias targets, names in its directory."""

    seq: int = 0
    aliases: dict[str, int] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


class CatalogueChanges:
    """Compares states of the catalogue.

    Threading: one thread.
    """

    def __init__(
        self,
        repository: Repository,
        nodes: NodeTable,
        *,
        staging: StagingPlaces,
        holding: ExitStack,
        lag_seconds: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store where to look.

        Args:
            repository: whose collections are compared.
            nodes: of what the kernel may hold on to.
            staging: where staging directories are.
            holding: closes all of this.
            lag_seconds: for how long others that answer the kernel may not see a change yet; 0 if they see it at once.
            now: seconds of a clock that never goes back.
        """
        self._repository = repository
        self._nodes = nodes
        self._staging = staging
        self._holding = holding
        self._known: dict[str, _Seen] | None = None
        self._told_all_ns = 0
        self._lag_seconds = lag_seconds
        self._now = now
        self._again: list[tuple[float, Change]] = []

    def watched_directories(self) -> list[str]:
        """Return the directories of the logs, and those above them and of the staging directories."""
        found = find_log_directories(self._repository)
        staging = os.path.join(self._repository.state_directory, STAGING_FOLDER)
        found.append(staging if os.path.isdir(staging) else self._repository.state_directory)
        with suppress(OSError):
            found += [entry.path for entry in os.scandir(staging) if entry.is_dir()]
        return found

    def find_changes(self) -> list[Change]:
        """Return what changed since the last call; at the first, everything that the kernel may have kept."""
        now_ns = time.time_ns()
        present = self._look()
        before, self._known = self._known, present
        is_back = self._repository.unanswered_since_ns is None
        if before is None or (is_back and self._repository.last_unanswered_ns > self._told_all_ns):
            self._told_all_ns = now_ns
            return self._everything()
        changes = [
            change
            for name in sorted(before.keys() | present.keys())
            for change in self._compare(name, before.get(name, _Seen()), present.get(name, _Seen()))
        ]
        moved = before.keys() ^ present.keys()
        if changes or moved:
            changes.append(Change(ROOT_NODE, tuple(name.encode() for name in sorted(moved))))
        return changes + self._repeat(changes)

    def _repeat(self, changes: list[Change]) -> list[Change]:
        """Return changes that were told one lag ago, and remember new ones to be told again."""
        now = self._now()
        due = [change for at, change in self._again if at <= now]
        self._again = [item for item in self._again if item[0] > now]
        if self._lag_seconds:
            self._again += [(now + self._lag_seconds, change) for change in changes]
        return due

    def _compare(self, name: str, before: _Seen, after: _Seen) -> list[Change]:
        if before == after:
            return []
        changes = [
            Change(self._nodes.alias(name, alias))
            for alias, target in after.aliases.items()
            if before.aliases.get(alias, target) != target
        ]
        if before.aliases != after.aliases:
            links = self._nodes.epoch.environment.items(SHARED, difference_links_key(name))
            changes += [Change(read_node(value)) for _, value in links]
        moved = before.names ^ after.names
        changes.append(Change(self._nodes.collection(name), tuple(entry.encode() for entry in sorted(moved))))
        return changes

    def _look(self) -> dict[str, _Seen]:
        names = {*self._repository.collection_names(), *self._staging.staging_collections()}
        found = {}
        for name in names:
            staging = {f"@{entry}" for entry in self._staging.staging_names(name)}
            try:
                state = self._repository.load_state(name)
            except ArtifactFSError:
                found[name] = _Seen(names=frozenset(staging))  # a damaged log: entering it says so
                continue
            versions = {version.name for version in state.versions.values()}
            found[name] = _Seen(state.seq, dict(state.aliases), frozenset({*versions, *state.aliases, *staging}))
        return found

    def _everything(self) -> list[Change]:
        """Return a change of every node of the catalogue that this epoch ever gave out."""
        changes = [Change(ROOT_NODE)]
        for kind in (_COLLECTIONS, _ALIASES, _STAGING, _DIFFERENCE_LINKS):
            for _, value in self._nodes.epoch.environment.items(SHARED, kind):
                changes += self._renewal(read_node(value))
        return changes

    def _renewal(self, node: int) -> list[Change]:
        record = self._nodes.get(node)
        match record:
            case CollectionNode():
                return [Change(node), Change(ROOT_NODE, (record.name.encode(),))]
            case AliasNode():
                return [Change(node), Change(self._nodes.collection(record.collection), (record.name.encode(),))]
            case DifferenceLinkNode():
                return [Change(node)]
            case StagingNode():
                name = b"@" + record.name.encode()
                return [Change(node), Change(self._nodes.collection(record.collection), (name,))]
            case _:
                return []

    def close(self) -> None:
        """Close the epoch and the repository."""
        self._holding.close()
