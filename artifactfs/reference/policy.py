"""Which references are followed: under which URI prefixes, and to which addresses.

Whoever serves a mount reads with rights of his own for others, and the author of an artifact chooses its URIs. So an
owner says under which prefixes references are followed; and addresses that only this machine or network can reach are
refused unless a prefix names their host.

Used by the sources. Threading: immutable values.

Source: RFC 6890 (special-purpose addresses); docs/threat-model.md.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from artifactfs.errors import AccessDeniedError
from artifactfs.reference.uris import is_below, redact_uri

DEFAULT_PREFIXES: Final = ("s3://", "gs://", "az://", "http://", "https://")
"""Every bucket that this user can read and every public address; no local file."""


@dataclass(frozen=True, slots=True)
class ReferencePolicy:
    """What may be read.

    Attributes:
        prefixes: URI prefixes in their one spelling; `https://` alone means every public host.
    """

    prefixes: tuple[str, ...] = DEFAULT_PREFIXES

    def check(self, uri: str) -> None:
        """Return if references to this URI are followed.

        Raises:
            AccessDeniedError: they are not.
        """
        if any(is_below(uri, prefix) for prefix in self.prefixes):
            return
        shown = redact_uri(uri)
        msg = f"{shown} is under no prefix whose references are followed here"
        hint = "the owner of the configuration file can add one to `follow_references`"
        raise AccessDeniedError(msg, hint=hint, subject=shown)

    def check_address(self, uri: str, address: str) -> None:
        """Return if the host of a URI may have this address.

        Args:
            uri: what is asked for there, after redirects.
            address: an IP address that its host's name was resolved to.

        Raises:
            AccessDeniedError: only this machine or network can reach it, and no prefix names the host.
        """
        if is_public(address) or self.names_host(uri):
            return
        shown = redact_uri(uri)
        msg = f"{shown} is at {address}, an address that is not public"
        hint = "the owner of the configuration file can add its host to `follow_references`"
        raise AccessDeniedError(msg, hint=hint, subject=shown)

    def names_host(self, uri: str) -> bool:
        """Return whether a prefix names the host of a URI, so that its owner knows where it is."""
        host = _host(uri)
        return any(not prefix.endswith("://") and _host(prefix) == host for prefix in self.prefixes)

    def check_redirect(self, uri: str) -> None:
        """Return if a redirect may lead to a URI: a host that prefixes name is only entered below these.

        Raises:
            AccessDeniedError: it may not.
        """
        if self.names_host(uri):
            self.check(uri)


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable from everywhere; false for what is no address.

    >>> is_public("8.8.8.8"), is_public("169.254.169.254"), is_public("::ffff:127.0.0.1"), is_public("64:ff9b::7f00:1")
    (True, False, False, False)
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast


def _host(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
