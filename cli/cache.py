"""`artifactfs cache`: what was fetched and is kept on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from artifactfs.errors import UsageError
from artifactfs.paths import parse_ref, printable

from .completing import complete_ref
from .fetch import print_fetched
from .options import Group
from .output import format_count, format_size, print_json, print_table
from .progress import show_progress
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
    keeps, kept = list(cache.quota.keeps.iter_keeps()), cache.quota.keeps.find_names()
    kept_size = sum(chunk.size for chunk in chunks if chunk.name in kept)
    used, objects = cache.quota.count(), len({chunk.key.partition("@")[0] for chunk in chunks})
    if session.json:
        fields = {"directory": cache.directory, "used": used, "chunks": len(chunks), "objects": objects}
        held = [{"repository": keep.repository, "ref": keep.ref, "uid": keep.uid} for keep in keeps]
        print_json({**fields, "size": limits.size, "free": limits.free, "kept_size": kept_size, "kept": held})
        return
    rows = [
        ("directory", cache.directory),
        ("used", f"{format_size(used)} of {format_size(limits.size)}"),
        ("holds", f"{format_count(len(chunks), 'chunk')} of {format_count(objects, 'object')}"),
        ("leaves free", format_size(limits.free)),
        ("keeps", format_size(kept_size)),
        *(("", f"{keep.ref} of {keep.repository}, for user {keep.uid}") for keep in keeps),
    ]
    print_table(rows)


@command.command("clean")
@click.option("--keep", metavar="SIZE", default="0", help="Leave this much, of what was used last.")
def clean(*, keep: str) -> None:
    """Delete what is kept, first what was used longest ago, but for what `cache keep` keeps.

    Nothing is lost: it is fetched again when it is read.
    """
    from artifactfs.settings import parse_size

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
    damaged = sorted(chunk.name for chunk in chunks if not cache.check(chunk))
    if session.json:
        print_json({"directory": cache.directory, "chunks": len(chunks), "damaged": damaged})
    for name in damaged:
        session.note(f"deleted {name}, which was damaged")
    session.note(f"looked at {format_count(len(chunks), 'chunk')}: {len(damaged)} damaged")


@command.command("keep")
@click.argument("ref", metavar="REF[/PATH]", shell_complete=complete_ref)
@click.option("--path", "globs", multiple=True, metavar="GLOB", help="Only what matches, as in gitignore(5).")
def keep_command(ref: str, *, globs: tuple[str, ...]) -> None:
    """Fetch a version, or the part of it at PATH, and never delete it to make room, until it is released."""
    from artifactfs.repository.prefetch import fetch, keep, plan_fetch

    session = current_session()
    parsed = parse_ref(ref)
    with session.open_repository() as repository:
        collection, version = repository.resolve(parsed)
        name = f"{collection.name}:{version.name}" + (f"/{printable(parsed.path)}" if parsed.path else "")
        plan = plan_fetch(repository, version.root, path=parsed.path, glob=globs)
        keep(repository, name, plan)
        with show_progress(session, f"fetch {name}") as progress:
            result = fetch(repository, plan, progress=progress)
    print_fetched(session, name, result, is_remote=repository.is_remote)


@command.command("release")
@click.argument("refs", metavar="[REF[/PATH]]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Release everything that this user keeps.")
def release(refs: tuple[str, ...], *, everything: bool) -> None:
    """Keep versions no longer: what is there of them stays until room is needed. REF is as `cache info` has it."""
    session = current_session()
    keeps = _open(session).quota.keeps
    own = [keep for keep in keeps.iter_keeps() if keep.uid == os.getuid()]
    missing = sorted(set(refs) - {keep.ref for keep in own})
    if missing or not (refs or everything):
        msg = f"not kept: {', '.join(missing)}" if missing else "nothing is named"
        raise UsageError(msg, hint="`artifactfs cache info` lists what is kept; --all releases all of it")
    wanted = [keep for keep in own if everything or keep.ref in refs]
    for keep in wanted:
        keeps.remove(keep)
    if session.json:
        print_json({"released": [keep.ref for keep in wanted]})
    session.note(f"released {format_count(len(wanted), 'version')}")


def _open(session: Session) -> DiskCache:
    from artifactfs.blobstore.cachequota import CacheLimits
    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.credentials import find_remote_options
    from artifactfs.settings import load_settings

    options = find_remote_options(os.environ, load_settings(os.environ), cache=session.places.cache)
    return DiskCache(options.cache, CacheLimits(options.cache_size, options.cache_free))
