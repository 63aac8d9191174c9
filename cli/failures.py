"""The edge between errors and the shell: a message on standard error and an exit code.

Threading: pure, but for printing.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

import click

from artifactfs.errors import ArtifactFSError, InterruptedByUserError, TerminatedError, translate_os_error
from artifactfs.paths import printable

if TYPE_CHECKING:
    from types import FrameType

UNEXPECTED: Final = 1
BROKEN_PIPE: Final = 128 + signal.SIGPIPE


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Not an error of the tree: nothing below may handle it."""


def raise_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    """Raise `Terminated`: the handler of SIGTERM, so that temporary files are removed on the way out."""
    raise Terminated


def report(error: BaseException, *, verbose: bool) -> int:
    """Say on standard error what happened, and return the exit code."""
    if isinstance(error, BrokenPipeError):
        silence_output()
        return BROKEN_PIPE
    known = _translate(error)
    if known is None:
        traceback.print_exception(error)
        return UNEXPECTED
    if verbose:
        traceback.print_exception(error)
    print_error(known)
    silence_output()
    return known.exit_code


def print_error(error: ArtifactFSError) -> None:
    """Print an error's message and hint for people."""
    click.echo(f"artifactfs: {_clean(error.message)}", err=True)
    if error.hint:
        click.echo(f"  {_clean(error.hint)}", err=True)


def silence_output() -> None:
    """Make output that cannot be written go nowhere: Python would complain at exit, with an exit code of its own."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(null, stream.fileno())
    os.close(null)


def _translate(error: BaseException) -> ArtifactFSError | None:
    if isinstance(error, ArtifactFSError):
        return error
    if isinstance(error, Terminated):
        return TerminatedError("terminated", hint="what was recorded before stays")
    if isinstance(error, KeyboardInterrupt):
        return InterruptedByUserError("interrupted", hint="what was recorded before stays")
    if isinstance(error, OSError):
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return translate_os_error(error, doing=name or "the system refused", subject=name)
    return None


def _clean(text: str) -> str:
    return "\n".join(printable(os.fsencode(line)) for line in text.splitlines())
