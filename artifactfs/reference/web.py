"""References to `http://` and `https://` URLs.

urllib3 speaks the protocol; what it would do by itself (follow redirects, try again, decode) is switched off and done
here, because each step decides whose bytes are taken. A name is resolved once, each address is looked at, and the
connection goes to the address that was looked at.

Used by `references.py`. Threading: a WebSource may be shared by threads.

Source: RFC 9110 sections 8.8 (validators), 13.1.1 (If-Match), 14 (ranges), 15.4 (redirects).
"""

from __future__ import annotations

import re
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from artifactfs.errors import (
    AccessDeniedError,
    ConfigurationError,
    RemoteDeniedError,
    RemoteError,
    RemoteTimeoutError,
    RemoteUnavailableError,
    UsageError,
)
from artifactfs.model import Validator
from artifactfs.reference.base import Described, changed, missing
from artifactfs.reference.failures import name_failure, name_redirect
from artifactfs.reference.uris import is_signed, normalize_uri, redact_uri

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artifactfs.blobstore.retrying import RetryPolicy
    from artifactfs.model import ReferenceEntry
    from artifactfs.reference.policy import ReferencePolicy

REDIRECTS: Final = 5
BLOCK: Final = 1 << 16
_TAGS: Final = frozenset({"etag", "weak-etag"})
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({404, 410})
_NO_HEAD: Final = frozenset({400, 403, 405, 501})
"""What servers answer that take no HEAD, or signed GET alone."""
_LATER: Final = frozenset({408, 425, 429})
_LOGIN: Final = (
    "it asks for a login, and URLs are read without one: take a presigned URL with --allow-signed or the s3://, gs:// "
    "or az:// URI, which is read with your credentials; or download it and put the file"
)
_EXPIRED: Final = "the signature in its query has expired or is of no use: sign it anew"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_LENGTH = re.compile(r"\d{1,18}")


