"""`artifactfs mount`: show the repository, or one version, as a directory."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

import click
from click.core import ParameterSource

from artifactfs.mount.described import mount_fields
from artifactfs.paths import printable

from .options import BytesPath, Command, lock_option
from .output import print_json, print_path
from .running import refuse_in_run
from .session import Session, current_session

if TYPE_CHECKING:
    from artifactfs.blobstore.connecting import RemoteLimits
    from artifactfs.repository.locked import Locked
    from artifactfs.repository.repository import Repository


def check_words(words: tuple[str, ...]) -> None:
    """Return if all words are options of the kernel.

    Raises:
        UsageError: one is not.
    """
    from artifactfs.errors import UsageError
    from artifactfs.mount.kernel_options import is_kernel_option

    for word in words:
        if not is_kernel_option(word):
            msg = f"-o {word} is not an option of mounts"
            raise UsageError(msg, hint="it takes noexec, context=, fscontext=, defcontext= and rootcontext=")


class _Given(TypedDict):
    """Options that are handed on as they are."""

    allow_other: bool
    debug: bool
    descriptor: int | None
    foreground: bool
    freeze_aliases: bool
    gid: int | None
    keep: bool
    make_directory: bool
    metrics: str
    passthrough: bool | None
    quick_wakeups: bool | None
    share_parent: bool
    transport: str
    uid: int | None
    workers: int


_OPTIONS = frozenset({*_Given.__annotations__, "artifact", "cache_size", "words", "lock"})


def check_alone() -> None:
    """Return unless options of mounts were given, which a mount that is up keeps as they are.

    Raises:
        UsageError: they were.
    """
    from artifactfs.errors import UsageError

    context = click.get_current_context()
    for option in context.command.params:
        if option.name in _OPTIONS and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            msg = f"{option.opts[0]} means nothing with --upgrade: the mount keeps the options that it was made with"
            raise UsageError(msg, hint="unmount it, and mount it with other options")


@click.command("mount", cls=Command)
@click.argument("mountpoint", type=BytesPath())
@click.option("--artifact", metavar="REF", help="Show this one version as the root.")
@click.option("--foreground", is_flag=True, help="Serve in this process until it is ended or unmounted.")
@click.option("--allow-other", is_flag=True, help="Let other users in.")
@click.option("--uid", type=click.IntRange(0, 2**32 - 2), help="Owner of everything in it (default: this user).")
@click.option("--gid", type=click.IntRange(0, 2**32 - 2), help="Group of everything in it (default: this user's).")
@click.option(
    "--transport",
    type=click.Choice(["auto", "kernel", "fusepy"]),
    default="auto",
    show_default=True,
    help="How to speak to the kernel; auto takes the kernel transport where it works.",
)
@click.option("--passthrough/--no-passthrough", default=None, help="Hand large files to the kernel (root, Linux 6.9).")
@click.option("--freeze-aliases", is_flag=True, help="Keep all aliases as they are now.")
@click.option("--workers", type=click.IntRange(0, 6), default=0, help="Processes that answer (default: one a core).")
@click.option("--debug", is_flag=True, help="Log each request.")
@click.option(
    "--quick-wakeups/--no-quick-wakeups",
    default=None,
    help="Keep idle processors from sleeping while requests come fast (default: in guests that wake slowly; root).",
)
@click.option("--metrics", default="", metavar="FILE|127.0.0.1:PORT", help="Give Prometheus metrics out there.")
@click.option("--cache-size", metavar="SIZE", help="Keep at most this much of what is fetched, such as 200G.")
@click.option(
    "--fd", "descriptor", type=click.IntRange(3, 2**31 - 1), help="Serve this open, mounted descriptor of /dev/fuse."
)
@click.option("--keep", is_flag=True, help="Start the server again when it dies; nobody who reads notices.")
@click.option("--mkdir", "make_directory", is_flag=True, help="Make MOUNTPOINT if it is missing.")
@click.option("--share-parent", is_flag=True, help="Make the directory above a shared mount, for binds with rslave.")
@click.option("-o", "words", multiple=True, metavar="OPTION", help="noexec, or a label of SELinux: context=LABEL.")
@click.option("--upgrade", is_flag=True, help="Serve the mount on MOUNTPOINT by the installed version from now on.")
@lock_option()
def command(
    mountpoint: bytes,
    *,
    artifact: str | None,
    cache_size: str | None,
    words: tuple[str, ...],
    upgrade: bool,
    lock: bytes | None,
    **given: Unpack[_Given],
) -> None:
    """Show every collection with its versions, aliases and staging directories at MOUNTPOINT.

    MOUNTPOINT is an empty directory. The mount can be read when the command returns.

    With --lock it shows no more than what the lock file has: its versions, and its aliases, which do not move.
    """
    from .service import find_manager

    session = current_session()
    if upgrade:
        check_alone()
        _upgrade(session, os.fsdecode(mountpoint))
        return
    check_words(words)
    if given["descriptor"] is not None:
        from artifactfs.mount.fusedevice import check_descriptor

        check_descriptor(given["descriptor"])  # before anything is opened, which could get its number
    refuse_in_run("mount")
    is_foreground, is_kept = given["foreground"], given["keep"]
    is_ahead = not is_foreground and not is_kept and given["descriptor"] is None
    with session.start_ahead("repository", is_wanted=is_ahead) as spare:
        from artifactfs.mount.beginning import MountOptions, mount

        locked: Locked | None = None
        if not is_ahead or artifact is not None or lock is not None:  # else its server looks at it
            with session.open_repository(create=artifact is None and lock is None) as repository:
                artifact, locked = _look(repository, artifact, lock)
        session.find_remote()  # says what is wrong with its settings
        remote = session.find_served()
        options = MountOptions(
            follow_references=session.find_followed(for_others=given["allow_other"]),
            poll_seconds=remote.poll_seconds,
            limits=_limit(remote.limits, cache_size),
            artifact=artifact,
            author=session.find_author(),
            locked=locked,
            manager=find_manager(os.environ, pid=os.getpid()) if is_foreground and not is_kept else None,
            kernel_options=words,
            **given,
        )
        shown = artifact or printable(os.fsencode(session.places.repository))
        session.note(f"mounting {shown} at {printable(mountpoint)}")
        info = mount(session.places, os.fsdecode(mountpoint), options=options, spare=spare)
    if session.json:
        print_json(mount_fields(info))
    else:
        print_path(info.mountpoint)


def _look(repository: Repository, artifact: str | None, lock: bytes | None) -> tuple[str | None, Locked | None]:
    """Return which version is to be the root, and all that may be shown; wrong names are answered here.

    Raises:
        NotFoundError: there is no such version.
        ArtifactFSError: the lock cannot be kept.
    """
    from artifactfs.paths import parse_ref

    if lock is None:
        if artifact is not None:
            repository.resolve(parse_ref(artifact))
        return artifact, None
    from artifactfs.interop.lockfile import check_lock, read_lock

    found = read_lock(lock)
    check_lock(repository, found)
    if artifact is not None:
        artifact = found.find(parse_ref(artifact)).version
    return artifact, found.as_locked()


def _limit(limits: RemoteLimits, cache_size: str | None) -> RemoteLimits:
    from artifactfs.settings import parse_size

    return limits if cache_size is None else replace(limits, cache_size=parse_size(cache_size))


def _upgrade(session: Session, mountpoint: str) -> None:
    from artifactfs.mount.kernel.asking import upgrade_mount

    version = upgrade_mount(session.places, mountpoint)
    session.note(f"{printable(os.fsencode(mountpoint))} is served by version {version}")
