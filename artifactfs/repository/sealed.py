r"""Sealed objects: one line of JSON, and a line with its digest, so that damage to either is noticed.

    {"author":"ann@host", ...}\n
    sha256:<64 hex>\n

Used for format files, log records, checkpoints, steps of prunes and events of runs. Threading: pure functions.

Source: docs/format.md section 1.
"""

from __future__ import annotations

from artifactfs.digest import hash_bytes
from artifactfs.errors import DigestMismatchError, MalformedError

_TRAILER_SIZE = len("sha256:") + 64 + 1


def seal(line: bytes) -> bytes:
    """Return the stored form of one line of JSON (without a line feed in it)."""
    return b"%s\n%s\n" % (line, str(hash_bytes(line)).encode())


def open_sealed(data: bytes, *, key: str) -> tuple[bytes, str]:
    """Return the line and its digest as `sha256:<hex>`.

    Raises:
        MalformedError: the object is cut short or not of this form.
        DigestMismatchError: the line is not the one that was sealed.
    """
    line, trailer = data[: -_TRAILER_SIZE - 1], data[-_TRAILER_SIZE:]
    if data[-_TRAILER_SIZE - 1 : -_TRAILER_SIZE] != b"\n" or not trailer.endswith(b"\n") or b"\n" in line:
        msg = f"{key} is damaged: it is not a line and its digest"
        raise MalformedError(msg, hint="restore it from a copy of the repository", subject=key)
    digest = str(hash_bytes(line))
    if trailer[:-1] != digest.encode():
        msg = f"{key} is damaged: its line hashes to {digest}"
        raise DigestMismatchError(msg, hint="restore it from a copy of the repository", subject=key)
    return line, digest


def open_if_sealed(data: bytes, *, key: str) -> bytes:
    """Return the line of a sealed object, or all of one that is older than sealing, and one line.

    Raises:
        MalformedError, DigestMismatchError: see `open_sealed`.
    """
    return open_sealed(data, key=key)[0] if b"\n" in data[:-1] else data
