"""The options that every command has, before and after its name, and the classes of commands that have them.

Threading: pure; click parses in the main thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from .session import Session

if TYPE_CHECKING:
    from collections.abc import Callable


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:  # an option given before the command is not undone by its absence after it
            setattr(context.find_root().ensure_object(Session), name, value)

    return keep


def global_options() -> list[click.Parameter]:
    """Return the options that every command has."""

    def option(declarations: list[str], name: str, **more: Any) -> click.Option:
        return click.Option([*declarations, f"global_{name}"], callback=_keep(name), expose_value=False, **more)

    return [
        option(["--repo"], "repo", metavar="LOCATION", help="The repository (default: ARTIFACTFS_REPO)."),
        option(["--offline"], "offline", is_flag=True, help="Never use the network."),
        option(["--json"], "json", is_flag=True, help="Print JSON on standard output."),
        option(["-q", "--quiet"], "quiet", is_flag=True, help="Print no notes and no progress."),
        option(["-v", "--verbose"], "verbose", is_flag=True, help="Print more notes, and the traceback of an error."),
        option(["-y", "--yes"], "yes", is_flag=True, help="Answer every question with yes."),
    ]


class BytesPath(click.Path):
    """A path as bytes that is not looked at.

    `click.Path` calls stat(2) on whatever it is given, which hangs on a mount that nobody serves yet, or any more.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Return the path."""
        del param, ctx
        return os.fsencode(value)


def lock_option() -> Callable[[Any], Any]:
    """Return the option that takes a lock file."""
    return click.option(
        "--lock",
        type=BytesPath(),
        metavar="FILE",
        envvar="ARTIFACTFS_LOCK",
        help="Only the versions of this lock file, exactly (default: ARTIFACTFS_LOCK).",
    )


class Command(click.Command):
    """A command with the global options."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.extend(global_options())


class Group(click.Group):
    """A group of commands with the global options."""

    command_class = Command

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.extend(global_options())
