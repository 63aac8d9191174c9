"""What the shell is offered for a NAME or REF that is being typed.

Threading: the main thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .session import Session

if TYPE_CHECKING:
    import click

    from artifactfs.repository.repository import Repository


def complete_name(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the collections that begin with what was typed."""
    from artifactfs.errors import ArtifactFSError

    try:
        with context.find_root().ensure_object(Session).open_repository() as repository:
            return _matching(repository, incomplete)
    except (ArtifactFSError, OSError):
        return []  # a shell in the middle of a line has nowhere to show an error


def complete_ref(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the collections, or after a colon the versions and aliases, that begin with what was typed."""
    from artifactfs.errors import ArtifactFSError

    name, colon, _ = incomplete.partition(":")
    if not colon:
        return complete_name(context, parameter, incomplete)
    try:
        with context.find_root().ensure_object(Session).open_repository() as repository:
            collection = repository.get_collection(name)
    except (ArtifactFSError, OSError):
        return []
    selectors = [*sorted(collection.aliases), *(f"v{number}" for number in sorted(collection.versions))]
    return [f"{name}:{selector}" for selector in selectors if f"{name}:{selector}".startswith(incomplete)]


def _matching(repository: Repository, incomplete: str) -> list[str]:
    return [name for name in repository.collection_names() if name.startswith(incomplete)]
