"""`artifactfs cache`: what was fetched and is kept on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from .options import Group
from .output import format_count, format_size, print_json, print_table
from .session import current_session

if TYPE_CHECKING:
    from artifactfs.blobstore.diskcache import DiskCache

    from .session import Session


@click.group("cache", cls=Group)
def command() -> None:
    """Look after what was fetched from object stores and is kept on this machine."""


@command.command("info")
def info() -> None:
    """Say how much is kept, of how many objects, and how much may be."""
    session = current_session()
    cache = _open(session)
    chunks = list(cache.quota.iter_chunks())
    limits = cache.quota.limits
    used, objects = cache.quota.used(), len({chunk.key for chunk in chunks})
    if session.json:
        fields = {"directory": cache.directory, "used": used, "chunks": len(chunks), "objects": objects}
        print_json({**fields, "size": limits.size, "free": limits.free})
        return
    rows = [
        ("directory", cache.directory),
        ("used", f"{format_size(used)} of {format_size(limits.size)}"),
        ("holds", f"{format_count(len(chunks), 'chunk')} of {format_count(objects, 'object')}"),
        ("leaves free", format_size(limits.free)),
    ]
    print_table(rows)


@command.command("clean")
@click.option("--keep", metavar="SIZE", default="0", help="Leave this much, of what was used last.")
def clean(*, keep: str) -> None:
    """Delete what is kept, first what was used longest ago. Nothing is lost: it is fetched again when it is read."""
    from artifactfs.places import parse_size

    session = current_session()
    cache = _open(session)
    freed = cache.quota.clean(keep=parse_size(keep))
    if session.json:
        print_json({"directory": cache.directory, "freed": freed, "used": cache.quota.used()})
    session.note(f"freed {format_size(freed)}")


@command.command("verify")
def verify() -> None:
    """Read everything that is kept again, and delete what is not what was fetched. Reads do so by themselves."""
    session = current_session()
    cache = _open(session)
    chunks = list(cache.quota.iter_chunks())
    damaged = sorted(f"{chunk.key}.{chunk.number}" for chunk in chunks if not cache.check(chunk))
    if session.json:
        print_json({"directory": cache.directory, "chunks": len(chunks), "damaged": damaged})
    for name in damaged:
        session.note(f"deleted {name}, which was damaged")
    session.note(f"looked at {format_count(len(chunks), 'chunk')}: {len(damaged)} damaged")


def _open(session: Session) -> DiskCache:
    from artifactfs.blobstore.cachequota import CacheLimits
    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.credentials import find_remote_options
    from artifactfs.places import load_settings

    options = find_remote_options(os.environ, load_settings(os.environ), cache=session.places.cache)
    return DiskCache(options.cache, CacheLimits(options.cache_size, options.cache_free))
