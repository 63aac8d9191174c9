"""Answers: members of an object, or an error, as JSON.

Used by `application` and `guard`. Threading: pure functions.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec
from starlette.responses import Response

from artifactfs import errors
from artifactfs.serve.operations import SCHEMA

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

STATUSES: Final[tuple[tuple[type[errors.ArtifactFSError], int], ...]] = (
    (errors.NotFoundError, 404),
    (errors.UsageError, 400),
    (errors.InvalidNameError, 400),
    (errors.ReadOnlyError, 403),
    (errors.AccessDeniedError, 403),
    (errors.AlreadyExistsError, 409),
    (errors.BusyError, 409),
    (errors.ConflictError, 409),
    (errors.ReferenceChangedError, 409),
    (errors.RemoteTimeoutError, 504),
    (errors.RemoteError, 502),
    (errors.StorageFullError, 507),
)
"""The first that fits; anything else is 500."""


def answer(members: Any, *, status: int = 200) -> Response:
    """Return an object with these members, and the number of the schema."""
    data = members if isinstance(members, dict) else msgspec.to_builtins(members)
    headers = {"Cache-Control": "no-store"}
    return Response(_encode({"schema": SCHEMA, **data}), status, headers, "application/json")


def refuse(status: int, message: str, *, kind: str = "AccessDeniedError", hint: str = "") -> Response:
    """Return an error that is not one of the repository's."""
    return answer({"error": {"kind": kind, "message": clean(message), "hint": hint, "subject": ""}}, status=status)


def fail(error: Exception) -> Response:
    """Return an error; what was not foreseen is logged, and nothing of it is told."""
    if not isinstance(error, errors.ArtifactFSError):
        _log.error("an unexpected error", exc_info=error)
        return refuse(500, "an unexpected error; the log of the server has it", kind="Error")
    return answer({"error": tell(error)}, status=find_status(error))


def find_status(error: errors.ArtifactFSError) -> int:
    """Return the status of an answer that tells of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def tell(error: errors.ArtifactFSError) -> dict[str, str]:
    """Return an error as members of a JSON object."""
    fields = {"message": error.message, "hint": error.hint, "subject": error.subject}
    return {"kind": type(error).__name__, **{name: clean(text) for name, text in fields.items()}}


def clean(text: str) -> str:
    r"""Return text that can be encoded: bytes that are not UTF-8 are escaped.

    >>> clean("a\udcff")
    'a\\xff'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
