"""Options of commands that take URIs beside local paths, and what is said of references."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from artifactfs.reference.uris import MAX_OBJECTS, check_no_uri, is_uri
from artifactfs.variables import RUN_VARIABLE

from .output import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactfs.repository.put import Referred, Source

    from .session import Session


@dataclass(frozen=True)
class Referring:
    """How references are made of URIs.

    Attributes:
        checksum: whether to record what tells one content from another.
        max_objects: how many objects a URI may name.
        allow_signed: whether a query may hold a signature.
    """

    checksum: bool
    max_objects: int
    allow_signed: bool

    def refer(self, uri: str, name: bytes | None = None) -> Referred:
        """Return what a URI names, to be added under a name."""
        from artifactfs.repository.put import Referred

        run = os.environ.get(RUN_VARIABLE) or None
        return Referred(uri, name, self.checksum, self.max_objects, self.allow_signed, run)

    def make_sources(self, paths: Iterable[bytes]) -> list[Source | Referred]:
        """Return what arguments name: local paths and URIs."""
        from artifactfs.repository.put import Source

        texts = [os.fsdecode(path) for path in paths]
        for text in texts:
            if not is_uri(text) and not os.path.lexists(text):
                check_no_uri(text)
        return [self.refer(text) if is_uri(text) else Source(os.fsencode(text)) for text in texts]


def reference_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options on references to a command, which gets them as `referring`."""

    @click.option("--no-checksum", is_flag=True, help="Record only size and time of what URIs name: unverified.")
    @click.option(
        "--max-objects",
        type=click.IntRange(min=1),
        default=MAX_OBJECTS,
        show_default=True,
        help="How many objects a URI may name.",
    )
    @click.option("--allow-signed", is_flag=True, help="Keep signatures in URLs: readers of the version can use them.")
    @wraps(command)
    def gather(*arguments: Any, no_checksum: bool, max_objects: int, allow_signed: bool, **more: Any) -> None:
        referring = Referring(not no_checksum, max_objects, allow_signed)
        command(*arguments, referring=referring, **more)

    return gather


def note_unverified(session: Session, count: int) -> None:
    """Say how many references were added that are unverified, if any."""
    if count:
        session.note(f"{count_unverified(count)}: other bytes could come in their place unnoticed")


def count_unverified(count: int) -> str:
    """Return how many references are unverified, as a sentence without its end."""
    return f"{format_count(count, 'reference')} {'is' if count == 1 else 'are'} unverified"
