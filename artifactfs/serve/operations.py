"""What an operation of the API is: a method, a path, what it takes, what it answers, and the function that does it.

`api.py` has the table of them all. Used by `application` and `openapi`. Threading: immutable values, pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta, Struct

from artifactfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.serve.context import Context

SCHEMA: Final = 1
Ref = Annotated[
    str, Meta(min_length=1, max_length=4096, description="`NAME`, `NAME:vN`, `NAME:ALIAS` or `NAME:@STAGING`.")
]
Path = Annotated[
    str, Meta(max_length=16384, description="A path in the version, its bytes percent-encoded; empty is the whole.")
]
Offset = Annotated[int, Meta(ge=0, le=2**53 - 1, description="So many are passed over.")]
Limit = Annotated[int, Meta(ge=1, le=1000, description="No more than so many are answered.")]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that the API does.

    Attributes:
        method: of HTTP.
        path: below the server's root; names in braces are members of `takes`.
        function: does it: takes the context and the parameters (and the body); returns the members of the answer, or
            a response of Starlette's when `media` is not JSON.
        takes: the parameters, of path and query together.
        gives: type of the members of the answer.
        summary: one line.
        body: the JSON that must be sent; None for operations that change nothing.
        media: the media type of the answer.
        errors: statuses that it may be answered with, besides those that all may.
    """

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    function: Callable[..., Any]
    takes: type[Struct]
    gives: Any
    summary: str
    body: type[Struct] | None = None
    media: str = "application/json"
    statuses: tuple[int, ...] = (200,)

    @property
    def name(self) -> str:
        """Its name in the OpenAPI description."""
        return self.function.__name__

    def parse(self, path: dict[str, str], query: bytes) -> Struct:
        """Return the parameters of a request.

        Args:
            path: those of the path, decoded.
            query: the query string. Bytes that are not UTF-8 are kept, as `os.fsdecode` does.

        Raises:
            UsageError: one is missing, unknown, given twice or not what it must be.
        """
        members: dict[str, str] = dict(path)
        for part in filter(None, query.replace(b"+", b" ").split(b"&")):
            name, _, value = (
                unquote_to_bytes(each).decode("utf-8", "surrogateescape") for each in part.partition(b"=")
            )
            if name in members:
                msg = f"the parameter {name} is given twice"
                raise UsageError(msg)
            members[name] = value
        return _convert(members, self.takes)

    def parse_body(self, data: bytes) -> Struct:
        """Return what was sent.

        Raises:
            UsageError: it is not the JSON that it must be.
        """
        assert self.body is not None
        try:
            return msgspec.json.decode(data, type=self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"what was sent cannot be understood: {error}"
            raise UsageError(msg) from error

    def call(self, context: Context, parameters: Struct, body: Struct | None) -> Any:
        """Do it."""
        return self.function(context, parameters) if body is None else self.function(context, parameters, body)


def _convert(members: dict[str, str], wanted: type[Struct]) -> Struct:
    try:
        return msgspec.convert(members, wanted, strict=False)
    except msgspec.ValidationError as error:
        msg = f"the parameters cannot be understood: {error}"
        raise UsageError(msg) from error
