"""The API as an OpenAPI description, made from the table of operations.

Used by `api`. Threading: pure functions.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from artifactfs._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.serve.operations import Operation

TEMPLATE: Final = "#/components/schemas/{name}"
_IN_PATH = re.compile(r"{(\w+)}")


class ErrorFields(msgspec.Struct, frozen=True):
    """Why something was not done.

    Attributes:
        kind: class of the error, as in docs/errors.md.
        message: what was being done, to what, and why it failed.
        hint: what to try; may be empty.
        subject: the path, digest or name concerned; may be empty.
    """

    kind: str
    message: str
    hint: str
    subject: str


class Failure(msgspec.Struct, frozen=True):
    """What is answered instead, with a status from 400 on."""

    schema: int
    error: ErrorFields


def describe_api(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of all operations."""
    shown = [operation for operation in operations if operation.gives is not None]
    types = [*(operation.gives for operation in shown), *(each.body for each in operations if each.body), Failure]
    schemas, components = msgspec.json.schema_components(types, ref_template=TEMPLATE)
    answers = {operation.name: schema for operation, schema in zip(shown, schemas, strict=False)}
    bodies = dict(zip((each.name for each in operations if each.body), schemas[len(shown) :], strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(
            operation, answers.get(operation.name), bodies.get(operation.name), failure=schemas[-1]
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "artifactfs",
            "version": __version__,
            "description": "What a repository holds, and what this machine does with it. Answers have a member "
            '`"schema": 1`; members are only ever added.',
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
            },
        },
        "security": [{}, {"token": []}],
    }


def _describe(
    operation: Operation, answer: dict[str, Any] | None, body: dict[str, Any] | None, *, failure: dict[str, Any]
) -> dict[str, Any]:
    failed = {"description": "It was not done.", "content": {"application/json": {"schema": failure}}}
    done = {"description": operation.summary, "content": {operation.media: {"schema": answer or {}}}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": inspect.cleandoc(operation.function.__doc__ or ""),
        "parameters": _describe_parameters(operation),
        "responses": {**{str(status): done for status in operation.statuses}, "default": failed},
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        described["security"] = [{"csrf": []}, {"csrf": [], "token": []}]
    return described


def _describe_parameters(operation: Operation) -> list[dict[str, Any]]:
    schema = msgspec.json.schema_components([operation.takes])[1][operation.takes.__name__]
    in_path = set(_IN_PATH.findall(operation.path))
    return [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in in_path or name in schema.get("required", ()),
            "schema": {key: value for key, value in found.items() if key != "description"},
            **({"description": found["description"]} if "description" in found else {}),
        }
        for name, found in schema["properties"].items()
    ]
