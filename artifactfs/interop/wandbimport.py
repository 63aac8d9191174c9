"""Making a version of what a W&B manifest lists: files of a directory, and references.

What was stored is read again and compared with the manifest before the version is made.

Used by the command line. Threading: functions over a Repository.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from artifactfs.errors import DigestMismatchError, ReferenceChangedError, UsageError
from artifactfs.interop.wandbmanifest import compare, make_manifest, state_of
from artifactfs.model import ReferenceEntry
from artifactfs.paths import check_collection_name
from artifactfs.repository.commit import check_options, commit_stored
from artifactfs.repository.put import Storing
from artifactfs.repository.referring import Referred, plan_reference
from artifactfs.repository.sources import Planned, Source, add_source, find_planned
from artifactfs.repository.treebuilder import make_root

if TYPE_CHECKING:
    from artifactfs.interop.wandbmanifest import Manifest, ManifestEntry
    from artifactfs.model import Root
    from artifactfs.repository.commit import CommitOptions, CommitResult
    from artifactfs.repository.progress import Progress
    from artifactfs.repository.repository import Repository

SHOWN = 5


def import_manifest(
    repository: Repository,
    name: str,
    manifest: Manifest,
    directory: bytes,
    options: CommitOptions,
    *,
    progress: Progress | None = None,
) -> CommitResult:
    """Make a version of what a manifest lists, and of nothing else.

    Args:
        repository: where to.
        name: of the collection, which need not exist yet.
        manifest: what the version is to have.
        directory: where its files are, under their paths.
        options: what else to record.
        progress: is told of bytes and files.

    Raises:
        SourceNotFoundError: a file is not in the directory.
        DigestMismatchError: one has another MD5; there is no new version.
        ReferenceChangedError: a reference names something else by now; likewise.
        UsageError: a file is stated with another digest than MD5.
        ArtifactFSError: see `put_paths`.
    """
    repository.check_writable()
    check_options(repository.load_state(check_collection_name(name)), options)
    plan = _make_plan(repository, manifest, directory)
    storing = Storing(repository, plan, progress=progress)

    def store() -> Root:
        root = make_root(storing.store(name))
        _check_stored(repository, manifest, root)
        return root

    return storing.tell(commit_stored(repository, name, store, options))


def _make_plan(repository: Repository, manifest: Manifest, directory: bytes) -> Planned:
    plan = Planned()
    for text, entry in sorted(manifest.contents.items()):
        path = text.encode()
        if entry.ref is not None:
            _plan_reference(repository, plan, path, entry)
            continue
        if not entry.is_md5:
            msg = f"{text!r} is stated with the digest {entry.extra.get('alg')}"
            raise UsageError(msg, hint="only MD5 is known", subject=text)
        # A link stands for its file, as where the manifest was made.
        add_source(plan, Source(os.path.realpath(os.path.join(directory, path)), path))
    return plan


def _plan_reference(repository: Repository, plan: Planned, path: bytes, entry: ManifestEntry) -> None:
    plan_reference(plan, repository.references, Referred(entry.ref or "", path))
    found = find_planned(plan, path)
    if not isinstance(found, ReferenceEntry):
        msg = f"{entry.ref} is not one object"
        raise UsageError(msg, subject=path.decode())
    stated = str(entry.extra.get("etag", entry.digest)).removeprefix("W/").strip('"')
    is_told = found.validator.kind in {"etag", "weak-etag"} and stated != entry.ref
    if (is_told and stated != state_of(found)) or entry.size not in (None, found.size):
        msg = f"{entry.ref} is not what the manifest states any more"
        raise ReferenceChangedError(msg, hint="make a new manifest of it", subject=path.decode())


def _check_stored(repository: Repository, manifest: Manifest, root: Root) -> None:
    stored = make_manifest(repository, root)
    wrong = [
        difference.path
        for difference in compare(manifest, stored)
        if difference.path not in manifest.contents or manifest.contents[difference.path].ref is None
    ]
    if wrong:
        shown = ", ".join(map(repr, wrong[:SHOWN])) + (f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
        msg = f"the manifest states another MD5 for {shown}"
        raise DigestMismatchError(msg, hint="download the artifact again; there is no new version", subject=wrong[0])
