"""How many references are unverified: other bytes could come in their place unnoticed.

Used by the command line. Threading: a function without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.model import ReferenceEntry
from artifactfs.reference.base import is_unverified
from artifactfs.repository.format import REFERENCES

if TYPE_CHECKING:
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.viewing import Viewed


def count_unverified(repository: Repository, viewed: Viewed) -> int:
    """Return how many references of a version, or of a staging directory, are unverified.

    A version is not looked through where the repository's format says that it has no references.

    Raises:
        BlobMissingError, DigestMismatchError, MalformedError: a directory is missing or damaged.
        RemoteError: a directory is not on this machine, and the service does not give it.
    """
    if viewed.staging is None and REFERENCES not in repository.format.reader_features:
        return 0
    found = viewed.trees.iter_tree(viewed.root)
    return sum(isinstance(entry, ReferenceEntry) and is_unverified(entry) for _, entry in found)
