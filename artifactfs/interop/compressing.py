"""Compression of a stream: gzip of the standard library, zstd where there is one.

Used by the command line (`export`). Threading: functions without state.
"""

from __future__ import annotations

import gzip
import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from artifactfs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Compression = Literal["none", "gzip", "zstd"]
GZIP_LEVEL: Final = 6
ZSTD_LEVEL: Final = 3
_ENDINGS: Final[dict[bytes, Compression]] = {b".gz": "gzip", b".tgz": "gzip", b".zst": "zstd", b".tzst": "zstd"}


class Sink(Protocol):
    """Where a stream goes."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


def guess_compression(path: bytes) -> Compression:
    """Return the compression that the end of a file's name says.

    >>> guess_compression(b"animals.tar.gz"), guess_compression(b"animals.tar")
    ('gzip', 'none')
    """
    return next((kind for ending, kind in _ENDINGS.items() if path.endswith(ending)), "none")


@contextmanager
def compressing(sink: Sink, kind: Compression) -> Iterator[Sink]:
    """Give what is written to, so that `sink` gets it compressed; the end comes when the block ends well.

    The same bytes give the same compressed bytes, with the same release of the compressing library.

    Raises:
        ConfigurationError: there is no zstd here.
    """
    if kind == "none":
        yield sink
        return
    writer = _open_gzip(sink) if kind == "gzip" else _find_zstd()(sink)
    yield writer
    writer.close()


def _open_gzip(sink: Any) -> Any:
    return gzip.GzipFile(filename="", mode="wb", fileobj=sink, mtime=0, compresslevel=GZIP_LEVEL)


def _find_zstd() -> Callable[[Sink], Any]:
    try:
        standard = importlib.import_module("compression.zstd")  # Python 3.14
    except ImportError:
        standard = None
    if standard is not None:
        return lambda sink: standard.ZstdFile(sink, "wb", level=ZSTD_LEVEL)
    try:
        package = importlib.import_module("zstandard")
    except ImportError:
        msg = "there is no zstd here"
        raise ConfigurationError(msg, hint="pip install 'artifactfs[zstd]', or --compress gzip") from None
    return lambda sink: package.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(sink, closefd=False)
