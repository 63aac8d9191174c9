"""An HTTP proxy before a server that counts requests, and fails as networks and services do when told to."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUSY = "503"
"""Not done; answered 503."""
DENY = "403"
"""Not done; answered 403."""
STALL = "stall"
"""Not done; never answered."""
LOSE = "lose"
"""Done; the connection breaks before the answer."""
CUT = "cut"
"""Done; the connection breaks in the middle of the answer."""
STALL_BODY = "stall-body"
"""Done; the answer stops in the middle."""
SHORT = "short"
"""Done; the answer says that it is shorter than it is."""
FLIP = "flip"
"""Done; one bit of the answer is wrong."""
WHOLE = "whole"
"""Done; a range is answered with the whole object."""
IGNORED = "ignored"
"""Of conditional creations: done without the condition."""
REFUSED = "refused"
"""Of conditional creations: answered 501."""


@dataclass
class Seen:
    """A request: method, path with query, the range that it asked for, and when it came and was answered."""

    method: str
    path: str
    range: str
    begun: float = 0.0
    ended: float = 0.0


@dataclass
class FaultyProxy:
    """What goes through; and what fails: each fault takes the next request that matches, once.

    `conditions` is what becomes of conditional creations: nothing special, IGNORED or REFUSED.
    """

    endpoint: str = ""
    seen: list[Seen] = field(default_factory=list)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    is_cut_off: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)
    conditions: str = ""
    hold: Callable[[Seen], object] = lambda seen: None

    def fail(self, fault: str, *, method: str = "GET", path: str = "", times: int = 1) -> None:
        """Fail the next `times` requests of a method whose path contains `path`."""
        with self.guard:
            self.faults += [(fault, method, path)] * times

    def count(self, method: str, path: str = "") -> int:
        return sum(seen.method == method and path in seen.path for seen in self.seen)

    def count_round_trips(self) -> int:
        """Return how many requests waited for each other, one after another, at most."""
        depths: list[tuple[float, int]] = []
        for seen in sorted(self.seen, key=lambda seen: seen.begun):
            before = [depth for ended, depth in depths if ended <= seen.begun]
            depths.append((seen.ended, 1 + max(before, default=0)))
        return max((depth for _, depth in depths), default=0)

    def take(self, seen: Seen) -> str:
        with self.guard:
            self.seen.append(seen)
            if self.is_cut_off:
                return STALL
            for index, (fault, method, path) in enumerate(self.faults):
                if method == seen.method and path in seen.path:
                    del self.faults[index]
                    return fault
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy
    upstream: str

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, self.path, self.headers.get("Range", ""), time.monotonic())
        fault = self.proxy.take(seen)
        self.proxy.hold(seen)
        if fault == BUSY:
            self.answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        if fault == DENY:
            self.answer(403, [], b"<Error><Code>AccessDenied</Code></Error>")
            return
        if fault == STALL:
            self.proxy.stop.wait(60)
            self.close_connection = True
            return
        if self.proxy.conditions == REFUSED and self.headers.get("If-None-Match"):
            self.answer(501, [], b"<Error><Code>NotImplemented</Code></Error>")
            return
        status, headers, data = self.forward(body, without_range=fault == WHOLE)
        seen.ended = time.monotonic()
        if fault == LOSE:
            self.close_connection = True
            return
        if fault == FLIP:
            data = data[:-1] + bytes((data[-1] ^ 1,))
        if fault == SHORT:
            data = data[: len(data) // 2]
        self.answer(status, headers, data, cut=fault in (CUT, STALL_BODY))
        if fault == STALL_BODY:
            self.proxy.stop.wait(60)
        if fault in (CUT, STALL_BODY):
            self.close_connection = True

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815

    def forward(self, body: bytes, *, without_range: bool) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            is_left_out = (without_range and name.lower() == "range") or (
                self.proxy.conditions == IGNORED and name.lower() == "if-none-match"
            )
            if not is_left_out:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, response.getheaders(), data

    def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.wfile.flush()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that give up are what is tested."""


@contextmanager
def running_proxy(upstream: str, *, address: str = "127.0.0.1") -> Iterator[FaultyProxy]:
    """Give a proxy before the server at `upstream`, an http:// URL."""
    proxy = FaultyProxy()
    handler = type("Handler", (_Handler,), {"proxy": proxy, "upstream": upstream.removeprefix("http://")})
    server = _Quiet((address, 0), handler)
    proxy.endpoint = f"http://{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
