"""The names of stored objects: the one place that knows them.

    format/<n>.json                          blobs/ab/<sha256>       collections/<name>/log/<seq>
    runs/<utc-day>/<uuid7>/<n>               sums/ab/<sha256>        collections/<name>/checkpoint/<seq>
    runs/<utc-day>/resumed-<uuid7>-<time>
    runs/environment/<sha256>                packs/ab/<sha256>       trees/ab/<sha256>
    prune/<id>/<step>                        treepacks/ab/<sha256>

Source: docs/format.md. Threading: pure functions.
"""

from __future__ import annotations

import re
from typing import Final

SEQ_DIGITS: Final = 20
FORMAT_PREFIX: Final = "format/"
COLLECTIONS_PREFIX: Final = "collections/"
BLOBS_PREFIX: Final = "blobs/"
SUMS_PREFIX: Final = "sums/"
TREES_PREFIX: Final = "trees/"
PACKS_PREFIX: Final = "packs/"
TREEPACKS_PREFIX: Final = "treepacks/"
RUNS_PREFIX: Final = "runs/"
RESUMED: Final = "resumed-"
RUN_FILES: Final = "files-"
DRAFTS_PREFIX: Final = "drafts/"
PRUNE_PREFIX: Final = "prune/"
CONDEMNED: Final = "condemned"
VERDICT: Final = "verdict"
DONE: Final = "done"

_DIGEST_KEY = re.compile(r"(?:blobs|sums|packs|treepacks)/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_FORMAT = re.compile(r"format/([1-9][0-9]{0,8})\.json")
_SEQ = re.compile(r"[0-9]{20}")
_DIGEST_NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})")
_PRUNE_ID = re.compile(r"[0-9a-f]{32}")
_DRAFT_KEY = re.compile(r"drafts/([A-Za-z0-9_-][A-Za-z0-9_.-]{0,127})/([0-9a-f]{32})/([0-9]{20})")


def _digest_key(prefix: str, sha256: bytes) -> str:
    name = sha256.hex()
    return f"{prefix}{name[:2]}/{name}"


def blob_key(sha256: bytes) -> str:
    """Return the key of a blob with this raw digest."""
    return _digest_key(BLOBS_PREFIX, sha256)


def sums_key(sha256: bytes) -> str:
    """Return the key of the sums object with this raw digest (its own, not the blob's)."""
    return _digest_key(SUMS_PREFIX, sha256)


def digest_key(prefix: str, sha256: bytes) -> str:
    """Return the key below `prefix` that is made of a raw digest."""
    return _digest_key(prefix, sha256)


def tree_key(sha256: bytes) -> str:
    """Return the key of a stored tree with this raw tree digest."""
    return _digest_key(TREES_PREFIX, sha256)


def find_content_digest(key: str) -> bytes | None:
    """Return the raw SHA-256 of all bytes of an object, where its key says it; a tree's names a part of them only."""
    match = _DIGEST_KEY.fullmatch(key)
    return bytes.fromhex(match[2]) if match else None


def pack_key(sha256: bytes) -> str:
    """Return the key of a pack with this raw digest."""
    return _digest_key(PACKS_PREFIX, sha256)


def treepack_key(sha256: bytes) -> str:
    """Return the key of a tree pack with this raw digest."""
    return _digest_key(TREEPACKS_PREFIX, sha256)


def format_key(number: int) -> str:
    """Return the key of a format file."""
    return f"{FORMAT_PREFIX}{number}.json"


def find_format_number(key: str) -> int | None:
    """Return the number in the key of a format file, or None for another key."""
    match = _FORMAT.fullmatch(key)
    return int(match[1]) if match else None


def log_prefix(collection: str) -> str:
    """Return the prefix of all records of a collection."""
    return f"{COLLECTIONS_PREFIX}{collection}/log/"


def log_key(collection: str, seq: int) -> str:
    """Return the key of a log record."""
    return f"{log_prefix(collection)}{seq:0{SEQ_DIGITS}}"


def checkpoint_prefix(collection: str) -> str:
    """Return the prefix of all checkpoints of a collection."""
    return f"{COLLECTIONS_PREFIX}{collection}/checkpoint/"


def checkpoint_key(collection: str, seq: int) -> str:
    """Return the key of the checkpoint that holds the state after record `seq`."""
    return f"{checkpoint_prefix(collection)}{seq:0{SEQ_DIGITS}}"


def find_seq(name: str) -> int | None:
    """Return the number in the last part of the key of a record or checkpoint, or None for another name."""
    return int(name) if _SEQ.fullmatch(name) else None


def run_prefix(day: str, run: str) -> str:
    """Return the prefix of the events of a run: `day` is `YYYY-MM-DD` in UTC, `run` its UUID."""
    return f"{RUNS_PREFIX}{day}/{run}/"


def run_key(day: str, run: str, number: int) -> str:
    """Return the key of one event of a run."""
    return f"{run_prefix(day, run)}{number:0{SEQ_DIGITS}}"


def run_resumed_key(day: str, run: str, time_ns: int) -> str:
    """Return the key of the note that a run was resumed: on a day, `YYYY-MM-DD` in UTC, at a time."""
    return f"{RUNS_PREFIX}{day}/{RESUMED}{run}-{time_ns}"


def run_environment_key(sha256: bytes) -> str:
    """Return the key of the description of what runs ran with."""
    return f"{RUNS_PREFIX}environment/{sha256.hex()}"


def find_digest(key: str, prefix: str) -> bytes | None:
    """Return the raw digest that a key below `prefix` is made of, or None for a key that is not of that form."""
    match = _DIGEST_NAME.fullmatch(key, len(prefix)) if key.startswith(prefix) else None
    return bytes.fromhex(match[2]) if match else None


def prune_key(prune: str, step: str) -> str:
    """Return the key of a step of a prune: CONDEMNED, VERDICT or DONE."""
    return f"{PRUNE_PREFIX}{prune}/{step}"


def is_prune_id(name: str) -> bool:
    """Return whether a name is 32 hex digits, as prunes are called."""
    return _PRUNE_ID.fullmatch(name) is not None


def run_files_key(day: str, run: str, number: int) -> str:
    """Return the key of a list of files that a run looked up."""
    return f"{run_prefix(day, run)}{RUN_FILES}{number}"


def draft_prefix(collection: str, draft: str) -> str:
    """Return the prefix of the steps of a draft, by its id."""
    return f"{DRAFTS_PREFIX}{collection}/{draft}/"


def draft_key(collection: str, draft: str, number: int) -> str:
    """Return the key of a step of a draft."""
    return f"{draft_prefix(collection, draft)}{number:0{SEQ_DIGITS}}"


def find_draft_key(key: str) -> tuple[str, str, int] | None:
    """Return collection, id and number of a step of a draft, or None for any other key."""
    match = _DRAFT_KEY.fullmatch(key)
    return (match[1], match[2], int(match[3])) if match else None
