"""The lines that differ, as git prints them: for `diff --lines`.

Threading: the main thread prints.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.repository.diff import Change
    from artifactfs.repository.textdiff import Side


def print_lines(changes: Sequence[Change], old: Side, new: Side) -> None:
    """Print each change as git does."""
    from artifactfs.repository.textdiff import iter_lines

    for change in changes:
        for line in iter_lines(change, old, new):
            sys.stdout.buffer.write(line)
