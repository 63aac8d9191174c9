"""The tree that a commit makes of a staging directory.

Used by `staging.py`. Threading: a function over files and a Repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.repository.lower import Lower
from artifactfs.repository.taking import Taking
from artifactfs.repository.trees import Trees
from artifactfs.repository.upper import Comparison, Storing, UpperTree
from artifactfs.staging.hashes import load_hashes
from artifactfs.staging.links import StagedReferences

if TYPE_CHECKING:
    from artifactfs.model import Root
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.staged import Staging
    from artifactfs.repository.treebuilder import StoredDirectory


def build_staged(
    repository: Repository, staging: Staging, base: Root | None, target: Storing | Comparison
) -> tuple[StoredDirectory, Trees, UpperTree]:
    """Return what a staging directory shows, what reads its trees, and what found it.

    Args:
        repository: has the version below.
        staging: the staging directory.
        base: the root of the version below; None for nothing.
        target: stores what changed, or only says what it would be.

    Raises:
        UsageError, SourceChangedError, SourceNotFoundError, StorageFullError, IntegrityError: see `StagingArea.commit`.
    """
    hashes = load_hashes(staging.layout, now_ns=repository.clock.now_ns())
    trees = Trees(target) if isinstance(target, Comparison) else Trees(repository.blobs)
    tree = UpperTree(
        staging.upper,
        Lower(repository, base),
        prefix=staging.prefix,
        target=target,
        trees=trees,
        hashes=hashes,
        references=StagedReferences(staging.layout),
        taking=Taking(repository.survey),
    )
    stored = tree.build()
    hashes.save(staging.layout)
    return stored, trees, tree
