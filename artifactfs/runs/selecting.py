"""Which versions a user means: all of a collection, or one.

Used by the SDK and the command line, where runs or their files are chosen by what they read or made. Threading:
functions without state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.paths import parse_ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.repository.repository import Repository


def select_versions(repository: Repository, text: str) -> Callable[[str], bool]:
    """Return whether a version, `NAME:vN`, is meant by a text: `NAME` means each of its versions, a REF one.

    A number need not exist any more; what read a version that was deleted still read it.

    Raises:
        CollectionNotFoundError, AliasNotFoundError: an alias that there is not.
        InvalidNameError: it is not the name of a version.
    """
    if ":" not in text:
        every = f"{parse_ref(text).collection}:"
        return lambda artifact: artifact.startswith(every)
    ref = parse_ref(text)
    if ref.version is not None:
        one = f"{ref.collection}:v{ref.version}"
    else:
        collection, version = repository.resolve(ref)
        one = f"{collection.name}:{version.name}"
    return lambda artifact: artifact == one
