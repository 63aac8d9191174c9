"""Artifacts that several programs make together: each contributes a part, and one finishes it.

Used by `run.py`. Threading: functions without state.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from artifactfs.errors import UsageError
from artifactfs.repository.contributing import Contribution, contribute, finish
from artifactfs.repository.drafts import LIFETIME_NS, Drafts
from artifactfs.repository.put import Storing
from artifactfs.repository.treebuilder import make_root
from artifactfs.runs.outputs import note_outputs

if TYPE_CHECKING:
    from artifactfs.repository.commit import CommitOptions, CommitResult
    from artifactfs.sdk.artifact import Artifact
    from artifactfs.sdk.workspace import Workspace


def add_part(
    workspace: Workspace, artifact: Artifact, name: str, options: CommitOptions, expires: timedelta | None
) -> tuple[str, ...]:
    """Store what an artifact holds as a part of the draft `name`, and return what that was made from, each `NAME:vN`.

    The artifact takes no more changes then.

    Raises:
        ArtifactFSError: see `Run.upsert_artifact`.
    """
    draft = artifact.get_draft("contribute it")
    repository = workspace.repository
    if draft.find_over(repository) is not None:
        msg = "a draft that begins as a version cannot be a part"
        hint = "log it; or contribute what is new, and what stays by add_reference('artifact://NAME:vN')"
        raise UsageError(msg, hint=hint, subject=artifact.name)
    options = draft.note_inputs(repository, options)
    storing = Storing(repository, draft.plan)
    given = Contribution(
        type=options.type,
        aliases=options.aliases,
        description=options.description,
        metadata=options.metadata,
        tags=options.tags,
        inputs=options.inputs,
        run=options.run,
        lifetime_ns=LIFETIME_NS if expires is None else expires // timedelta(microseconds=1) * 1000,
    )
    contribute(
        Drafts(repository),
        artifact.collection,
        name,
        lambda: make_root(storing.store(artifact.collection)),
        given,
    )
    artifact.seal_as_part(f"{artifact.collection}, {name!r}")
    return options.inputs


def finish_parts(workspace: Workspace, collection: str, name: str, options: CommitOptions) -> CommitResult:
    """Make the version of all parts of the draft `name`, and record it as an output of the runs that contributed.

    Raises:
        ArtifactFSError: see `Run.finish_artifact`.
    """
    drafts = Drafts(workspace.repository)
    result = finish(drafts, collection, name, options)
    runs = {part.run for part in drafts.get(collection, name).parts if part.run} - {options.run}
    note_outputs(workspace.runs, sorted(runs), f"{collection}:{result.version.name}")
    return result
