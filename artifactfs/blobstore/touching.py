"""How the next bytes of a pack are asked for: by themselves, with all of their 4 MiB, or with all of the pack.

A lone small file is asked for by its own range. What follows closely on what was read before brings its 4 MiB along. In
any other order files come by themselves at first, so that a few of many cost no more than they have; when so many of a
pack were read that more will be, all of it is fetched. Where something else would have to make room for that, the
second file of 4 MiB brings these along, once: what had to make room is not fetched again for one file.

Used by `cachingstore.py`. Threading: may be shared by threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeVar

from artifactfs.digest import CHUNK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

SCATTERED: Final = 24
"""Files of a pack that come by themselves before all of it is fetched."""
CLOSE: Final = 1 << 20
"""So near to what was read before is next to it: several readers share what is read in order."""
_LIMIT: Final = 1 << 14

Key = TypeVar("Key")
Value = TypeVar("Value")


class How(Enum):
    """How bytes are asked for."""

    ALONE = auto()
    """By their own range, which is kept."""
    PASSING = auto()
    """By their own range, which is not kept."""
    CHUNK = auto()
    """With the chunk that they lie in."""
    ALL = auto()
    """With the chunk, and all others of the object behind it."""


class Touches:
    """What was asked for of packs. May be shared by threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._seen: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._fetched: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._ends: OrderedDict[str, int] = OrderedDict()

    def decide(self, key: str, offset: int, end: int, *, is_running: bool, has_room: Callable[[], bool]) -> How:
        """Return how the bytes [offset, end) of an object, within one chunk, are asked for.

        Args:
            key: of the object.
            offset: of the first byte.
            end: after the last one.
            is_running: whether the chunk is being fetched.
            has_room: asked whether all of the object can be kept without anything being deleted.
        """
        chunk = key, offset // CHUNK_SIZE
        with self._guard:
            first = self._seen.get(chunk)
            before = self._ends.get(key)
            count = self._counts.get(key, 0) + 1
            is_close = before is not None and abs(offset - before) <= CLOSE
            follows = before == offset or offset % CHUNK_SIZE < end - offset
            _put(self._seen, chunk, offset if first is None else first)
            _put(self._ends, key, end)
            _put(self._counts, key, count)
        if is_running:
            return How.CHUNK
        is_new = first in (None, offset)
        if is_new and not is_close and count < SCATTERED:
            return How.ALONE  # has_room may ask how large the object is
        is_whole_soon = not is_close and has_room()
        if not is_close and (count < SCATTERED if is_whole_soon else is_new):
            return How.ALONE
        if self._is_thrashing(chunk, follows=follows):
            return How.PASSING
        return How.ALL if is_whole_soon and count == SCATTERED else How.CHUNK

    def _is_thrashing(self, chunk: tuple[str, int], *, follows: bool) -> bool:
        """Return whether a chunk was fetched before, had to make room, and is not read in order now."""
        with self._guard:
            was_fetched = chunk in self._fetched
            _put(self._fetched, chunk, None)
        return was_fetched and not follows


def _put(table: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > _LIMIT:
        table.popitem(last=False)
