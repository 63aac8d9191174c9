"""Repositories that are kept as archives in `golden/`: how they are written once, and unpacked by the tests.

Threading: functions without state.
"""

from __future__ import annotations

import itertools
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

START_NS = 1_700_000_000_000_000_000
GOLDEN = Path(__file__).parent / "golden"


class CountingClock:
    """A second for each look."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def now_ns(self) -> int:
        return START_NS + next(self._seconds) * 10**9

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def write_archive(target: str, make: Callable[[Path], Path]) -> None:
    """Write the repository that `make` makes below a folder into a tar file."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(target, "x:gz") as tar:
        location = make(Path(folder))
        for path in sorted(location.rglob("*")):
            key = str(path.relative_to(location))
            if path.is_file() and not key.startswith(("tmp/", "lock")):
                info = tar.gettarinfo(path, f"{location.name}/{key}")
                info.uid = info.gid = info.mtime = 0
                info.uname = info.gname = ""
                info.mode = 0o644
                with path.open("rb") as file:
                    tar.addfile(info, file)


def unpack_archive(name: str, folder: Path) -> Path:
    """Unpack `golden/NAME.tar.gz` and return where the repository is."""
    with tarfile.open(GOLDEN / f"{name}.tar.gz") as tar:
        # Debian 12 has Python 3.11.2, whose extractall() knows no filter yet. It is our own archive.
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(folder)
    return folder / name
