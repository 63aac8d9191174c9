"""Clients of object stores, made from a location and settings.

obstore is imported here, when a remote repository is opened: it takes 30 ms, and local repositories do without.

Used by `objectstore.py`. Threading: functions; clients may be shared by threads, and by no forked process: after any
use in the parent every call in a child hangs.

Source: obstore documentation, "Stores" and "ClientConfig".
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from artifactfs.blobstore.remote_failures import call_shielded
from artifactfs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactfs.blobstore.locations import RemoteLocation

UPLOAD_RETRIES: Final = 3
DEFAULT_CACHE_SIZE: Final = 50 << 30
DEFAULT_CACHE_FREE: Final = 2 << 30
ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Variables that obstore reads, by scheme, of which each is the URL of a service."""
_SETTINGS_NAMES: Final = frozenset({"endpoint", "endpoint_url", "base_url"})
_PREFIXES: Final = {"s3": "aws_", "gs": "google_", "az": "azure_"}
"""Begin the names of settings of one service, by scheme; obstore refuses those of another."""
_VARIABLES: Final = {"s3": "AWS_*", "gs": "GOOGLE_*, and the file of GOOGLE_APPLICATION_CREDENTIALS,", "az": "AZURE_*"}


@dataclass(frozen=True, slots=True)
class RemoteLimits:
    """How much may be asked of object stores, and kept of it; the same in all processes of a mount.

    Attributes:
        connections: requests of one process at once.
        bandwidth: bytes in a second of one process; 0 sets no limit.
        deadline_seconds: after which no other attempt is made at a request.
        cache_size: bytes that are kept at most.
        cache_free: bytes that stay free on the disk of the cache.
        offline: whether the network is not used at all.
    """

    connections: int = 16
    bandwidth: int = 0
    deadline_seconds: float = 60.0
    cache_size: int = DEFAULT_CACHE_SIZE
    cache_free: int = DEFAULT_CACHE_FREE
    offline: bool = False


DEFAULT_LIMITS: Final = RemoteLimits()


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How to speak to object stores.

    Attributes:
        config: obstore's settings by name, over what obstore finds in the environment. May hold credentials, so it is
            never printed.
        refused: why settings of a service cannot be used, by scheme; of no concern to who speaks to another one.
        endpoints: what the environment says of where services are, by `ENDPOINTS`: obstore reads it there, but it is
            looked at first.
        connect_timeout_seconds: for a connection to be made.
        read_timeout_seconds: for the next bytes of an answer to come, at most; see `wait_seconds`.
        request_timeout_seconds: for one whole request.
        attempts: how often a request is made before it counts as failed.
        deadline_seconds: after which no other attempt is made.
        connections: requests at once.
        poll_seconds: how long a collection's state is taken to be the present one.
        cache: directory in which what is fetched is kept; empty keeps nothing.
        cache_size: bytes that are kept at most.
        cache_free: bytes that stay free on its disk.
        known: objects of the repository, by key, that need not be asked for: those that say its format.
        is_away: whether this process asks no service and waits for no network: what is not on this machine is `Away`.
        bandwidth: bytes in a second; 0 sets no limit.
        offline: whether the network is not used at all: what is not on this machine is an error.
        remembered: directory in which formats and logs are kept that were seen; empty keeps none.
        serves_last_known: whether collections are what they were last known to be while the service does not answer.
    """

    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    refused: Mapping[str, ConfigurationError] = field(default_factory=dict, repr=False)
    endpoints: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 20.0
    request_timeout_seconds: float = 300.0
    attempts: int = 8
    deadline_seconds: float = 60.0
    connections: int = 16
    poll_seconds: float = 5.0
    cache: str = ""
    cache_size: int = DEFAULT_CACHE_SIZE
    cache_free: int = DEFAULT_CACHE_FREE
    known: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    is_away: bool = False
    bandwidth: int = 0
    offline: bool = False
    remembered: str = ""
    serves_last_known: bool = False

    @property
    def wait_seconds(self) -> float:
        """For how long the next bytes of an answer are waited for: so that a whole number of attempts fills a deadline.

        Otherwise an attempt that begins shortly before the deadline would end long after it.
        """
        return self.deadline_seconds / math.ceil(self.deadline_seconds / self.read_timeout_seconds)

    @property
    def limits(self) -> RemoteLimits:
        """The part that a mount hands on to its processes."""
        return RemoteLimits(**{item.name: getattr(self, item.name) for item in fields(RemoteLimits)})

    def check_usable(self, scheme: str) -> None:
        """Return if the settings of a service can be used.

        Raises:
            ConfigurationError: they cannot.
        """
        if (refusal := self.refused.get(scheme)) is not None:
            raise ConfigurationError(refusal.message, hint=refusal.hint, subject=refusal.subject)


def find_remembered(state: str) -> str:
    """Return the directory, in a user's state directory, for what is remembered of buckets."""
    return os.path.join(state, "remembered")


