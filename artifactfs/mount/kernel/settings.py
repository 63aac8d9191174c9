"""What a supervisor is told, in a form that goes through exec.

Threading: immutable values.
"""

from __future__ import annotations

import json
import os
from typing import Final

import msgspec
from msgspec import Struct

from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.kernel.source import SourceSpec

MAX_WORKERS: Final = 6
DEFAULT_WORKERS_LIMIT: Final = 4


def default_workers() -> int:
    """Return one worker for each core that this process may use, up to four."""
    return max(1, min(len(os.sched_getaffinity(0)), DEFAULT_WORKERS_LIMIT))


class ServeSettings(Struct, frozen=True):
    """How to serve a mount.

    Attributes:
        mountpoint: absolute path, for messages and for finding the mount in the kernel's lists.
        source: what to serve.
        workers: processes that answer requests.
        stuck_seconds: a request that takes longer is reported, and its worker replaced.
        passthrough: whether large files are handed to the kernel.
        quick_wakeups: whether idle processors are kept from sleeping while requests come fast.
        debug: whether each request gets a line in the log.
        fetches: whether answers may take a network: then a fetcher gives these, and workers never wait.
        metrics: text file that Prometheus metrics are written to, or `127.0.0.1:PORT`; empty for neither.
    """

    mountpoint: str
    source: SourceSpec
    workers: int
    stuck_seconds: float = 60.0
    passthrough: bool = False
    quick_wakeups: bool = False
    debug: bool = False
    metrics: str = ""
    fetches: bool = False


class Handover(Struct, frozen=True):
    """What a supervisor leaves to the one that replaces it by exec.

    Attributes:
        settings: as it was told.
        agreed: the result of INIT, which does not come again.
        device: number of the descriptor of the mount.
        counters: number of the memfd of counters.
        backings: number of the memfd of backing files.
        children: process ids of workers and notifier that still serve.
        restarts: workers replaced so far.
        upgrades: programs replaced so far.
        started_ns: when the mount came up, nanoseconds since 1970 UTC.
        extra: what the embedding daemon needs to go on, as it likes.
    """

    settings: ServeSettings
    agreed: Negotiated
    device: int
    counters: int
    backings: int
    children: tuple[int, ...]
    restarts: int
    upgrades: int
    started_ns: int
    extra: dict[str, str] = {}


def store_handover(handover: Handover) -> int:
    """Return a memfd that holds the handover and goes through exec.

    It is ASCII: paths that are not UTF-8 have surrogates, which msgspec does not write.
    """
    text = json.dumps(msgspec.to_builtins(handover), separators=(",", ":"))
    descriptor = os.memfd_create("artifactfs-handover", 0)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(text.encode("ascii"))
    return descriptor


def load_handover(descriptor: int) -> Handover:
    """Return what `store_handover` stored, and close the descriptor.

    Raises:
        msgspec.DecodeError: it is something else.
    """
    found = read_handover(descriptor)
    os.close(descriptor)
    return found


def read_handover(descriptor: int) -> Handover:
    """Return what `store_handover` stored; the memfd stays open.

    Raises:
        msgspec.DecodeError: it is something else.
    """
    try:
        found = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error
    return msgspec.convert(found, Handover)
