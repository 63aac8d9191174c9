"""What the tests of drafts share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from artifactfs.model import FileEntry, Version
from artifactfs.repository.commit import CommitOptions, CommitResult
from artifactfs.repository.contributing import Contribution, contribute, finish
from artifactfs.repository.drafts import Draft, Drafts
from artifactfs.repository.repository import Repository
from artifactfs.repository.trees import Trees, root_placement
from artifactfs.testing.repositories import Content, store_files


def add(
    repository: Repository, files: Mapping[bytes, Content], *, name: str = "epoch", to: str = "animals", **given: Any
) -> Draft:
    """Contribute files to a draft."""
    return contribute(Drafts(repository), to, name, lambda: store_files(repository, files), Contribution(**given))


def finish_it(repository: Repository, *, name: str = "epoch", of: str = "animals", **options: Any) -> CommitResult:
    return finish(Drafts(repository), of, name, CommitOptions(**options))


def read_version(repository: Repository, version: Version) -> dict[bytes, bytes]:
    """Return every file of a version, read through verification."""
    trees = Trees(repository.blobs)
    below = trees.iter_placed(version.root.as_entry(), b"", root_placement(version.root))
    return {
        path: repository.open_file(entry, place).read_at(0, 1 << 20)
        for path, entry, place in below
        if isinstance(entry, FileEntry)
    }
