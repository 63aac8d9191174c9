"""Where a repository lies, as users write it: a directory, or `s3://bucket/prefix`, `gs://...`, `az://...`.

A location is printed everywhere, so nothing secret may stand in it: credentials come from the places that the
services' own tools use.

Used by `repository`, `places` and the command line. Threading: pure functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from artifactfs.errors import ConfigurationError

SCHEMES: Final = ("s3", "gs", "az")

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_PREFIX = re.compile(r"[A-Za-z0-9._=+,:~ -]+(/[A-Za-z0-9._=+,:~ -]+)*")


@dataclass(frozen=True, slots=True)
class RemoteLocation:
    """A prefix in a bucket of an object store.

    Attributes:
        scheme: `s3`, `gs` or `az`.
        bucket: the bucket; for `az` the container.
        prefix: without `/` at either end; may be empty.
    """

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        """Return the location in its one spelling."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def is_remote(location: str) -> bool:
    """Return whether a location is a URL, not a path."""
    return "://" in location


def parse_remote_location(text: str) -> RemoteLocation:
    """Return the place in an object store that a URL names.

    Raises:
        ConfigurationError: the scheme is not known, or it holds something that may not stand there, credentials
            above all. The message does not repeat them.
    """
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES:
        msg = f"{scheme}:// is not a place where this release can keep a repository"
        raise ConfigurationError(msg, hint=f"use a local directory, or {', '.join(f'{name}://' for name in SCHEMES)}")
    if "@" in rest or "?" in rest or "#" in rest:
        msg = f"a location such as {scheme}://bucket/prefix holds no credentials, query or fragment"
        raise ConfigurationError(msg, hint="credentials come from the environment or the service's configuration files")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket):
        msg = f"{bucket!r} cannot be the name of a bucket"
        raise ConfigurationError(msg, hint=f"write {scheme}://bucket/prefix", subject=text)
    if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        msg = f"{prefix!r} cannot be the prefix of a repository"
        raise ConfigurationError(msg, hint="use letters, digits and . _ - = + , : ~ between slashes", subject=text)
    return RemoteLocation(scheme, bucket, prefix)