class WebSource:
    """Reads URLs. May be shared by threads.

    Args:
        policy: which URLs and addresses may be asked.
        retry: how often a request is made again; its deadline is also that of one answer.
        connect_seconds: for a connection to be made.
        read_seconds: for the next bytes to come.
    """

    def __init__(
        self, policy: ReferencePolicy, retry: RetryPolicy, *, connect_seconds: float, read_seconds: float
    ) -> None:
        self._policy = policy
        self._retry = retry
        self._timeouts = connect_seconds, read_seconds
        self._manager: Any = None

    def describe(self, uri: str, *, checksum: bool) -> Described:
        """Return what is at a URL, by HEAD, or by GET of one byte where the server takes no HEAD."""
        found = self._retry.run(lambda: self._describe(uri, checksum=checksum))
        if found is None:
            raise missing(uri)
        return found

    def iter_below(self, uri: str, *, checksum: bool) -> Iterator[Described]:
        """Raise: HTTP has no listings."""
        del checksum
        msg = f"{redact_uri(uri)} is no file, and HTTP cannot list what lies below it"
        raise UsageError(msg, hint="add each URL", subject=redact_uri(uri))

    def read_range(self, entry: ReferenceEntry, offset: int, size: int) -> bytes:
        """Return exactly these bytes of what is at a URL; see `Source`."""
        return self._retry.run(lambda: self._read_range(entry, offset, size))

    def _describe(self, uri: str, *, checksum: bool) -> Described | None:
        with _closing(self._request("HEAD", uri, {})) as response:
            if response.status == 200 and (length := _find_length(response.headers)) is not None:
                return _described(uri, length, response.headers, checksum=checksum)
            if response.status in _GONE:
                return None
            if response.status != 200 and response.status not in _NO_HEAD:
                raise _refusal(uri, response.status)
        with _closing(self._request("GET", uri, {"Range": "bytes=0-0"})) as response:
            if response.status in _GONE:
                return None
            if response.status not in (200, 206, 416):
                raise _refusal(uri, response.status)
            return _described(uri, _find_total(uri, response), response.headers, checksum=checksum)

    def _read_range(self, entry: ReferenceEntry, offset: int, size: int) -> bytes:
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        if entry.validator.kind == "etag":
            headers["If-Match"] = entry.validator.value
        with _closing(self._request("GET", entry.uri, headers)) as response:
            if response.status in (412, 416) or response.status in _GONE:
                raise changed(entry, self._describe(entry.uri, checksum=entry.validator.kind in _TAGS))
            if response.status not in (200, 206):
                raise _refusal(entry.uri, response.status)
            start, length = _check_answer(entry, response)
            if start > offset or start + length < offset + size:
                raise _bad_answer(entry.uri, "other bytes came than those asked for")
            return self._read_body(entry.uri, response, skip=offset - start, size=size)

    def _read_body(self, uri: str, response: Any, *, skip: int, size: int) -> bytes:
        from urllib3 import exceptions  # noqa: PLC0415

        end = self._retry.now() + self._retry.deadline_seconds
        body = bytearray()
        try:
            while len(body) < skip + size:
                data = response.read(min(BLOCK, skip + size - len(body)), decode_content=False)
                if not data:
                    raise _bad_answer(uri, f"it ended {skip + size - len(body)} bytes early")
                body += data
                if skip and len(body) >= skip:
                    del body[:skip]
                    skip = 0
                elif skip:
                    skip -= len(body)
                    body.clear()
                if self._retry.now() > end:
                    raise _too_slow(uri)
        except exceptions.TimeoutError:
            raise _too_slow(uri) from None
        except (exceptions.HTTPError, OSError):
            raise _bad_answer(uri, "the connection broke") from None
        return bytes(body)

    def _request(self, method: str, uri: str, headers: Mapping[str, str]) -> Any:
        """Return an answer that is no redirect; its body is not read yet."""
        self._policy.check(uri)
        target = uri
        for _ in range(REDIRECTS + 1):
            response = self._send(method, target, headers)
            where = response.headers.get("location")
            if response.status not in _MOVED or not where:
                if response.headers.get("content-encoding", "identity") != "identity":
                    response.close()
                    raise _bad_answer(uri, "the server encodes what was not to be encoded")
                return response
            response.close()
            target = _follow(uri, target, where)
            self._policy.check_redirect(target)
        raise _bad_answer(uri, f"it redirects more than {REDIRECTS} times")

    def _send(self, method: str, uri: str, headers: Mapping[str, str]) -> Any:
        from urllib3 import exceptions  # noqa: PLC0415

        try:
            return self._find_manager(uri).request(
                method,
                uri,
                headers={"Accept-Encoding": "identity", "User-Agent": "artifactfs", **headers},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except exceptions.NewConnectionError as error:  # urllib3 counts it among timeouts
            raise _bad_answer(uri, name_failure(uri, error)) from None
        except exceptions.TimeoutError:
            raise _too_slow(uri) from None
        except (exceptions.HTTPError, OSError) as error:
            # Its text repeats the URL.
            raise _bad_answer(uri, name_failure(uri, error)) from None

    def _find_manager(self, uri: str) -> Any:
        if self._manager is None:
            try:
                from artifactfs.reference.connections import make_manager  # noqa: PLC0415
            except ImportError as error:
                msg = f"{redact_uri(uri)} needs urllib3, which is not installed"
                raise ConfigurationError(msg, hint="pip install 'artifactfs[http]'") from error
            self._manager = make_manager(self._policy, *self._timeouts)
        return self._manager


def _follow(origin: str, here: str, where: str) -> str:
    target = urljoin(here, where)
    schemes = ("https://",) if here.startswith("https:") else ("https://", "http://")
    if not target.lower().startswith(schemes):
        shown = redact_uri(origin)
        msg = f"{shown} redirects to {name_redirect(here, where)}, which is not followed"
        hint = f"redirects lead from {here.partition(':')[0]}: to {' or '.join(schemes)} only"
        raise AccessDeniedError(msg, hint=hint, subject=shown)
    try:
        # What a server signs for this one answer is kept nowhere.
        return normalize_uri(target.partition("#")[0], allow_signed=True)
    except UsageError:
        raise AccessDeniedError(
            f"{redact_uri(origin)} redirects to what cannot be followed", subject=redact_uri(origin)
        ) from None


def _described(uri: str, size: int, headers: Mapping[str, str], *, checksum: bool) -> Described:
    etag, modified_ns = headers.get("etag"), 0
    with suppress(TypeError, ValueError, KeyError):
        modified_ns = int(parsedate_to_datetime(headers["last-modified"]).timestamp()) * 1_000_000_000
    validator = Validator("modified", str(modified_ns)) if modified_ns else Validator("none", "")
    if checksum and etag:
        validator = Validator("weak-etag" if etag.startswith("W/") else "etag", etag)
    return Described(uri, size, validator, modified_ns)


def _check_answer(entry: ReferenceEntry, response: Any) -> tuple[int, int]:
    """Return offset and length of the bytes that come, of what was recorded and nothing else."""
    if response.status == 206:
        start, end, total = _parse_content_range(entry.uri, response.headers)
        length = end - start + 1
    else:
        told = _find_length(response.headers)
        start, total = 0, entry.size if told is None else told
        length = total
    kind = entry.validator.kind
    # A server that ignores the condition still says what it sends.
    found = _described(entry.uri, total, response.headers, checksum=kind in _TAGS)
    if total != entry.size or (kind != "none" and found.validator != entry.validator):
        raise changed(entry, found)
    return start, length


def _parse_content_range(uri: str, headers: Mapping[str, str]) -> tuple[int, int, int]:
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if match is None:
        raise _bad_answer(uri, "it does not say which bytes came")
    return int(match[1]), int(match[2]), int(match[3])


def _find_length(headers: Mapping[str, str]) -> int | None:
    """Return how many bytes an answer says to have; None when it does not, or says nonsense."""
    text = headers.get("content-length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def _find_total(uri: str, response: Any) -> int:
    """Return how large what was asked for by its first byte is."""
    if response.status == 206:
        return _parse_content_range(uri, response.headers)[2]
    if response.status == 416:  # an empty file has no first byte
        return 0
    length = _find_length(response.headers)
    if length is None:
        msg = f"the server of {redact_uri(uri)} does not say how large it is"
        raise UsageError(msg, hint="download it, and put the file", subject=redact_uri(uri))
    return length


def _refusal(uri: str, status: int) -> RemoteError:
    shown = redact_uri(uri)
    msg = f"reading {shown}: the server answered {status}"
    if status in (401, 403, 407):
        hint = _EXPIRED if is_signed(uri) else _LOGIN
        return RemoteDeniedError(msg, hint=hint, subject=shown)
    if status >= 500 or status in _LATER:
        return RemoteUnavailableError(msg, hint="try again later", subject=shown)
    return RemoteDeniedError(msg, hint="check the URL", subject=shown)


def _bad_answer(uri: str, why: str) -> RemoteUnavailableError:
    shown = redact_uri(uri)
    return RemoteUnavailableError(f"reading {shown}: {why}", hint="try again later", subject=shown)


def _too_slow(uri: str) -> RemoteTimeoutError:
    shown = redact_uri(uri)
    return RemoteTimeoutError(f"reading {shown}: no answer in time", hint="try again later", subject=shown)


class _closing:  # noqa: N801 (as contextlib names it)
    """Closes an answer, and its connection when the body was not read to its end."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def __enter__(self) -> Any:
        return self._response

    def __exit__(self, *_: object) -> None:
        response = self._response
        length = response.length_remaining
        if length == 0:
            response.drain_conn()
            response.release_conn()
        else:
            response.close()
