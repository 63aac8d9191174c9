"""`artifactfs completion`: print the completion script of a shell."""

from __future__ import annotations

import click

from .options import Command


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, collections and versions.

    For bash: eval "$(artifactfs completion bash)" in ~/.bashrc; for zsh the same with zsh in ~/.zshrc; for fish:
    artifactfs completion fish > ~/.config/fish/completions/artifactfs.fish
    """
    from click.shell_completion import get_completion_class

    from .bash import register

    register()
    found = get_completion_class(shell)
    assert found is not None
    program = click.get_current_context().find_root().command
    click.echo(found(program, {}, "artifactfs", "_ARTIFACTFS_COMPLETE").source())
