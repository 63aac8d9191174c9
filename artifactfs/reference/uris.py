"""URIs of references: their one spelling, what is secret in them, and which lie below which.

A URI is stored in trees, which are for ever, so what may not be kept is refused here, before anything is sent.

Used by everything that shows or follows a reference. Threading: pure functions.

Source: RFC 3986; docs/format.md section 4.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes, urlsplit

from artifactfs.errors import UsageError

BUCKET_SCHEMES: Final = ("s3", "gs", "az")
WEB_SCHEMES: Final = ("http", "https")
ARTIFACT_SCHEME: Final = "artifact"
"""Names entries of versions, which are taken over as they are: no reference has it."""
SCHEMES: Final = (*BUCKET_SCHEMES, *WEB_SCHEMES, "file")
MAX_LENGTH: Final = 4096
MAX_OBJECTS: Final = 1_000_000
"""How many objects a prefix may have, unless more are allowed."""
REDACTED: Final = "?[redacted]"

RENAME: Final = "give the object another name in its bucket"

_URI = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL | re.IGNORECASE)
_NEAR_URI = re.compile(rf"({'|'.join((*SCHEMES, ARTIFACT_SCHEME))}):/?([^/].*)", re.DOTALL | re.IGNORECASE)
_USE_SCHEMES: Final = f"use {', '.join(f'{scheme}://' for scheme in SCHEMES)}, or put a downloaded file"
_AZURE_HOST = re.compile(r"([a-z0-9-]{3,63})\.blob\.core\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)")
_SECRET_NAME = re.compile(
    r"sig|token|credential|secret|passw|api-?_?key|accesskey|accessid|auth|key-pair", re.IGNORECASE
)
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,254}")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class BucketKey:
    """An object, or a prefix, in a bucket.

    Attributes:
        scheme: `s3`, `gs` or `az`.
        bucket: the bucket, or Azure's container.
        key: of the object, as the service has it; may be empty.
        account: the Azure account that an `https` URL names; else empty.
    """

    scheme: str
    bucket: str
    key: str
    account: str = ""


def is_uri(text: str) -> bool:
    """Return whether a text is a URI that a reference can have, or names entries of a version, and no local path."""
    match = _URI.fullmatch(text)
    return match is not None and match[1].lower() in (*SCHEMES, ARTIFACT_SCHEME)


def check_no_uri(text: str) -> None:
    """Return if a text that is no URI of a reference, and no local path that exists, looks like neither of one.

    Raises:
        UsageError: it is a URI of another scheme, or one that lacks a slash.

    >>> check_no_uri("images/cat.png")
    """
    if _URI.fullmatch(text):
        raise _refused(text, f"{text.partition(':')[0]}:// is no scheme of a reference", _USE_SCHEMES)
    near = _NEAR_URI.fullmatch(text)
    if near is not None:
        raise _refused(text, "it is no local path, and a URI has two slashes", f"write {near[1]}://{near[2][:100]}")


def is_artifact_uri(text: str) -> bool:
    """Return whether a text is `artifact://` and a REF.

    >>> is_artifact_uri("artifact://animals:v3/images"), is_artifact_uri("animals:v3")
    (True, False)
    """
    return text.lower().startswith(f"{ARTIFACT_SCHEME}://")


def normalize_uri(text: str, *, allow_signed: bool = False) -> str:
    """Return a URI in its one spelling.

    Args:
        text: what a user wrote.
        allow_signed: whether its query may hold a signature or a token.

    Raises:
        UsageError: no reference can have it: another scheme, `user:password@`, a signature, `..`, a fragment or
            control characters. The message repeats no query.
    """
    match = _URI.fullmatch(text)
    scheme = match[1].lower() if match else ""
    if match is None or scheme not in SCHEMES:
        raise _refused(text, f"{f'{scheme}:// is' if scheme else 'it has'} no scheme of a reference", _USE_SCHEMES)
    rest = match[2]
    if len(text) > MAX_LENGTH or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise _refused(text, "it is too long or has control characters", "")
    if "@" in rest.partition("/")[0]:
        raise _refused(text, "it holds a user or password", "credentials come from the environment")
    if scheme in BUCKET_SCHEMES:
        return _normalize_bucket(text, scheme, rest)
    if scheme == "file":
        return _normalize_file(text, rest)
    return _normalize_web(text, allow_signed=allow_signed)


def normalize_prefix(text: str) -> str:
    """Return a prefix below which references are followed, in its one spelling; `https://` alone is one.

    Raises:
        UsageError: it cannot be one.
    """
    scheme = text.lower().removesuffix("://")
    if scheme in SCHEMES and scheme != text.lower():
        return f"{scheme}://"
    uri = normalize_uri(text)
    # `https://host` means everything there, as `https://host/` does.
    return uri.rstrip("/") if uri.startswith(("http", "file:///")) and uri != "file:///" else uri


def is_signed(uri: str) -> bool:
    """Return whether the query of a URI holds what looks like a signature, a token or a key."""
    if not uri.lower().startswith(("http://", "https://")):
        return False
    query = urlsplit(uri).query
    return any(_SECRET_NAME.search(name) for name, _ in parse_qsl(query, keep_blank_values=True))


def redact_uri(uri: str) -> str:
    """Return a URI as it may be shown: without the query, if that is secret, and without user and password.

    >>> redact_uri("https://host/a?X-Amz-Signature=abc")
    'https://host/a?[redacted]'
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return uri.partition("?")[0]
    scheme, rest = match[1], match[2]
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        uri = f"{scheme}://***@{authority.rpartition('@')[2]}{slash}{path}"
    return uri.partition("?")[0] + REDACTED if is_signed(uri) else uri


