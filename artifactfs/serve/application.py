"""The web application: the API, the front end's files, and one page for every other address.

Used by `server` and the tests. Threading: the event loop's; operations run in its threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from artifactfs.errors import ArtifactFSError
from artifactfs.serve.ahead import find_links
from artifactfs.serve.answers import answer, fail, refuse
from artifactfs.serve.api import OPERATIONS
from artifactfs.serve.assets import find_asset
from artifactfs.serve.content import Sent, read_content
from artifactfs.serve.guard import Access, Guard
from artifactfs.serve.opening import find_policy, make_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from artifactfs.serve.context import Context
    from artifactfs.serve.operations import Operation

BODY_BYTES: Final = 1 << 20


def make_application(context: Context, access: Access) -> ASGIApp:
    """Return the application: answers to all that it is asked, to those who may ask."""
    paths: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, []).append(operation)
    routes = [
        *(
            Route(path, _make_endpoint(context, found), methods=[each.method for each in found])
            for path, found in paths.items()
        ),
        Route("/static/{path:path}", _answer_static),
    ]
    handlers = {HTTPException: _answer_http_error, ArtifactFSError: _answer_error, Exception: _answer_error}
    application = Starlette(routes=routes, middleware=[Middleware(Guard, access)], exception_handlers=handlers)
    # Not a route: those have patterns that a name with a line's end does not match.
    application.router.default = _make_rest(context)
    return application


def _make_endpoint(context: Context, operations: list[Operation]) -> Callable[[Request], Awaitable[Response]]:
    by_method = {operation.method: operation for operation in operations}

    async def answer_one(request: Request) -> Response:
        operation = by_method["GET" if request.method == "HEAD" else request.method]  # type: ignore[index]
        body = None
        if operation.body is not None:
            body = operation.parse_body(await _read_body(request))
        parameters = operation.parse(request.path_params, request.scope["query_string"])

        def work() -> Response:
            if operation.function is read_content:
                return read_content(context, parameters, _find_sent(request))  # type: ignore[arg-type]
            found = operation.call(context, parameters, body)
            return found if isinstance(found, Response) else answer(found)

        return await run_in_threadpool(work)

    return answer_one


def _find_sent(request: Request) -> Sent:
    headers = request.headers
    return Sent(
        headers.get("range", ""),
        headers.get("if-none-match", ""),
        headers.get("if-range", ""),
        is_head=request.method == "HEAD",
    )


async def _read_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise HTTPException(413, f"more than {BODY_BYTES} bytes are not taken")
    return body


def _make_rest(context: Context) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def answer_rest(scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the one page of the front end, which shows what the address says; below /api with an error."""
        path = scope["path"]
        if path == "/api" or path.startswith("/api/"):
            response = refuse(
                404, f"there is no {path}", kind="NotFoundError", hint="/api/openapi.json lists what there is"
            )
        elif scope["method"] not in ("GET", "HEAD"):
            response = refuse(405, f"{scope['method']} is for addresses below /api", kind="UsageError")
            response.headers["Allow"] = "GET, HEAD"
        else:
            response = await run_in_threadpool(_answer_page, context, path, scope["query_string"])
        await response(scope, receive, send)

    return answer_rest


def _answer_page(context: Context, path: str, query: bytes) -> Response:
    page = make_page(context, path, query)
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": find_policy()}
    response = Response(page.html, page.status, headers, "text/html")
    if links := find_links(path.split("/")[1], is_made=page.is_made):
        response.headers["Link"] = links
    return response


def _answer_static(request: Request) -> Response:
    asset = find_asset(request.path_params["path"])
    if asset is None:
        return refuse(404, "there is no such file", kind="NotFoundError")
    # Browsers ask again each time: a new release must not run with old files.
    headers = {"Cache-Control": "no-cache", "ETag": asset.etag}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return Response(asset.data, headers=headers, media_type=asset.media)


def _answer_error(_: Request, error: Exception) -> Response:
    return fail(error)


def _answer_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = refuse(error.status_code, error.detail, kind="UsageError")
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response
