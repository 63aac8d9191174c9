"""Makes what is generated in the documentation: `python -m tests.cli.reference` writes it.

docs/errors.md is made from the classes of `artifactfs.errors`; in docs/cli.md, what stands between `<!-- COMMAND -->`
and `<!-- end -->` is made from the command's own help. The tests fail when either is not current.
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Iterator
from pathlib import Path

import click
from artifactfs_cli.main import program
from artifactfs_cli.options import global_options

from artifactfs import errors

DOCS = Path(__file__).parent.parent.parent / "docs"
CLI = DOCS / "cli.md"
ERRORS = DOCS / "errors.md"
END = "<!-- end -->"
_GLOBAL = {parameter.name for parameter in global_options()} | {"help"}

_ERRORS_HEAD = """\
# Errors and exit codes

Made from `artifactfs/errors.py` by `python -m tests.cli.reference`; change that file, not this one.

Every failure that artifactfs raises on purpose is an `artifactfs.errors.ArtifactFSError`. It has a message that says
what was being done, to what, and why it failed; a `hint` that says what to try; the `subject` (path, digest, name or
URI) concerned; an `errno`, which programs see that read a mount; an `exit_code`, which the shell sees; and
`retryable`, which says whether the same call may work later with nothing changed.

A missing *name* is ENOENT. Missing or damaged *content* of a name that exists is EIO.

The command line exits with 0 when all is well, and with 1 after an unexpected error, which is a bug and comes with a
traceback; `artifactfs diff --exit-code` also exits with 1, when something differs. `artifactfs verify` and
`artifactfs check` exit with 30 when something is damaged, `artifactfs doctor` with 60 when something would keep a mount
from working. When the reader of standard output goes away (as in `artifactfs log NAME | head -1`), it ends silently
with 141, as if by SIGPIPE.

| Class | Meaning | errno | Exit code | Retryable |
|---|---|---|---|---|
"""


def commands(group: click.Group = program, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield all commands with their full names, in order; of a group, its commands."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} ")
        else:
            yield above + name, command


def describe_command(name: str, command: click.Command) -> str:
    """Return the usage of a command and a table of its own options, as Markdown."""
    context = click.Context(command, info_name=name)
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    own = [option for option in command.params if isinstance(option, click.Option) and option.name not in _GLOBAL]
    usage = " ".join(["artifactfs", name, *(["[OPTIONS]"] if own else []), *pieces])
    text = f"    {usage}\n\n{inspect.cleandoc(command.help or '')}\n"
    if not own:
        return text
    rows = "".join(_describe_option(option, context) for option in own)
    return f"{text}\n| Option | Meaning |\n|---|---|\n{rows}"


def _describe_option(option: click.Option, context: click.Context) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(context)}".replace("|", r"\|")  # a bare one ends a cell
    names = ", ".join(f"`{text}{value}`" for text in option.opts)
    return f"| {names} | {option.help} |\n"


def describe_global_options() -> str:
    """Return the table of the options that every command has, as Markdown."""
    context = click.Context(program)
    rows = "".join(_describe_option(option, context) for option in global_options() if isinstance(option, click.Option))
    return f"| Option | Meaning |\n|---|---|\n{rows}"


def fill(text: str) -> str:
    """Return docs/cli.md with the generated parts as they should be.

    Raises:
        ValueError: a command has no part.
    """
    parts = {"global options": describe_global_options()}
    parts |= {name: describe_command(name, command) for name, command in commands()}
    for name, part in parts.items():
        begin = f"<!-- {name} -->\n"
        before, found, rest = text.partition(begin)
        if not found:
            msg = f"docs/cli.md has no part for {name}"
            raise ValueError(msg)
        _, _, after = rest.partition(END)
        text = before + begin + part + END + after
    return text


def describe_errors() -> str:
    """Return docs/errors.md."""
    return _ERRORS_HEAD + "".join(_error_rows(errors.ArtifactFSError, 0))


def _error_rows(error: type[errors.ArtifactFSError], depth: int) -> Iterator[str]:
    name = "&nbsp;&nbsp;" * depth + f"`{error.__name__}`"
    meaning = inspect.cleandoc(error.__doc__ or "").partition("\n")[0]
    retryable = "yes" if error.retryable else "no"
    yield f"| {name} | {meaning} | {errno.errorcode[error.errno]} | {error.exit_code} | {retryable} |\n"
    below = [found for found in error.__subclasses__() if found.__module__ == errors.__name__]
    for kind in below:
        yield from _error_rows(kind, depth + 1)


if __name__ == "__main__":
    CLI.write_text(fill(CLI.read_text()))
    ERRORS.write_text(describe_errors())