def find_fetched(cache: str) -> str:
    """Return the directory, in a user's cache directory, for what is fetched."""
    return os.path.join(cache, "fetched")


def connect(location: RemoteLocation, options: RemoteOptions, *, retries: int = 0) -> Any:
    """Return obstore's client for a place. Nothing is sent yet.

    Args:
        location: bucket and prefix.
        options: settings.
        retries: how often the client tries again by itself.

    Raises:
        ConfigurationError: obstore is not installed, or a setting cannot be used.
    """
    try:
        import obstore.store as stores  # noqa: PLC0415
    except ImportError as error:
        msg = f"{location} needs obstore, which is not installed"
        raise ConfigurationError(msg, hint="pip install 'artifactfs[remote]'", subject=str(location)) from error
    options.check_usable(location.scheme)
    config = _select_settings(location.scheme, options.config)
    _check_endpoints(location.scheme, {**config, **options.endpoints})
    kinds = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}
    client_options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=min(options.connect_timeout_seconds, options.deadline_seconds)),
        "read_timeout": timedelta(seconds=options.wait_seconds),
        "timeout": timedelta(seconds=options.request_timeout_seconds),
        # Only an endpoint that somebody configured can be http://, and then that is what was meant.
        "allow_http": True,
    }
    try:
        return call_shielded(
            lambda: kinds[location.scheme](
                location.bucket,
                prefix=location.prefix or None,
                config=config or None,
                client_options=client_options,
                retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=options.deadline_seconds)},
            )
        )
    except Exception as error:  # noqa: BLE001 (obstore's have no common base)
        # Its text may repeat what it was given, secrets included.
        if "MissingAccount" in str(error):
            msg = f"{location} lies in a storage account, and none is named"
            hint = "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or what else it is read with"
            raise ConfigurationError(msg, hint=hint, subject=str(location)) from None
        msg = f"the settings for {location.scheme}:// cannot be used ({type(error).__name__})"
        raise ConfigurationError(msg, hint=f"check {_VARIABLES[location.scheme]} in the environment") from None


def _select_settings(scheme: str, config: Mapping[str, str]) -> dict[str, str]:
    others = tuple(prefix for name, prefix in _PREFIXES.items() if name != scheme)
    return {name: value for name, value in config.items() if not name.startswith(others)}


def _check_endpoints(scheme: str, given: Mapping[str, str]) -> None:
    """Return if what says where services are are URLs of HTTP: of others obstore dies, or says that nothing answers.

    Raises:
        ConfigurationError: one is not; it is not repeated, because it may hold a password.
    """
    for name, text in given.items():
        shown = name if name in _SETTINGS_NAMES else name.upper()
        if shown in (*ENDPOINTS[scheme], *_SETTINGS_NAMES) and not _is_web_url(text):
            msg = f"{shown} is not the URL of a service"
            raise ConfigurationError(msg, hint="write http://HOST:PORT or https://HOST", subject=shown)


def _is_web_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or brackets that are no address
        return False
