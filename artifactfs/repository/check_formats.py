"""Check of format files: whole, none missing, and each feature announced that something in the repository needs.

Used by check. Threading: functions without state.

Source: docs/format.md section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.blobstore.keys import FORMAT_PREFIX, find_format_number, format_key
from artifactfs.errors import ArtifactFSError
from artifactfs.repository.format import decode_format

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artifactfs.blobstore.base import ObjectStore
    from artifactfs.repository.format import Format


def check_formats(
    store: ObjectStore, used: Mapping[str, str], *, report: Callable[[str, str], None]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Look at all format files.

    Args:
        store: of the repository.
        used: features that readers must know because of something that is there, and what that is.
        report: is told of each damaged or missing one: its key, and what is wrong.

    Returns:
        What the next format file has to announce, by its key, if it is missing; keys that nothing of this format has.
    """
    numbers: dict[int, str] = {}
    strays: list[str] = []
    for key in store.iter_keys(FORMAT_PREFIX):
        number = find_format_number(key)
        if number is None:
            strays.append(key)
        else:
            numbers[number] = key
    newest = max(numbers, default=0)
    found = _read(store, numbers, report)
    for number in sorted(set(range(1, newest)) - numbers.keys()):
        report(format_key(number), f"{format_key(number)} is missing")
    if newest not in found:  # it was reported
        return {}, strays
    _compare(found, found[newest], report)
    missing = tuple(feature for feature in used if feature not in found[newest].reader_features)
    if not missing:
        return {}, strays
    key = format_key(newest + 1)
    what = " and ".join(used[feature] for feature in missing)
    report(key, f"{key} is missing: there are {what}, and no format file says so")
    return {key: missing}, strays


def _read(store: ObjectStore, numbers: Mapping[int, str], report: Callable[[str, str], None]) -> dict[int, Format]:
    found = {}
    for number, key in numbers.items():
        try:
            found[number] = decode_format(store.read(key), key=key)
        except ArtifactFSError as error:
            report(key, error.message)
    return found


def _compare(found: Mapping[int, Format], newest: Format, report: Callable[[str, str], None]) -> None:
    for number, one in found.items():
        if one.repository != newest.repository:
            key = format_key(number)
            report(key, f"{key} is of another repository, {one.repository}")
