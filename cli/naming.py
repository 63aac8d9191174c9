"""Errors about remote objects, with the entry that somebody asked for.

Threading: the main thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from artifactfs.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def naming_in_errors(name: str) -> Iterator[None]:
    """Give an error about what lies elsewhere the name of the entry that was to be read: it names a key or URI only."""
    try:
        yield
    except RemoteError as error:
        raise type(error)(f"{name}: {error.message}", hint=error.hint, subject=name) from error
