"""References in a staging directory: symbolic links that stand for them until they are committed.

So do they for entries that were taken from versions. What was added is written down in the file `references` of the
staging directory, one line each, and a link `artifactfs-reference:<id>:<URI>` shows where it is to be. So it can be
renamed, moved and removed as any file, with either driver, and a program that reads it is told that there is nothing
rather than given other bytes. Only what this staging directory has written down counts: a link that came out of an
archive makes no reference.

Used by commit, and by what adds references. Threading: functions without state.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from artifactfs.errors import MalformedError, UsageError
from artifactfs.model import FileEntry, ReferenceEntry, SymlinkEntry
from artifactfs.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.staging.layout import Layout

PREFIX: Final = b"artifactfs-reference:"
_SHOWN: Final = 1024
"""Bytes of the URI in a link, which is for people: links have at most 4095."""
_TARGET = re.compile(rb"artifactfs-reference:([0-9a-f]{32}):.*", re.DOTALL)


class StagedEntry(Struct, frozen=True, array_like=True):
    """What a link stands for.

    Attributes:
        id: 32 hex digits, which the link has.
        entry: what it will be.
        origin: the version that it was taken from, as `NAME:vN`; empty for a reference that was added as such.
    """

    id: str
    entry: FileEntry | SymlinkEntry | ReferenceEntry
    origin: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StagedEntry)


class StagedReferences:
    """The references that were added to a staging directory. Belongs to one thread."""

    def __init__(self, layout: Layout) -> None:
        """Store whose references; they are read when the first is looked for."""
        self._path = os.path.join(layout.directory, b"references")
        self._known: dict[str, StagedEntry] | None = None

    def find(self, target: bytes, *, path: bytes) -> StagedEntry | None:
        """Return what a link stands for; None for any other link.

        Args:
            target: of the link.
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
        name = path.rpartition(b"/")[2]
        return msgspec.structs.replace(found, entry=msgspec.structs.replace(found.entry, name=name))

    def add(
        self, entries: Iterable[tuple[FileEntry | SymlinkEntry | ReferenceEntry, str]], *, origin: str = ""
    ) -> list[bytes]:
        """Write references down, durably, and return the targets of the links that stand for them.

        Args:
            entries: each with its URI as it may be shown.
            origin: the version that they were taken from.
        """
        targets, lines = [], []
        for entry, shown in entries:
            data = _encoder.encode(msgspec.structs.replace(entry, name=b"-"))
            name = hashlib.sha256(data + origin.encode()).hexdigest()[:32]
            more = b"," + _encoder.encode(origin) if origin else b""
            lines.append(b'["%s",%s%s]\n' % (name.encode(), data, more))
            targets.append(b"%s%s:%s" % (PREFIX, name.encode(), shown.encode("utf-8", "surrogateescape")[:_SHOWN]))
        with open(self._path, "ab") as file:
            # One write: what a killed process left in part is a line of its own, and stands for nothing.
            file.write(b"\n" + b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        self._known = None
        return targets

    def _load(self) -> dict[str, StagedEntry]:
        if self._known is None:
            try:
                with open(self._path, "rb") as file:
                    lines = file.read().split(b"\n")
            except FileNotFoundError:
                lines = []
            found = (self._decode(line) for line in lines if line.endswith(b"]"))
            self._known = {staged.id: staged for staged in found}
        return self._known

    def _decode(self, line: bytes) -> StagedEntry:
        try:
            return _decoder.decode(line)
        except msgspec.MsgspecError as error:
            msg = f"{printable(self._path)} does not decode: {error}"
            raise MalformedError(msg, hint="discard the staging directory, or add its references again") from error
