"""What mount(8) and umount(8) run: `mount.artifactfs`, `umount.artifactfs`, `umount.fuse.artifactfs`.

Both say in the words of `artifactfs mount` and `artifactfs umount` what was asked for.

Threading: the main thread. Source: mount(8), "external helpers"; umount(8), "external helpers".
"""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

import click

USAGE: Final = 1
FAILED: Final = 32
"""Exit codes of mount(8)."""
_DEFAULT_SOURCES: Final = frozenset({"none", "artifactfs"})


@click.command("mount.artifactfs")
@click.argument("source")
@click.argument("mountpoint", type=click.Path())
@click.option("-o", "words", multiple=True, metavar="OPTIONS", help="Words between commas, as in fstab.")
@click.option("-s", "is_sloppy", is_flag=True, help="Pass over unknown words.")
@click.option("-f", "is_fake", is_flag=True, help="Do all but mount.")
@click.option("-n", "has_no_table", is_flag=True, help="Do not write /etc/mtab; it is never written.")
@click.option("-v", "is_verbose", is_flag=True, help="Say more.")
@click.option("-t", "fstype", metavar="TYPE", help="The type, as mount(8) names it.")
def mount_command(
    source: str,
    mountpoint: str,
    *,
    words: tuple[str, ...],
    is_sloppy: bool,
    is_fake: bool,
    has_no_table: bool,
    is_verbose: bool,
    fstype: str | None,
) -> None:
    """Mount the repository SOURCE at MOUNTPOINT; `artifactfs` or `none` is the one of ARTIFACTFS_REPO."""
    from artifactfs.mount.fstab import parse_fstab

    del has_no_table, fstype
    options = parse_fstab(",".join(words), for_others=os.geteuid() == 0, is_sloppy=is_sloppy)
    os.environ.update(options.environment)
    place = [] if source in _DEFAULT_SOURCES else ["--repo", source]
    speech = ["--verbose"] if is_verbose else ["--quiet"]
    if not is_fake:
        _run([*place, "mount", *speech, *options.arguments, "--", mountpoint])


@click.command("umount.artifactfs")
@click.argument("mountpoint", type=click.Path())
@click.option("-l", "is_lazy", is_flag=True, help="Take it away at once; who has files of it open keeps them.")
@click.option("-f", "is_forced", is_flag=True, help="The same.")
@click.option("-n", "-r", "-v", "passed_over", is_flag=True, help="Means nothing here.")
@click.option("-t", "fstype", metavar="TYPE", help="The type, as umount(8) names it.")
def umount_command(mountpoint: str, *, is_lazy: bool, is_forced: bool, passed_over: bool, fstype: str | None) -> None:
    """Unmount what is mounted at MOUNTPOINT, with the staging directories in it."""
    del passed_over, fstype
    _run(["umount", "--quiet", *(["--lazy"] if is_lazy or is_forced else []), "--", mountpoint])


def _run(arguments: list[str]) -> None:
    from .main import program

    # mount(8) prints nothing when it has mounted.
    stdout, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    try:
        program.main(arguments, prog_name="artifactfs")
    finally:
        sys.stdout.close()
        sys.stdout = stdout


def _main(command: click.Command) -> NoReturn:
    from artifactfs.errors import UsageError

    code = 0
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = USAGE
    except UsageError as error:
        click.echo(f"{command.name}: {error}", err=True)
        code = USAGE
    except SystemExit as ended:
        code = FAILED if ended.code else 0
    sys.exit(code)


def mount_main() -> NoReturn:
    """Run `mount.artifactfs` and exit."""
    _main(mount_command)


def umount_main() -> NoReturn:
    """Run `umount.artifactfs` and exit."""
    _main(umount_command)
