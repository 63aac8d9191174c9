"""The peak of anonymous memory of a program with all its processes, daemons included.

They are found by a variable in their environment, which daemons inherit, too.

Threading: a Watch has a thread of its own.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

MARK: Final = "ARTIFACTFS_BENCH"
_SECONDS: Final = 0.1


def anonymous_kib(mark: str, *, known: dict[str, bool] | None = None) -> int:
    """Return how many KiB of anonymous memory the processes have whose environment has the mark.

    Args:
        mark: value of the variable.
        known: which processes were looked at before, by number; filled.
    """
    return _sum_of(mark, {} if known is None else known, "status", "RssAnon:")


def anonymous_once_kib(mark: str) -> int:
    """Return the same with pages that processes share since a fork counted once, not in each of them.

    This is what they take of the machine; looking takes too long to do it ten times a second.

    Source: proc_pid_smaps(5), Documentation/ABI/testing/procfs-smaps_rollup.
    """
    return _sum_of(mark, {}, "smaps_rollup", "Pss_Anon:")


def _sum_of(mark: str, known: dict[str, bool], file: str, field: str) -> int:
    wanted = f"{MARK}={mark}".encode()
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if not known.get(process.name):  # looked at again: exec changes the environment
                known[process.name] = wanted in (process / "environ").read_bytes().split(b"\0")
            if known[process.name]:
                total += _read_kib(process / file, field)
        except OSError:
            known.pop(process.name, None)  # it has ended
    return total


def _read_kib(path: Path, field: str) -> int:
    lines = path.read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)


class Watch:
    """Looks ten times a second, from entering to leaving.

    Attributes:
        peak_kib: the most that was seen.
    """

    def __init__(self, mark: str) -> None:
        self.peak_kib = 0
        self._mark = mark
        self._known: dict[str, bool] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.peak_kib = max(self.peak_kib, anonymous_kib(self._mark, known=self._known))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
