"""A progress bar on standard error, for work that takes over a second, when it is a terminal.

Threading: `begin` and `advance` may be called from any thread.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.repository.progress import Progress

    from .session import Session

DELAY_SECONDS: Final = 1.0


class Bar:
    """Counts, and shows a bar once the work has taken a while. May be shared by threads."""

    def __init__(self, title: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._now = now
        self._begun = now()
        self._guard = threading.Lock()
        self._files = 0
        self._size = 0
        self._totals = (0, 0)
        self._shown: Any = None
        self._task: Any = None

    def begin(self, *, files: int, size: int) -> None:
        """Take the totals: number of files and bytes."""
        with self._guard:
            self._totals = files, size

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Take what was done since the last call."""
        with self._guard:
            self._files += files
            self._size += size
            if self._shown is None and self._now() - self._begun >= DELAY_SECONDS:
                self._show()
            if self._shown is not None:
                self._shown.update(self._task, completed=self._size, total=self._totals[1] or None, files=self._files)

    def close(self) -> None:
        """Remove the bar."""
        with self._guard:
            if self._shown is not None:
                self._shown.stop()

    def _show(self) -> None:
        # rich takes longer to import than most commands take to run.
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Rate

        self._shown = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TextColumn("{task.fields[files]}/{task.fields[count]} files"),
            Rate(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._shown.add_task(self._title, total=None, files=0, count=self._totals[0])
        self._shown.start()


@contextmanager
def show_progress(session: Session, title: str) -> Iterator[Progress | None]:
    """Give what to tell of progress, or None when nobody would see it."""
    if session.quiet or not sys.stderr.isatty():
        yield None
        return
    bar = Bar(title)
    try:
        yield bar
    finally:
        bar.close()
