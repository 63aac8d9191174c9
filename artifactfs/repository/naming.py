"""What names packs, as far as it can be read: whether a damaged one is needed, and why it stays.

Used by repair. Threading: functions over a Repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import COLLECTIONS_PREFIX, PACKS_PREFIX, TREEPACKS_PREFIX
from artifactfs.errors import IntegrityError, InvalidNameError
from artifactfs.paths import check_collection_name
from artifactfs.repository.advice import find_advice, is_local
from artifactfs.repository.drafts import Drafts
from artifactfs.repository.reach import Reach, find_object
from artifactfs.repository.roots import Keeping, iter_roots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from artifactfs.model import Placement, Root
    from artifactfs.repository.check import Damage
    from artifactfs.repository.prune import Shown
    from artifactfs.repository.repack import KeptRoot
    from artifactfs.repository.repository import Repository
    from artifactfs.storedpage import StoredPage


def list_roots(repository: Repository, shown: Callable[[], Shown]) -> tuple[list[KeptRoot], bool]:
    """Return the roots that a prune keeps, as far as logs can be read, and whether all can."""
    grace_ns = int(repository.exclusion.grace_seconds * 1e9)
    keeping = Keeping(repository.clock.now_ns() - grace_ns if grace_ns else None, shown())
    roots: list[KeptRoot] = []
    is_complete = True
    for name in sorted(repository.store.iter_children(COLLECTIONS_PREFIX)):
        try:
            state = repository.log.read_state(check_collection_name(name))
        except InvalidNameError:
            continue  # not a collection of this format
        except IntegrityError:
            is_complete = False
        else:
            roots += [(name, number, root) for number, root in iter_roots(state, keeping)]
    return roots, is_complete


class _Named(Reach):
    """Collects what is named, also by pages that are not where they should be. Belongs to one thread.

    Attributes:
        is_complete: whether each page could be read.
    """

    def __init__(self, repository: Repository) -> None:
        super().__init__(repository.blobs)
        self.is_complete = True

    def enter_page(self, tree: bytes, placement: Placement | None) -> StoredPage | None:
        """Return a stored page the first time that it is met, or None if it cannot be read."""
        try:
            return super().enter_page(tree, placement)
        except IntegrityError:
            self.is_complete = False
            return None


def find_unnamed(repository: Repository, packs: list[str], shown: Callable[[], Shown]) -> list[str]:
    """Return which packs no version or draft names; none when that is not known of one of them."""
    if not packs:
        return []
    roots, is_complete = list_roots(repository, shown)
    named = _Named(repository)
    try:
        parts = list(Drafts(repository).iter_roots())
    except IntegrityError:
        return []
    for root in [*(root for _, _, root in roots), *(root for _, root in parts)]:
        named.add_root(root)
    if not (is_complete and named.is_complete):
        return []
    return [key for key in packs if (found := find_object(key)) is not None and not named.objects.has(*found)]


def explain_left(repository: Repository, left: Sequence[Damage], shown: Callable[[], Shown]) -> dict[str, str]:
    """Return why each damaged object is still where it was, and what can be done, by key."""
    packs = [item.key for item in left if item.key.startswith((PACKS_PREFIX, TREEPACKS_PREFIX))]
    if not packs:
        return {item.key: _explain(repository, item) for item in left}
    drafts = _find_naming(repository, packs, _list_parts(repository))
    mounted = _find_naming(repository, packs, _list_shown(repository, shown))
    unnamed = set(find_unnamed(repository, packs, shown))
    explained = {}
    for item in left:
        if item.key not in packs:
            explained[item.key] = _explain(repository, item)
        else:
            is_named = item.key not in unnamed
            explained[item.key] = _explain_pack(
                item, drafts.get(item.key, []), mounted.get(item.key, []), is_named=is_named
            )
    return explained


def _explain_pack(item: Damage, drafts: list[str], mounted: list[str], *, is_named: bool) -> str:
    if item.places.count:
        return "something in it is nowhere else: put the files again that are named above, and repair again"
    if drafts:
        return f"{', '.join(drafts)} is made of it: finish or drop the draft, and repair again"
    if mounted:
        return f"a mount shows {', '.join(mounted)}, which was removed and has it: unmount it, and repair again"
    if not is_named:
        return "nothing needs it any more"
    return "what names it cannot all be read: mend that first"


def _explain(repository: Repository, item: Damage) -> str:
    if find_object(item.key) is not None and not is_local(repository):
        return "in an object store nothing is set aside: `artifactfs put --rehash` of the same files replaces it"
    return find_advice(repository, item)


def _list_parts(repository: Repository) -> list[tuple[str, Root]]:
    """Return the parts of drafts, as far as they can be read."""
    try:
        return list(Drafts(repository).iter_roots())
    except IntegrityError:
        return []


def _list_shown(repository: Repository, shown: Callable[[], Shown]) -> list[tuple[str, Root]]:
    """Return the versions that are kept only because somebody looks at them."""
    needed, _ = list_roots(repository, tuple)
    kept, _ = list_roots(repository, shown)
    return [(f"{name}:v{number}", root) for name, number, root in kept if (name, number, root) not in needed]


def _find_naming(repository: Repository, packs: list[str], roots: Iterable[tuple[str, Root]]) -> dict[str, list[str]]:
    """Return which of some roots name packs, as far as they can be read."""
    found: dict[str, list[str]] = {}
    for name, root in roots:
        reach = _Named(repository)
        reach.add_root(root)
        for key in packs:
            named = find_object(key)
            if named is not None and reach.objects.has(*named):
                found.setdefault(key, []).append(name)
    return found
