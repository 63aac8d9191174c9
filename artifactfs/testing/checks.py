"""Assertions for contract suites, which are shipped and so run without pytest's rewriting of `assert`.

Threading: functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from collections.abc import Callable


def require_equal(found: object, expected: object, what: str) -> None:
    """Return if two values are equal.

    Raises:
        AssertionError: they are not; the message says `what` and shows both.
    """
    if found != expected:
        msg = f"{what}: found {found!r}, expected {expected!r}"
        raise AssertionError(msg)


def errno_of(call: Callable[[], object]) -> int | None:
    """Return the errno of the error that a call raises, or None when it returns."""
    try:
        call()
    except (ArtifactFSError, OSError) as error:
        return error.errno
    return None
