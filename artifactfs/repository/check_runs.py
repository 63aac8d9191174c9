"""Check of what runs leave: events, lists of files, what they ran with, and notes.

Used by `check_logs`. Threading: functions without state.

Source: docs/format.md section 6.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.blobstore.keys import RUN_FILES, RUNS_PREFIX, SEQ_DIGITS, run_environment_key
from artifactfs.errors import ArtifactFSError, MalformedError
from artifactfs.repository.runfiles import decode_files
from artifactfs.repository.sealed import open_if_sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactfs.blobstore.base import ObjectStore

_DAY: Final = r"runs/[0-9]{4}-[0-9]{2}-[0-9]{2}/"
_ID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_EVENT: Final = re.compile(f"({_DAY}({_ID})/)(?:([0-9]{{{SEQ_DIGITS}}})|{RUN_FILES}([1-9][0-9]*))")
_NOTE: Final = re.compile(f"{_DAY}resumed-({_ID})-[0-9]+")
_ENVIRONMENT: Final = re.compile("runs/environment/[0-9a-f]{64}")


def check_runs(store: ObjectStore, *, report: Callable[[str, str], None]) -> list[str]:
    """Look at everything that runs left, and return keys that nothing of this format has.

    Args:
        store: of the repository.
        report: is told of each damaged object: its key, and what is wrong.
    """
    strays: list[str] = []
    numbers: dict[str, set[int]] = {}
    for key in store.iter_keys(RUNS_PREFIX):
        event = _EVENT.fullmatch(key)
        note = _NOTE.fullmatch(key)
        if not (event or note or _ENVIRONMENT.fullmatch(key)):
            strays.append(key)
            continue
        if event:
            numbers.setdefault(event[1], set()).add(int(event[3] or 0))
            numbers.setdefault(event[1] + RUN_FILES, set()).add(int(event[4] or 0))
        run = event[2] if event else note[1] if note else ""
        try:
            _check(store.read(key), key=key, run=run)
        except ArtifactFSError as error:
            report(key, error.message)
    for prefix, found in numbers.items():
        for number in sorted(set(range(1, max(found) + 1)) - found):
            key = f"{prefix}{number}" if prefix.endswith(RUN_FILES) else f"{prefix}{number:0{SEQ_DIGITS}}"
            if store.find_size(key) is None:  # listings are not of one moment
                report(key, f"the repository has no object {key}")
    return strays


def _check(data: bytes, *, key: str, run: str) -> None:
    if not run:
        sha256 = hashlib.sha256(data).digest()
        if key != run_environment_key(sha256):
            msg = f"{key} is damaged: its bytes hash to sha256:{sha256.hex()}"
            raise MalformedError(msg)
        return
    if key.rpartition("/")[2].startswith(RUN_FILES):
        decode_files(data, key=key)
        return
    try:
        found = msgspec.json.decode(open_if_sealed(data, key=key))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{key} does not decode: {error}"
        raise MalformedError(msg) from error
    if not isinstance(found, dict) or found.get("run") != run:
        msg = f"{key} is of another run"
        raise MalformedError(msg)
