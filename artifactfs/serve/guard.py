"""Who may ask: the host that was named, the token, and where a request that changes something comes from.

Used by `application`. Threading: a Guard may be shared.

Source: docs/design/web.md, "Who may ask"; RFC 6265bis; https://w3c.github.io/webappsec-fetch-metadata/
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response

from artifactfs.serve.answers import refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSRF_HEADER: Final = "x-csrf-token"
LOCKED: Final = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>artifactfs</title></head>
<body>
<h1>A token is required</h1>
<p>Open the address that <code>artifactfs ui</code> printed: it has the token, which this browser then keeps.</p>
</body>
</html>
"""
SAFE: Final = ("GET", "HEAD", "OPTIONS")
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types "
    "'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        token: what must be known; empty when nothing must be.
        csrf: what a request that changes something must carry.
        hosts: names that the server may be called by, besides addresses and `localhost`; lower case.
        cookie: name of the cookie with the token. Browsers send cookies to all ports of a host, so that each has one.
    """

    token: str
    csrf: str
    hosts: frozenset[str] = frozenset()
    cookie: str = "artifactfs"

    def is_host(self, host: str) -> bool:
        """Return whether a Host header names this server: with an address, or a name that is its own.

        >>> access = Access("", "", frozenset({"box"}))
        >>> [access.is_host(host) for host in ("127.0.0.1:80", "[::1]", "localhost:1", "BOX:8000", "evil.example", "")]
        [True, True, True, True, False, False]
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return bool(name := host.rpartition(":")[0] or host) and name.lower() in {"localhost", *self.hosts}
        return True

    def has_token(self, headers: Headers) -> bool:
        """Return whether a request carries the token: as a cookie, or as a bearer's."""
        if not self.token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _is_same(given.strip(), self.token):
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return self.cookie in cookies and _is_same(cookies[self.cookie].value, self.token)

    def find_refusal(self, method: str, headers: Headers) -> Response | None:
        """Return why a request that changes something must not be done; None when it may be."""
        if method in SAFE:
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return refuse(403, f"a page of {origin} may not change anything here")
        if site not in ("same-origin", "none"):
            return refuse(403, "another site may not change anything here")
        if not _is_same(headers.get(CSRF_HEADER, ""), self.csrf):
            return refuse(403, "the header X-CSRF-Token is missing or old", hint="/api/server gives it")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return refuse(415, "what is sent must be application/json", kind="UsageError")
        return None


class Guard:
    """An ASGI application that lets through what may be asked. May be shared by threads."""

    def __init__(self, inner: ASGIApp, access: Access) -> None:
        self._inner = inner
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._check(scope)
        await (refusal or self._inner)(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._access.is_host(headers.get("host", "")):
            return refuse(
                421, f"{headers.get('host', '')!r} is no name of this server", hint="artifactfs ui --allow-host NAME"
            )
        if not self._access.has_token(headers):
            return self._take_token(scope) or _ask_for_token(scope)
        moved = None if scope["path"].startswith("/api/") else self._take_token(scope)
        return moved or self._access.find_refusal(scope["method"], headers)

    def _take_token(self, scope: Scope) -> Response | None:
        """Return a redirect that moves the token from the address into a cookie; None when it is not in there."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token", "")
        if not self._access.token or not _is_same(given, self._access.token) or scope["method"] != "GET":
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" + scope["raw_path"].decode("latin-1").lstrip("/")  # two slashes would lead to another host
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        # Lax: a link of another site may lead to a page; what changes something carries more than the cookie.
        response.set_cookie(self._access.cookie, self._access.token, httponly=True, samesite="lax", path="/")
        return response


def _ask_for_token(scope: Scope) -> Response:
    """Return the refusal of who has no token: a page where pages are, else JSON."""
    if scope["method"] in ("GET", "HEAD") and not scope["path"].startswith(("/api/", "/static/")):
        return Response(LOCKED, 401, {"Cache-Control": "no-store"}, "text/html")
    return refuse(401, "a token is required", hint="open the address that `artifactfs ui` printed")


def _is_same(given: str, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())
