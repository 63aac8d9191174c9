"""The front end's files, read once: a server that runs goes on with those of its own release.

Used by `application` and `opening`. Threading: functions without state, but for what was read.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TYPES: Final = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file."""

    data: bytes
    media: str
    etag: str


def find_asset(path: str) -> Asset | None:
    """Return a file of the front end; None when there is none."""
    return _load_all().get(path)


def read_text(path: str) -> str:
    """Return the text of a file that there is."""
    return _load_all()[path].data.decode()


@cache
def _load_all() -> dict[str, Asset]:
    return dict(_iter_below(files("artifactfs.serve") / "static", ""))


def _iter_below(place: Traversable, prefix: str) -> list[tuple[str, Asset]]:
    found: list[tuple[str, Asset]] = []
    for child in place.iterdir():
        path = f"{prefix}{child.name}"
        suffix = path.rpartition(".")[2]
        if child.is_dir():
            found += _iter_below(child, f"{path}/")
        elif suffix in TYPES:
            data = child.read_bytes()
            found.append((path, Asset(data, TYPES[suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')))
    return found
