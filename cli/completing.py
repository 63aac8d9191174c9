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
    """Return the collections, or after a colon versions, aliases and staging directories, that begin with that."""
    return _complete(context, parameter, incomplete, only_staging=False)


def complete_staging(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the collections, or after a colon the staging directories, that begin with what was typed."""
    return _complete(context, parameter, incomplete, only_staging=True)


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str, *, only_staging: bool) -> list[str]:
    from artifactfs.errors import ArtifactFSError
    from artifactfs.paths import check_collection_name
    from artifactfs.staging.layout import iter_infos

    name, colon, _ = incomplete.partition(":")
    if not colon:
        return complete_name(context, parameter, incomplete)
    selectors: list[str] = []
    try:
        check_collection_name(name)
        with context.find_root().ensure_object(Session).open_repository() as repository:
            selectors += [f"@{info.name}" for info in iter_infos(repository.state_directory, name)]
            if not only_staging:
                collection = repository.get_collection(name)
                selectors += [*sorted(collection.aliases), *(f"v{number}" for number in sorted(collection.versions))]
    except (ArtifactFSError, OSError):
        pass  # a shell in the middle of a line has nowhere to show an error
    return [f"{name}:{selector}" for selector in selectors if f"{name}:{selector}".startswith(incomplete)]


def _matching(repository: Repository, incomplete: str) -> list[str]:
    return [name for name in repository.collection_names() if name.startswith(incomplete)]
