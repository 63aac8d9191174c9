"""The API asked with whatever its description allows, and with what it does not: no answer may be unforeseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi

from artifactfs.serve.api import OPERATIONS
from artifactfs.serve.application import make_application
from artifactfs.serve.guard import Access
from artifactfs.serve.server import open_context
from tests.serve.support import fill, open_one, places_of

SETTINGS = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
CHECKED = (
    checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
)
NAMES = [f"{operation.method} {operation.path}" for operation in OPERATIONS]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str]]]:
    """Return the description of an API that may change its repository, and the headers that it asks for."""
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    fill(folder)
    with (
        open_one(folder) as repository,
        open_context(repository, places_of(folder), cache=None, may_write=True) as context,
    ):
        application = make_application(context, Access("", context.csrf))
        headers = {"Host": "127.0.0.1:8265", "X-CSRF-Token": context.csrf}
        yield schemathesis.openapi.from_asgi("/api/openapi.json", application, headers=headers), headers


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", NAMES)
def test_no_answer_is_unforeseen(api: tuple[Any, dict[str, str]], name: str, mode: GenerationMode) -> None:
    schema, headers = api
    method, _, path = name.partition(" ")
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
        pytest.skip("nothing that it takes can be wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(SETTINGS)
    def ask(case: schemathesis.Case) -> None:
        response = case.call(headers=headers)
        case.validate_response(response, checks=list(CHECKED), headers=headers)

    ask()
