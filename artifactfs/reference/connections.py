"""Connections of urllib3 that go only to addresses that a policy allows.

Used by `web.py`, which imports it when the first URL is read: urllib3 takes 40 ms.
Threading: a manager may be shared by threads.

Source: urllib3 documentation, "Customizing connection pools"; getaddrinfo(3).
"""

from __future__ import annotations

import socket
from functools import partial
from types import new_class
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

if TYPE_CHECKING:
    from artifactfs.reference.policy import ReferencePolicy


class _Checked:
    """Resolves the name, looks at the addresses, and connects to one of those that it looked at."""

    scheme = ""

    def __init__(self, *args: Any, policy: ReferencePolicy, **more: Any) -> None:
        self._policy = policy
        super().__init__(*args, **more)

    def _new_conn(self) -> socket.socket:
        connection: Any = self
        host = f"[{connection.host}]" if ":" in connection.host else connection.host
        uri = f"{self.scheme}://{host}/" if connection.port == connection.default_port else ""
        uri = uri or f"{self.scheme}://{host}:{connection.port}/"
        try:
            found = socket.getaddrinfo(connection._dns_host, connection.port, 0, socket.SOCK_STREAM)  # noqa: SLF001
        except socket.gaierror as error:
            raise NameResolutionError(connection.host, connection, error) from error
        for *_, address in found:
            self._policy.check_address(uri, str(address[0]))
        failure: Exception = NewConnectionError(connection, "the name has no address")
        for *_, address in found:
            try:
                return create_connection(
                    (str(address[0]), connection.port), connection.timeout, socket_options=connection.socket_options
                )
            except TimeoutError:
                failure = ConnectTimeoutError(connection, "no connection in time")
            except OSError as error:
                failure = NewConnectionError(connection, f"no connection: {error.strerror}")
                failure.__cause__ = error
        raise failure


class _CheckedHTTP(_Checked, HTTPConnection):
    scheme = "http"


class _CheckedHTTPS(_Checked, HTTPSConnection):
    scheme = "https"


def make_manager(policy: ReferencePolicy, connect_seconds: float, read_seconds: float) -> urllib3.PoolManager:
    """Return a manager whose connections go only where the policy allows. Proxies are not used.

    Args:
        policy: which addresses a host may have.
        connect_seconds: for a connection to be made.
        read_seconds: for the next bytes to come.
    """
    manager = urllib3.PoolManager(
        num_pools=32, maxsize=16, timeout=urllib3.Timeout(connect=connect_seconds, read=read_seconds)
    )
    manager.pool_classes_by_scheme = {
        "http": _bind(HTTPConnectionPool, _CheckedHTTP, policy),
        "https": _bind(HTTPSConnectionPool, _CheckedHTTPS, policy),
    }
    return manager


def _bind(pool: type[HTTPConnectionPool], connection: type[_Checked], policy: ReferencePolicy) -> Any:
    make: Any = staticmethod(partial(connection, policy=policy))
    bound: Any = new_class("CheckedPool", (pool,))
    bound.ConnectionCls = make
    return bound
