"""An HTTP server that answers as it is told to: slowly, in part, wrongly, or elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Odd:
    """What is served, and how.

    Attributes:
        url: of the server, without a path.
        files: content by path.
        etags: by path; "" sends none.
        lengths: what is said of them, by path; else the truth.
        faults: by path, one for each next GET: `stall`, `cut`, `lie`, `whole`, `503`, `deny`, `shifted`, `change`.
        redirects: target by path.
        requests: method and path of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    lengths: dict[str, str] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    ignores_conditions: bool = False
    ignores_ranges: bool = False
    takes_no_head: bool = False
    stalls_head: bool = False
    sends_dates: bool = True
    gate: Callable[[], AbstractContextManager[object]] = nullcontext
    """Before each answer to a GET."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    odd: Odd

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        with self.odd.gate():
            pass  # whoever has an answer may ask again before this thread goes on
        self._answer(has_body=True)

    def _answer(self, *, has_body: bool) -> None:
        odd = self.odd
        odd.requests.append((self.command, self.path))
        path = self.path.partition("?")[0]
        fault = odd.faults[path].pop(0) if has_body and odd.faults.get(path) else ""
        if not has_body and odd.stalls_head:
            odd.released.wait(30)
        if not has_body and odd.takes_no_head:
            return self._plain(405)
        if fault in ("503", "401"):
            return self._plain(int(fault))
        if path in odd.redirects:
            return self._plain(302, Location=odd.redirects[path])
        if path not in odd.files:
            return self._plain(404)
        if fault == "change":
            odd.files[path], odd.etags[path] = odd.files[path][::-1], '"changed"'
        data, etag = odd.files[path], odd.etags.get(path, '"one"')
        if not odd.ignores_conditions and self.headers.get("If-Match", etag) != etag:
            return self._plain(412)
        return self._send(data, etag, fault, has_body=has_body)

    def _send(self, data: bytes, etag: str, fault: str, *, has_body: bool) -> None:
        asked = self.headers.get("Range")
        headers = {"ETag": etag} if etag else {}
        if self.odd.sends_dates:
            headers["Last-Modified"] = "Tue, 24 Nov 2026 00:00:00 GMT"
        body, status = data, 200
        if asked and not self.odd.ignores_ranges and has_body:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last), len(data) - 1)
            if start >= len(data):
                return self._plain(416)
            body, status = data[start : end + 1], 206
            shift = 1 if fault == "shifted" else 0
            headers["Content-Range"] = f"bytes {start + shift}-{end + shift}/{len(data) + (fault == 'lie')}"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        length = self.odd.lengths.get(self.path.partition("?")[0], str(len(body)))
        self.send_header("Content-Length", length)
        self.end_headers()
        if not has_body:
            return None
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return None
        if fault == "stall":
            self.wfile.write(body[:1])
            self.wfile.flush()
            self.odd.released.wait(30)
            self.close_connection = True
            return None
        self.wfile.write(body)
        return None

    def _plain(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args) -> None:
        """Clients hang up."""


@contextmanager
def running_odd_server() -> Iterator[Odd]:
    odd = Odd()
    handler = type("Handler", (_Handler,), {"odd": odd})
    server = _Quiet(("127.0.0.1", 0), handler)
    odd.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield odd
    finally:
        odd.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
