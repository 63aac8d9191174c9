"""The entry point: a group that loads a command's module only when that command is used.

Threading: the main thread.
"""

from __future__ import annotations

import difflib
import gc
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from artifactfs import __version__

from .failures import raise_terminated, report
from .options import Group
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "alias": "Point aliases to a version, or remove them.",
    "blame": "Say which version and run last changed a file.",
    "cache": "Look after what was fetched from object stores.",
    "cat": "Print a file of a version.",
    "check": "Look at everything that is stored again.",
    "commit": "Make a version of a staging directory.",
    "clone": "Copy a repository, with its history.",
    "completion": "Print the completion script of a shell.",
    "copy": "Copy a version to another repository.",
    "csi": "Answer kubelet as a CSI node plugin.",
    "diff": "List what differs between two versions.",
    "discard": "Remove a staging directory and what was changed in it.",
    "doctor": "Say what would keep a mount from working here.",
    "drafts": "Make one version by many writers, in parts.",
    "edit": "Change a version's description, metadata or tags.",
    "expire": "Remove versions that no rule keeps.",
    "export": "Write a version as a tar archive.",
    "fetch": "Bring a version into the cache of this machine.",
    "find": "List the versions for which a condition holds.",
    "get": "Copy a version, or a part of it, to a directory.",
    "host": "Let systemd, fstab and mount(8) mount on this machine.",
    "index": "Look after the index of this machine.",
    "lineage": "Show what something was made from, and what from it.",
    "lock": "Write down which versions a job reads.",
    "log": "List what happened to a collection.",
    "ls": "List collections, versions or entries.",
    "manifest": "Exchange lists of files with W&B.",
    "mount": "Show the repository, or one version, as a directory.",
    "mounts": "List what is mounted.",
    "prune": "Free the space of what no version reaches.",
    "put": "Make a version of local files and directories.",
    "reference": "Add, list and remove references in staging directories.",
    "refresh": "Look for what other machines did to a remote repository.",
    "restore": "Take paths of a staging directory back to what they were.",
    "rm": "Remove a version or a collection.",
    "run": "Run a program, and record what it reads and makes.",
    "runs": "List runs, or describe one.",
    "show": "Describe a version or an entry.",
    "stage": "Make a directory in which a version can be changed.",
    "staging": "List staging directories, and break old ones of other machines.",
    "status": "List what was changed in a staging directory.",
    "ui": "Show the repository as a web page.",
    "umount": "Unmount.",
    "verify": "Check stored content against its digests.",
}
_COLLECT_AFTER: Final = 50_000
"""So many objects more than before are looked through for cycles."""


class Program(Group):
    """The commands, each loaded when used, and the edge at which errors become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in order."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded from the module of its name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{cmd_name}", __package__)
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with; an unknown one is answered with its near misses."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error ends with its exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (the edge: bugs become a traceback and 1)
            ctx.exit(report(error, verbose=ctx.ensure_object(Session).verbose))
        return result

    # The supertype's overloads tell standalone modes apart; this one always exits.
    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **more: Any
    ) -> NoReturn:
        """Parse the arguments, run the command and exit."""
        more["standalone_mode"] = False
        code: object = 0
        try:
            code = super().main(args, prog_name, **more)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort as error:
            code = report(error.__cause__ or KeyboardInterrupt(), verbose=False)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="artifactfs", message="%(prog)s %(version)s")
def program() -> None:
    """Version datasets and models, and mount them instead of copying them.

    REF names a version: NAME, NAME:vN, NAME:ALIAS, or a staging directory as NAME:@STAGING. NAME alone means
    NAME:latest. The options of this page may be given before or after the command.
    """


def main() -> NoReturn:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, raise_terminated)
    # A command makes many objects that stay, and hardly any cycle: looking for those took a tenth of the time of a put.
    gc.set_threshold(_COLLECT_AFTER, 20, 100)
    if "_ARTIFACTFS_COMPLETE" in os.environ:
        from .bash import register

        register()
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (for good: it would go into the line being typed)
    program.main(prog_name="artifactfs")
