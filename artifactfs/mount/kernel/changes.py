"""What moves above versions: collections, aliases, versions and staging directories that come, go or change.

The notifier asks after each event. Of what changed since the last look the kernel is told whatever it may hold on to,
not only what differs between both: an alias may have moved there and back in between, and a name come and gone, while a
reader looked. Which names were shown in between, the epoch knows: it has given each of them a node.

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
from typing import TYPE_CHECKING

from artifactfs.index.epoch import ROOT_NODE, SHARED, read_node
from artifactfs.mount.kernel.looks import STAGING_FOLDER, Looks, Seen, find_staging_mark
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

_ALIASES, _COLLECTIONS, _STAGING, _DIFFERENCE_LINKS = b"a", b"c", b"s", b"x"


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
        self._looks = Looks(repository, staging)
        self._holding = holding
        self._known: dict[str, Seen] | None = None
        self._staging_mark: frozenset[tuple[str, int, int]] = frozenset()
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
        # Taken before the look: what comes after it is seen as a change at the next.
        before_mark, self._staging_mark = self._staging_mark, find_staging_mark(self._repository.state_directory)
        present = self._looks.look()
        before, self._known = self._known, present
        is_back = self._repository.unanswered_since_ns is None
        if before is None or (is_back and self._repository.last_unanswered_ns > self._told_all_ns):
            self._told_all_ns = now_ns
            return self._everything()
        changes = self._find_staging_gone(present) if before_mark != self._staging_mark else []
        changed = [name for name in sorted(before.keys() | present.keys()) if before.get(name) != present.get(name)]
        aliases = self._find_known(_ALIASES) if changed else {}
        for name in changed:
            changes += self._compare(name, before.get(name, Seen()), present.get(name, Seen()), aliases.get(name, {}))
        if changes and not any(change.node == ROOT_NODE for change in changes):
            changes.append(Change(ROOT_NODE))
        return changes + self._repeat(changes)

    def _repeat(self, changes: list[Change]) -> list[Change]:
        """Return changes that were told one lag ago, and remember new ones to be told again."""
        now = self._now()
        due = [change for at, change in self._again if at <= now]
        self._again = [item for item in self._again if item[0] > now]
        if self._lag_seconds:
            self._again += [(now + self._lag_seconds, change) for change in changes]
        return due

    def _compare(self, name: str, before: Seen, after: Seen, aliases: dict[str, int]) -> list[Change]:
        """Return what the kernel must forget of a collection, of which it may know these aliases by their nodes."""
        changes, names = [], before.staging ^ after.staging
        if before.log != after.log:
            names |= (before.names ^ after.names) | (after.deleted - before.deleted) | (aliases.keys() - after.aliases)
            links = self._nodes.epoch.environment.items(SHARED, difference_links_key(name))
            changes = [Change(node) for node in aliases.values()]
            changes += [Change(read_node(value)) for _, value in links]
        elif not names:
            return []
        changes.append(Change(self._nodes.collection(name), tuple(entry.encode() for entry in sorted(names))))
        if before.is_shown != after.is_shown or not after.is_shown:
            changes.append(Change(ROOT_NODE, (name.encode(),)))
        return changes

    def _find_staging_gone(self, present: dict[str, Seen]) -> list[Change]:
        """Return the names of staging directories that may have come and gone between two looks."""
        changes = []
        for collection, known in sorted(self._find_known(_STAGING).items()):
            seen = present.get(collection, Seen())
            gone = tuple(name.encode() for name in sorted({f"@{name}" for name in known} - seen.staging))
            if gone:
                changes.append(Change(self._nodes.collection(collection), gone))
            if not seen.is_shown:
                changes.append(Change(ROOT_NODE, (collection.encode(),)))
        return changes

    def _find_known(self, kind: bytes) -> dict[str, dict[str, int]]:
        """Return by collection the names, with their nodes, of all aliases or staging directories ever shown."""
        found: dict[str, dict[str, int]] = {}
        for _, value in self._shared(kind):
            record = self._nodes.get(read_node(value))
            if isinstance(record, AliasNode | StagingNode):
                found.setdefault(record.collection, {})[record.name] = record.node
        return found

    def _shared(self, kind: bytes) -> list[tuple[bytes, bytes]]:
        return self._nodes.epoch.environment.items(SHARED, kind)

    def _everything(self) -> list[Change]:
        """Return a change of every node of the catalogue that this epoch ever gave out."""
        changes = [Change(ROOT_NODE)]
        for kind in (_COLLECTIONS, _ALIASES, _STAGING, _DIFFERENCE_LINKS):
            for _, value in self._shared(kind):
                changes += self._renewal(read_node(value))
        for name, seen in (self._known or {}).items():
            if seen.deleted:
                changes.append(Change(self._nodes.collection(name), tuple(entry.encode() for entry in seen.deleted)))
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
