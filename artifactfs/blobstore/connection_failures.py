"""Why no object store answered: what obstore says of connections, of credentials, and of answers of something else.

Used by `remote_failures.py`, `connecting.py`, and what reads from buckets. Threading: pure functions.

Source: obstore 0.12, text of its errors: those of reqwest, hyper and rustls.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from artifactfs.errors import RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST = re.compile(r"\bhttps?://(?:[^/@\s\"]*@)?([^/?#\s\",)]+)")
_REASONS: Final = (
    ("dns error", "the name of {host} cannot be resolved"),
    ("InvalidCertificate", "the certificate of {host} cannot be verified{detail}"),
    ("InvalidContentType", "{host} does not speak TLS; is its endpoint http://?"),
    ("kind: InvalidData", "{host} does not speak TLS as it should"),
    ("ConnectionRefused", "{host} cannot be reached: connection refused"),
    ("NetworkUnreachable", "{host} cannot be reached: no network leads there"),
    ("HostUnreachable", "{host} cannot be reached: no network leads there"),
)
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)")
_NO_STORE = re.compile(r"source: (Missing(Etag|LastModified)|Invalid\w+Response)\b")
_NO_CREDENTIALS = re.compile(r"https?://(169\.254\.|metadata\.google\.)")
_CREDENTIALS: Final = {
    '"S3"': "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for public data AWS_SKIP_SIGNATURE=true",
    '"GCS"': "GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`; for public data"
    " GOOGLE_SKIP_SIGNATURE=true",
    '"MicrosoftAzure"': "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY; for public data, instead of the key,"
    " AZURE_SKIP_SIGNATURE=true",
}
NO_STORE: Final = "what answered is not the object store"
NO_STORE_HINT: Final = "check the endpoint, and proxies and login pages on the way"


def explain_connection(text: str) -> str:
    """Return why nothing was connected to, and to which host; `text` repeats URLs and is not shown.

    >>> explain_connection("GET http://host:81/a?secret in 1ms - kind: Connect, kind: ConnectionRefused")
    'host:81 cannot be reached: connection refused'
    """
    found = _HOST.search(text)
    host = found[1] if found else "the service"
    certificate = _CERTIFICATE.search(text)
    detail = f" ({certificate[1]})" if certificate else ""
    for sign, reason in _REASONS:
        if sign in text:
            return reason.format(host=host, detail=detail)
    return f"{host} cannot be reached"


def explain_credentials(text: str) -> str:
    """Return what to set where a machine's own credentials were asked for and it has none; else nothing."""
    if not _NO_CREDENTIALS.search(text):
        return ""
    found = next((names for store, names in _CREDENTIALS.items() if f"store: {store}" in text), "credentials")
    return f"set {found}"


def is_no_store(text: str) -> bool:
    """Return whether an answer came that no object store gives, as a proxy's page in place of XML."""
    return _NO_STORE.search(text) is not None


def check_answer(meta: Mapping[str, Any], *, doing: str, key: str) -> None:
    """Return if an answer about an object is one of an object store: each of them says a time or an ETag.

    Raises:
        RemoteUnavailableError: it is none, but the page of a proxy, say.
    """
    if not meta.get("e_tag") and not meta["last_modified"].timestamp():
        raise RemoteUnavailableError(f"{doing}: {NO_STORE}", hint=NO_STORE_HINT, subject=key)
