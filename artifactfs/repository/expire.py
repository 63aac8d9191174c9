"""Expiry: which versions no rule keeps, and their removal by log records. `prune` frees the space later.

    judged = judge(collection, Retention(keep_last=5, keep_aliased=True), now_ns=clock.now_ns())
    remove(repository, collection, judged[3])

Used by the command line. Threading: pure functions, and functions over a Repository.

Source: docs/design/prune.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactfs.errors import ConflictError, UsageError
from artifactfs.paths import LATEST
from artifactfs.repository import changes

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.model import Collection, Version
    from artifactfs.repository.records import Body
    from artifactfs.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept. Without any of these only versions whose time to live has passed are removed.

    Attributes:
        keep_last: so many versions with the highest numbers.
        keep_within_ns: versions made so long ago at most.
        keep_aliased: versions that an alias names.
        keep_used: versions that a run read, or from which a version of another collection was made.
    """

    keep_last: int = 0
    keep_within_ns: int = 0
    keep_aliased: bool = False
    keep_used: bool = False

    @property
    def has_rules(self) -> bool:
        """Whether anything is kept by rules, so that the rest is removed."""
        return bool(self.keep_last or self.keep_within_ns or self.keep_aliased or self.keep_used)


@dataclass(frozen=True, slots=True)
class Judged:
    """A version, and why it stays or goes.

    Attributes:
        version: which.
        aliases: that name it.
        is_removed: whether it is to be removed.
        reasons: why it stays; or why it goes, when that is not for want of a reason to stay.
    """

    version: Version
    aliases: tuple[str, ...]
    is_removed: bool
    reasons: tuple[str, ...]


def _not_used(_number: int) -> bool:
    return False


def judge(
    collection: Collection, retention: Retention, *, now_ns: int, is_used: Callable[[int], bool] = _not_used
) -> list[Judged]:
    """Return all versions of a collection with what becomes of them, the newest first.

    What `latest` names, a pin names, or has some time to live left, always stays. A time to live that has passed
    removes a version whatever the rules say, unless an alias names it: somebody chose it since.

    Args:
        collection: the state.
        retention: what is kept.
        now_ns: the time, nanoseconds since 1970 UTC.
        is_used: whether a version was used, by its number; asked only for `keep_used`, and for those that need it.

    Raises:
        UsageError: a rule that cannot be meant.
    """
    if retention.keep_last < 0 or retention.keep_within_ns < 0:
        msg = "a number or a time of versions to keep cannot be negative"
        raise UsageError(msg)
    pinned = {pin.version: pin.author for pin in collection.pins.values()}
    numbers = sorted(collection.versions, reverse=True)
    last = set(numbers[: retention.keep_last])
    judged = []
    for number in numbers:
        version, aliases = collection.versions[number], tuple(collection.aliases_of(number))
        has_passed = version.expires_ns is not None and version.expires_ns <= now_ns
        always = [LATEST] if LATEST in aliases else []
        always += [f"pinned by {pinned[number]}"] if number in pinned else []
        if has_passed:
            stays = always or [f"named {alias}" for alias in aliases]
            judged.append(Judged(version, aliases, not stays, tuple(stays) or ("its time to live has passed",)))
            continue
        reasons = [*always, *(["time to live"] if version.expires_ns is not None else [])]
        reasons += _apply_rules(retention, version, aliases, is_last=number in last, now_ns=now_ns)
        if not reasons and retention.keep_used and is_used(number):
            reasons.append("used")
        if not retention.has_rules and not reasons:
            reasons.append("no rule was given")
        judged.append(Judged(version, aliases, not reasons, tuple(reasons)))
    return judged


def _apply_rules(
    retention: Retention, version: Version, aliases: tuple[str, ...], *, is_last: bool, now_ns: int
) -> list[str]:
    reasons = []
    if is_last:
        reasons.append(f"one of the last {retention.keep_last}")
    if retention.keep_within_ns and version.time_ns >= now_ns - retention.keep_within_ns:
        reasons.append("recent")
    if retention.keep_aliased:
        reasons += [f"named {alias}" for alias in aliases if alias != LATEST]
    return reasons


def remove(repository: Repository, collection: Collection, judged: Judged) -> None:
    """Remove a version that was judged, with its aliases, unless something speaks for it by now.

    Raises:
        ConflictError: it was pinned, or got another alias, meanwhile; it is still there.
        VersionNotFoundError: somebody else removed it.
        ArtifactFSError: the record could not be written.
    """
    number = judged.version.number

    def change(state: Collection) -> Body:
        body = changes.delete_version(state, number=number, force=True)
        is_pinned = any(pin.version == number for pin in state.pins.values())
        if is_pinned or tuple(state.aliases_of(number)) != judged.aliases:
            msg = f"{state.name}:v{number} was pinned, or its aliases changed, just now"
            raise ConflictError(msg, hint="run the same command again", subject=state.name)
        return body

    repository.append(collection.name, change, message="expired")
