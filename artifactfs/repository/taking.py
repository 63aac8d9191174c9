"""Taking entries of versions over into new ones: `artifact://NAME:vN/PATH` and what it names.

What is named is looked up when it is added, and goes into the new version as the files, links and references that it
is: by digest and place, without being read. So it stays when the version that it came from is deleted. That version is
recorded among the inputs of the new one.

Content is taken as a commit takes what did not change: it is looked for when the new version is stored, so that no
prune deletes it meanwhile.

Used by put, by staging directories and the SDK. Threading: values are immutable; a Taking belongs to one thread.

Source: docs/format.md section 9.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from artifactfs.blobstore.places import SEEN
from artifactfs.errors import BlobMissingError, UsageError
from artifactfs.model import DirectoryEntry, FileEntry
from artifactfs.paths import join_path, parse_ref, printable
from artifactfs.reference.uris import ARTIFACT_SCHEME
from artifactfs.repository.reading import ReadFile
from artifactfs.repository.runviews import pin_ref
from artifactfs.repository.sources import add_directory, add_entry, check_addable
from artifactfs.repository.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactfs.model import Entry, ReferenceEntry, SymlinkEntry
    from artifactfs.repository.commit import CommitOptions
    from artifactfs.repository.reading import Sink
    from artifactfs.repository.referring import Referred
    from artifactfs.repository.repository import Repository
    from artifactfs.repository.sources import Given, Planned
    from artifactfs.repository.survey import Survey


@dataclass(frozen=True, slots=True)
class Taken:
    """What a URI names.

    Attributes:
        version: `NAME:vN`.
        path: entry path of what was named, in that version.
        target: entry path that it gets.
        found: entry path in the new version, and entry, of everything; directories come before what is in them.
    """

    version: str
    path: bytes
    target: bytes
    found: tuple[tuple[bytes, Entry], ...]

    @property
    def entries(self) -> list[tuple[bytes, Given]]:
        """Everything but directories."""
        return [(path, entry) for path, entry in self.found if not isinstance(entry, DirectoryEntry)]

    def find_uri(self, path: bytes) -> str:
        """Return where an entry that gets the path `path` comes from."""
        below = path[len(self.target) :].lstrip(b"/")
        source = join_path(self.path, below) if self.path and below else self.path or below
        return f"{ARTIFACT_SCHEME}://{self.version}/{os.fsdecode(source)}"

    def note_input(self, options: CommitOptions) -> CommitOptions:
        """Return options that also say from which version something was taken."""
        return replace(options, inputs=tuple(dict.fromkeys((*options.inputs, self.version))))


def take_entries(repository: Repository, referred: Referred) -> Taken:
    """Return what `artifact://NAME[:vN|:ALIAS][/PATH]` names: a file, link or reference, or a whole directory.

    An alias is taken as it is now, or as the run that is given has pinned it.

    As with local paths, a directory keeps its name unless a slash follows.

    Raises:
        CollectionNotFoundError, VersionNotFoundError, AliasNotFoundError, EntryNotFoundError: there is none; the hint
            has names nearly like it.
        InvalidNameError, InvalidPathError: it is not the name of a version.
        UsageError: a staging directory, another repository, or more entries than `max_objects`.
        IntegrityError: a directory is missing or damaged.
    """
    text = referred.uri.partition("://")[2]
    if "://" in text or text.startswith("/"):
        msg = f"{referred.uri} names no version of this repository"
        raise UsageError(msg, hint="`artifactfs copy` brings versions of other repositories here", subject=referred.uri)
    ref = parse_ref(text.removesuffix("/"))
    if referred.run is not None:
        ref = pin_ref(repository, ref, referred.run)
    collection, version = repository.resolve(ref)
    trees = Trees(repository.blobs)
    entry, placement = trees.get_placed(version.root, ref.path)
    name = f"{collection.name}:{version.name}"
    if not isinstance(entry, DirectoryEntry):
        _check_file(referred, name)
        return Taken(name, ref.path, referred.target, ((referred.target, entry),))
    found: list[tuple[bytes, Entry]] = [(referred.target, entry)]
    count = 0
    for below, item in trees.iter_below(entry, b"", placement):
        count += not isinstance(item, DirectoryEntry)
        if count > referred.max_objects:
            msg = f"{referred.uri} has more than {referred.max_objects} entries"
            raise UsageError(msg, hint="take a part of it, or raise --max-objects", subject=referred.uri)
        found.append((join_path(referred.target, below) if referred.target else below, item))
    return Taken(name, ref.path, referred.target, tuple(found))


def plan_entries(root: Planned, taken: Taken) -> tuple[bytes, ...]:
    """Add what was taken to a plan, and return the entry paths of all but directories.

    When it raises, the plan is as it was.

    Raises:
        AlreadyExistsError: a name is taken.
        InvalidPathError, NameTooLongError: a path is too long where it goes.
    """
    for path, entry in taken.found:
        check_addable(root, path, taken.version, is_directory=isinstance(entry, DirectoryEntry))
    for path, entry in taken.found:
        if isinstance(entry, DirectoryEntry):
            add_directory(root, path, entry)
        else:
            add_entry(root, path, entry, taken.version)
    return tuple(path for path, _ in taken.entries)


class Taking:
    """Finds the content of entries that are taken over. Belongs to one thread.

    Args:
        survey: knows where content lies that the index does not know; None asks nobody.
    """

    def __init__(self, survey: Survey | None = None) -> None:
        self._survey = survey

    def take(self, sink: Sink, given: Sequence[Given]) -> list[ReadFile | SymlinkEntry | ReferenceEntry]:
        """Return entries as they go into a directory, files with the places of their content.

        Raises:
            BlobMissingError: a file's content is not stored any more, or damaged.
        """
        sink.look_up([entry.sha256 for entry in given if isinstance(entry, FileEntry)])
        return [self._take_file(sink, entry) if isinstance(entry, FileEntry) else entry for entry in given]

    def _take_file(self, sink: Sink, entry: FileEntry) -> ReadFile:
        stored = sink.find_stored(entry)
        if stored is None and self._survey is not None:
            self._survey.find_places(SEEN, entry.sha256)  # so that the index knows it
            stored = sink.find_stored(entry)
        if stored is None:
            shown = printable(entry.name)
            msg = f"the content of {shown} ({entry.digest}), which was taken from another version, is not stored here"
            hint = "that version may have been deleted and pruned, or be damaged: leave the file out, or add it anew"
            raise BlobMissingError(msg, hint=hint, subject=shown)
        return ReadFile(msgspec.structs.replace(entry, sums=stored.sums), stored.place)


def _check_file(referred: Referred, version: str) -> None:
    """Return if a file can stand where its URI says.

    Raises:
        UsageError: the URI ends as that of a directory, or it is to be the root.
    """
    if referred.uri.endswith("/") or not referred.target:
        msg = f"{referred.uri} is not a directory of {version}, so it cannot be the root of a version"
        raise UsageError(msg, hint="give it a name, and leave the slash out", subject=referred.uri)
