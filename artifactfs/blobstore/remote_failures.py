"""What a failure of an object store means.

obstore says most of it in text: the text is looked at here and never shown, because it repeats URLs, and those may
carry signatures.

Used by `objectstore.py`. Threading: pure functions.

Source: RFC 9110; Amazon S3 API Reference, "Error responses"; Azure Storage, "Blob service error codes".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from artifactfs.blobstore.connection_failures import (
    NO_STORE,
    NO_STORE_HINT,
    explain_connection,
    explain_credentials,
    is_no_store,
)
from artifactfs.errors import (
    BlobMissingError,
    ConfigurationError,
    RemoteDeniedError,
    RemoteTimeoutError,
    RemoteUnavailableError,
    StorageFullError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.errors import ArtifactFSError

T = TypeVar("T")
_STATUS = re.compile(r"\bstatus: (\d{3})\b|status code: (\d{3})\b")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_NO_OBJECT: Final = frozenset({"NoSuchKey", "BlobNotFound"})
_FULL: Final = frozenset({"QuotaExceeded", "InsufficientStorage", "AccountLimitExceeded"})
_TRY_AGAIN: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which another try may work; 409 is a conditional request that met another one."""


class ClientPanic(Exception):  # noqa: N818 (what it is)
    """The client of an object store broke off. What it said of that is on standard error."""


def call_shielded(request: Callable[[], T]) -> T:
    """Return what a call of obstore returns.

    Raises:
        ClientPanic: it panicked: pyo3's exception for that is no `Exception`, so nobody would catch it.
    """
    try:
        return request()
    except BaseException as error:
        if type(error).__name__ == "PanicException" and not isinstance(error, Exception):
            raise ClientPanic from None
        raise


def translate_remote_error(
    error: BaseException, *, doing: str, key: str = "", has_body: bool = True
) -> ArtifactFSError:
    """Return the error of our tree that says what an exception of obstore means.

    Args:
        error: what obstore raised.
        doing: what was being done, as in "reading blobs/ab/... from s3://bucket".
        key: the object concerned.
        has_body: whether the service could say why it answered 404; it cannot to HEAD.
    """
    if isinstance(error, ClientPanic):
        msg = f"{doing}: the client of the object store broke off"
        hint = "check endpoints and proxies in the environment: each is a URL, as in http://HOST:PORT"
        return ConfigurationError(msg, hint=hint, subject=key)
    text = str(error)
    if hint := explain_credentials(text):
        return RemoteDeniedError(f"{doing}: no credentials were found", hint=hint, subject=key)
    match = _STATUS.search(text)
    status = int(match[1] or match[2]) if match else 0
    found = _CODE.search(text)
    code = found[1] if found else ""
    if code in _NO_BUCKET:
        return ConfigurationError(f"{doing}: there is no such bucket", hint="make it, or check its name", subject=key)
    if isinstance(error, FileNotFoundError):
        return _not_found(code, status, doing=doing, key=key, has_body=has_body)
    said = _said(code, status) if status else ""
    return _refusal(error, code, status, doing=doing, key=key) or _no_answer(text, said, doing=doing, key=key)


def _refusal(error: BaseException, code: str, status: int, *, doing: str, key: str) -> ArtifactFSError | None:
    """Return what an answer means that will be the same the next time; None of any other."""
    said = _said(code, status)
    if code in _FULL or status == 507:
        return StorageFullError(f"{doing}: {said}", hint="free some space or raise the quota", subject=key)
    if status in (401, 403) or type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        hint = "check the credentials, what they allow (listing included), and the clock"
        return RemoteDeniedError(f"{doing}: {said if status else 'the service refused'}", hint=hint, subject=key)
    if status == 501 or isinstance(error, NotImplementedError) or type(error).__name__ == "NotSupportedError":
        said = said if status else "the settings of the client rule it out"
        return ConfigurationError(f"{doing}: {said}", hint="use a service that can do this", subject=key)
    if 300 <= status < 500 and status not in _TRY_AGAIN:
        hint = "check region, endpoint and the name of the bucket"
        return RemoteDeniedError(f"{doing}: {said}", hint=hint, subject=key)
    return None


def _said(code: str, status: int) -> str:
    return f"the service answered {status}" + (f" ({code})" if code else "")


def _not_found(code: str, status: int, *, doing: str, key: str, has_body: bool) -> ArtifactFSError:
    # What a proxy or a wrong endpoint answers must not be taken for the absence of an object.
    if status and has_body and code not in _NO_OBJECT:
        msg = f"{doing}: what answered 404 is not the object store"
        return RemoteUnavailableError(msg, hint="check the endpoint, and proxies on the way", subject=key)
    msg = f"the repository has no object {key}"
    return BlobMissingError(msg, hint="it was deleted or never copied here", subject=key)


def _no_answer(text: str, said: str, *, doing: str, key: str) -> ArtifactFSError:
    if "credential" in text.lower():
        msg = f"{doing}: no credentials were found"
        hint = "set them in the environment or the service's configuration files"
        return RemoteDeniedError(msg, hint=hint, subject=key)
    if "builder error" in text:
        return ConfigurationError(f"{doing}: the endpoint is not a URL", hint="write https://host", subject=key)
    if "kind: Timeout" in text or "TimedOut" in text:
        return RemoteTimeoutError(f"{doing}: no answer in time", hint="try again later", subject=key)
    if is_no_store(text):
        return RemoteUnavailableError(f"{doing}: {NO_STORE}", hint=NO_STORE_HINT, subject=key)
    hint = "try again later"
    if "kind: Connect" in text:
        said, hint = explain_connection(text), "check the endpoint and the network, or try again later"
    elif "NotPartial" in text or "WrongRange" in text:
        said = "the service ignores ranges"
    return RemoteUnavailableError(f"{doing}: {said or 'the connection broke'}", hint=hint, subject=key)
