"""References in a staging directory: symbolic links that stand for them until they are committed.

A reference that was added is written down in the file `references` of the staging directory, one line each, and a link
`artifactfs-reference:<name>:<URI>` shows where it is to be. So it can be renamed, moved and removed as any file, with
either driver, and a program that reads it is told that there is nothing rather than given other bytes. Only what this
staging directory has written down counts: a link that came out of an archive makes no reference.

Used by commit, and by what adds references. Threading: functions without state.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

import msgspec

from artifactfs.errors import MalformedError, UsageError
from artifactfs.model import ReferenceEntry
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.staging.layout import Layout

PREFIX: Final = b"artifactfs-reference:"
_SHOWN: Final = 1024
"""Bytes of the URI in a link, which is for people: links have at most 4095."""
_TARGET = re.compile(rb"artifactfs-reference:([0-9a-f]{32}):.*", re.DOTALL)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[str, ReferenceEntry])


class StagedReferences:
    """The references that were added to a staging directory. Belongs to one thread."""

    def __init__(self, layout: Layout) -> None:
        """Store whose references; they are read when the first is looked for."""
        self._path = os.path.join(layout.directory, b"references")
        self._known: dict[str, ReferenceEntry] | None = None

    def find(self, target: bytes, *, name: bytes, path: bytes) -> ReferenceEntry | None:
        """Return the entry that a link stands for; None for any other link.

        Args:
            target: of the link.
            name: that the entry gets.
            path: of the link, for messages.

        Raises:
            UsageError: the link stands for a reference of another staging directory.
            MalformedError: what was written down does not decode.
        """
        match = _TARGET.fullmatch(target)
        if match is None:
            return None
        found = self._load().get(match[1].decode())
        if found is None:
            shown = printable(path)
            msg = f"{shown} stands for a reference that was not added to this staging directory"
            raise UsageError(msg, hint="`artifactfs reference add` adds it, or remove the link", subject=shown)
        return msgspec.structs.replace(found, name=name)

    def add(self, entries: Iterable[tuple[ReferenceEntry, str]]) -> list[bytes]:
        """Write references down, durably, and return the targets of the links that stand for them.

        Args:
            entries: each with its URI as it may be shown.
        """
        targets, lines = [], []
        for entry, shown in entries:
            data = _encoder.encode(msgspec.structs.replace(entry, name=b"-"))
            name = hashlib.sha256(data).hexdigest()[:32]
            lines.append(b'["%s",%s]\n' % (name.encode(), data))
            targets.append(b"%s%s:%s" % (PREFIX, name.encode(), shown.encode()[:_SHOWN]))
        with open(self._path, "ab") as file:
            # One write: what a killed process left in part is a line of its own, and stands for nothing.
            file.write(b"\n" + b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        self._known = None
        return targets

    def _load(self) -> dict[str, ReferenceEntry]:
        if self._known is None:
            try:
                with open(self._path, "rb") as file:
                    lines = file.read().split(b"\n")
            except FileNotFoundError:
                lines = []
            self._known = dict(self._decode(line) for line in lines if line.endswith(b"]"))
        return self._known

    def _decode(self, line: bytes) -> tuple[str, ReferenceEntry]:
        try:
            return _decoder.decode(line)
        except msgspec.MsgspecError as error:
            msg = f"{printable(self._path)} does not decode: {error}"
            raise MalformedError(msg, hint="discard the staging directory, or add its references again") from error