def find_bucket_key(uri: str) -> BucketKey | None:
    """Return the object, or prefix, in a bucket that a URI in its one spelling names; None for any other."""
    scheme, _, rest = uri.partition("://")
    if scheme in BUCKET_SCHEMES:
        bucket, _, key = rest.partition("/")
        return BucketKey(scheme, bucket, key)
    if scheme != "https" or "?" in uri:
        return None
    host, _, path = rest.partition("/")
    found = _AZURE_HOST.fullmatch(host)
    container, _, key = path.partition("/")
    return BucketKey("az", container, unquote(key), found[1]) if found and container else None


def names_no_file(key: str) -> bool:
    """Return whether a key, or a prefix with or without its slash, has parts that no file can have as its name.

    >>> names_no_file("a//b"), names_no_file("a/../b"), names_no_file("a/b/"), names_no_file("")
    (True, True, False, False)
    """
    return bool(key) and bool({"", ".", ".."} & set(key.removesuffix("/").split("/")))


def is_below(uri: str, prefix: str) -> bool:
    """Return whether a URI in its one spelling is a prefix itself, or lies below it.

    >>> is_below("s3://b/data/x", "s3://b/data"), is_below("s3://b/database", "s3://b/data")
    (True, False)
    """
    if prefix.endswith("://"):
        return uri.startswith(prefix)
    path = uri.partition("?")[0]
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")


def _normalize_bucket(text: str, scheme: str, rest: str) -> str:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise _refused(text, "it names no bucket", f"write {scheme}://bucket/key")
    if names_no_file(key):
        raise _refused(text, "no file can have a key with `//`, `.` or `..` in it", RENAME)
    return f"{scheme}://{bucket}" + (f"/{key}" if key else "")


def _normalize_file(text: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    real = unquote_to_bytes(path)
    if host not in ("", "localhost") or not slash or {b".", b".."} & set(real.split(b"/")) or b"\0" in real:
        raise _refused(text, "it is no absolute path of this machine", "write file:///data/images")
    return f"file:///{quote(real)}"


def _normalize_web(text: str, *, allow_signed: bool) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused(text, "it is no URL", "") from None
    scheme = parts.scheme.lower()
    if not host or "\\" in text or any(letter.isspace() for letter in text):
        raise _refused(text, "it is no URL", "write %20 for a space")
    if parts.fragment:
        raise _refused(text, "a fragment is no part of what is read", "leave out what follows `#`")
    if {".", ".."} & set(re.split(r"[/\\]", _decode(parts.path))):
        raise _refused(text, "`.` and `..` are no names", "write the path that is meant")
    if is_signed(text) and not allow_signed:
        hint = "--allow-signed keeps it all the same: whoever reads the version can use it, until it expires"
        raise _refused(text, "its query holds a signature or a token", hint)
    name = f"[{host}]" if ":" in host else host
    authority = name if port in (None, _PORTS[scheme]) else f"{name}:{port}"
    return f"{scheme}://{authority}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")


def _decode(path: str) -> str:
    """Return a path without percent-encoding: `..%2f` leads out of a prefix, and some servers decode twice."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path


def _refused(text: str, why: str, hint: str) -> UsageError:
    shown = redact_uri(text)[:200]
    return UsageError(f"{shown!r} cannot be a reference: {why}", hint=hint, subject=shown)
