"""docs/cli.md and docs/errors.md say what the code does."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from artifactfs_cli.main import program

from artifactfs import errors
from tests.cli import reference


def test_the_command_reference_is_current() -> None:
    text = reference.CLI.read_text()
    assert text == reference.fill(text), "run: python -m tests.cli.reference"


def test_the_list_of_errors_is_current() -> None:
    assert reference.ERRORS.read_text() == reference.describe_errors(), "run: python -m tests.cli.reference"


def test_every_error_is_listed() -> None:
    listed = reference.ERRORS.read_text()
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.ArtifactFSError):
            assert f"`{name}`" in listed


def test_every_command_has_an_example() -> None:
    examples = "\n".join(iter_examples())
    for name, _ in reference.commands():
        assert re.search(rf"^artifactfs {name}\b", examples, re.MULTILINE), name


def iter_examples() -> list[str]:
    """Return the command lines of the examples."""
    blocks = re.findall(r"^```sh\n(.*?)^```", reference.CLI.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("artifactfs ")]


@pytest.mark.parametrize("line", iter_examples(), ids=lambda line: line.split("#")[0].strip()[11:45])
def test_examples_parse(line: str) -> None:
    command: click.Command = program
    words = shlex.split(re.split(r" [|>#] ", line)[0])
    context = program.make_context("artifactfs", words[1:])
    while isinstance(command, click.Group):
        args = [*context._protected_args, *context.args]
        name, found, rest = command.resolve_command(context, args)
        assert found is not None
        command = found
        context = command.make_context(name, rest, parent=context)
