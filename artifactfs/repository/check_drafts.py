"""Check of the steps of drafts.

Used by `check_logs`. Threading: functions without state.

Source: docs/format.md section 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import DRAFTS_PREFIX, draft_key, find_draft_key
from artifactfs.errors import ArtifactFSError, BlobMissingError
from artifactfs.repository.draft_steps import Committed, Dropped, Part, decode_draft_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.model import Root
    from artifactfs.repository.draft_steps import Step


@dataclass(slots=True)
class _Found:
    """What there is of a draft: steps by number, None for a damaged one."""

    steps: dict[int, Step | None] = field(default_factory=dict)
    is_going: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it ended, or is being forgotten: then its first steps may be gone."""
        return self.is_going or isinstance(self.steps[max(self.steps)], Committed | Dropped)


def check_drafts(store: ObjectStore, *, report: Callable[[str, str], None]) -> tuple[list[tuple[str, Root]], list[str]]:
    """Look at all steps; return the parts of drafts that have not ended, and keys that nothing of this format has.

    Args:
        store: of the repository.
        report: is told of each damaged object: its key, and what is wrong.
    """
    drafts: dict[tuple[str, str], _Found] = {}
    strays = []
    for key in sorted(store.iter_keys(DRAFTS_PREFIX)):
        named = find_draft_key(key)
        if named is None:
            strays.append(key)
            continue
        draft = drafts.setdefault(named[:2], _Found())
        try:
            draft.steps[named[2]] = decode_draft_step(store.read(key), key=key)
        except BlobMissingError:
            draft.is_going = True
        except ArtifactFSError as error:
            draft.steps[named[2]] = None
            report(key, error.message)
    parts: list[tuple[str, Root]] = []
    for (collection, name), draft in drafts.items():
        if draft.steps and not draft.has_ended:
            parts += _iter_parts(draft)
            for number in sorted(set(range(1, max(draft.steps))) - draft.steps.keys()):
                key = draft_key(collection, name, number)
                if store.find_size(key) is None:  # listings are not of one moment
                    report(key, f"the repository has no object {key}")
    return parts, strays


def _iter_parts(draft: _Found) -> Iterator[tuple[str, Root]]:
    """Yield the root of each part, and what to call it."""
    for number, step in draft.steps.items():
        if isinstance(step, Part):
            yield f"{step.collection} (draft {step.name!r}, part {number})", step.root
