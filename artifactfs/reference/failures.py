"""What a request to a host failed by, for people: without the URL, whose query may be secret.

Used by `web.py`. Threading: pure functions.

Source: urllib3 documentation, "Exceptions and warnings"; ssl documentation, "SSLCertVerificationError".
"""

from __future__ import annotations

import os
import ssl
from urllib.parse import urljoin, urlsplit


def name_failure(uri: str, error: BaseException) -> str:
    """Return why no answer came from the host of a URI."""
    host = urlsplit(uri).netloc
    name = type(error).__name__
    if name == "NameResolutionError":
        return f"the name {urlsplit(uri).hostname} cannot be resolved"
    if name == "NewConnectionError":
        cause = error.__cause__
        why = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else "no address"
        return f"{host} cannot be reached: {why.lower()}"
    if name in ("SSLError", "CertificateError"):
        return _name_tls_failure(host, error)
    return f"the connection to {host} broke"


def name_redirect(here: str, where: str) -> str:
    """Return to what a redirect leads: the scheme alone, where it is another."""
    return f"{urlsplit(urljoin(here, where)).scheme[:20] or 'nothing'}:"


def _name_tls_failure(host: str, error: BaseException) -> str:
    cause = error.args[0] if error.args else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate of {host} cannot be verified: {cause.verify_message}"
    reason = getattr(cause, "reason", None)
    return f"{host} does not speak TLS as it should" + (f" ({reason})" if reason else "")
