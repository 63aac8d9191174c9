"""What is stated of the version that is made of a draft: by its parts, and by whoever closes it.

Used by `contributing.py`. Threading: functions without state.

Source: docs/format.md section 8; docs/design/drafts.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.draft_steps import Closed
from artifactfs.repository.drafts import LIFETIME_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from artifactfs.repository.drafts import Draft, Drafts


def gather_options(draft: Draft, options: CommitOptions) -> CommitOptions:
    """Return what is to be stated of the version: what the parts ask for, and what whoever closes the draft does."""
    parts = draft.parts
    return CommitOptions(
        type=options.type or next((part.type for part in parts if part.type), None),
        aliases=_unite([*(part.aliases for part in parts), options.aliases]),
        message=options.message,
        description=options.description or next((part.description for part in parts if part.description), ""),
        metadata=_merge([*(part.metadata for part in parts), options.metadata]),
        tags=tuple(sorted(_unite([*(part.tags for part in parts), options.tags]))),
        inputs=_unite([*(part.inputs for part in parts), options.inputs]),
        run=options.run,
        expires_ns=options.expires_ns,
    )


def make_closed(drafts: Drafts, draft: Draft, asked: CommitOptions, seq: int) -> Closed:
    """Return the step that closes a draft with these options after record `seq` of its collection."""
    repository = drafts.repository
    now_ns = repository.clock.now_ns()
    return Closed(
        draft.collection,
        draft.id,
        draft.name,
        drafts.new_step_id(),
        repository.author,
        now_ns,
        now_ns + LIFETIME_NS,
        type=asked.type,
        aliases=asked.aliases,
        description=asked.description,
        metadata=dict(asked.metadata),
        tags=asked.tags,
        inputs=asked.inputs,
        run=asked.run,
        change=drafts.new_step_id(),
        seq=seq,
        message=asked.message,
        version_expires_ns=asked.expires_ns,
    )


def closed_options(closed: Closed) -> CommitOptions:
    """Return what is stated of the version of a closed draft."""
    return CommitOptions(
        type=closed.type,
        aliases=closed.aliases,
        message=closed.message,
        description=closed.description,
        metadata=closed.metadata,
        tags=closed.tags,
        inputs=closed.inputs,
        run=closed.run,
        expires_ns=closed.version_expires_ns,
    )


def _unite(found: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for items in found for item in items))


def _merge(found: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for values in found:
        merged |= values
    return merged
