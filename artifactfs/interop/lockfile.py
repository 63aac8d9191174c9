"""Lock files: which versions a job reads, with their digests, so that it gets exactly those again or none.

    format = 1
    repository = "4f0c..."

    [[artifact]]
    ref = "animals:latest"
    version = "animals:v3"
    ...

The file is TOML. One that this release writes is the same, byte for byte, for the same versions.

Used by the command line and the SDK. Threading: immutable values, and functions over a Repository.

Source: docs/format.md section 11.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from artifactfs.errors import (
    ArtifactFSError,
    ConfigurationError,
    DigestMismatchError,
    MalformedError,
    NewerFormatError,
    NotFoundError,
    UsageError,
    VersionNotFoundError,
)
from artifactfs.paths import LATEST, Ref, parse_ref
from artifactfs.repository.locked import Locked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.model import Collection, Version
    from artifactfs.repository.repository import Repository

FORMAT: Final = 1
_HEAD: Final = """\
# The versions that a job reads. Written by `artifactfs lock`; `artifactfs lock --update FILE` takes what the names
# mean then. Used with --lock FILE by get, mount and run: they give exactly these versions, or fail.
"""


class LockedArtifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a lock.

    Attributes:
        ref: what it is called by, `NAME:vN` or `NAME:ALIAS`.
        version: what that meant, `NAME:vN`.
        digest: of the whole tree with modes and times, `sha256:<hex>`.
        content: of names, kinds, executable bits and content, `sha256:<hex>`.
        files: how many files and links it has.
        size: bytes of these.
    """

    ref: str
    version: str
    digest: str
    content: str
    files: int
    size: int


class Lock(msgspec.Struct, frozen=True):
    """What a lock file says.

    Attributes:
        repository: the repository's id.
        artifact: the versions, in order of `ref`.
    """

    repository: str
    artifact: tuple[LockedArtifact, ...]

    def as_locked(self) -> Locked:
        """Return what a mount may show."""
        versions: dict[str, list[int]] = {}
        aliases: dict[str, dict[str, int]] = {}
        for each in self.artifact:
            version, ref = parse_ref(each.version), parse_ref(each.ref)
            number = version.version or 0
            if number not in versions.setdefault(version.collection, []):
                versions[version.collection].append(number)
            if ref.alias is not None:
                aliases.setdefault(ref.collection, {})[ref.alias] = number
        return Locked(versions, aliases)

    def find(self, ref: Ref) -> LockedArtifact:
        """Return the version that a reference means here; its path is left aside.

        Raises:
            NotFoundError: it is not among these.
        """
        name = _spell(ref)
        for each in self.artifact:
            if name in (each.ref, each.version):
                return each
        msg = f"{name} is not in the lock file"
        raise NotFoundError(msg, hint="`artifactfs lock` it together with what is there", subject=name)


def make_lock(repository: Repository, refs: Iterable[str]) -> Lock:
    """Return the lock of what references name now; those given twice are in it once.

    Raises:
        UsageError: a path or a staging directory; or none at all.
        NotFoundError: there is no such version.
    """
    found: dict[str, LockedArtifact] = {}
    for text in refs:
        ref = parse_ref(text)
        if ref.path or ref.staging is not None:
            msg = f"{text} is not a version"
            raise UsageError(msg, hint="a lock file names whole versions: NAME, NAME:vN or NAME:ALIAS", subject=text)
        collection, version = repository.resolve(ref)
        found[_spell(ref)] = _describe(_spell(ref), collection, version)
    if not found:
        msg = "a lock file names at least one version"
        raise UsageError(msg)
    return Lock(repository.id, tuple(found[name] for name in sorted(found)))


def check_lock(repository: Repository, lock: Lock) -> None:
    """Return if a repository has all that a lock says.

    Raises:
        ConfigurationError: it is another repository.
        VersionNotFoundError: a version is not there, or not any more.
        DigestMismatchError: a version is something else than what was locked.
    """
    if repository.id != lock.repository:
        msg = f"the lock file is of the repository {lock.repository}, and {repository.location} is {repository.id}"
        raise ConfigurationError(msg, hint="--repo LOCATION chooses the repository", subject=repository.location)
    for each in lock.artifact:
        find_locked(repository, each)


def find_locked(repository: Repository, locked: LockedArtifact) -> tuple[Collection, Version]:
    """Return the version that was locked, and nothing else.

    Raises:
        VersionNotFoundError: it is not there, or not any more.
        DigestMismatchError: it is something else.
    """
    try:
        collection, version = repository.resolve(parse_ref(locked.version))
    except NotFoundError as error:
        msg = f"{locked.version}, locked as {locked.ref}, is not in {repository.location}: {error.message}"
        raise VersionNotFoundError(msg, hint="lock again what there is", subject=locked.version) from error
    for kind, wanted, found in (
        ("tree", locked.digest, version.root.tree),
        ("content", locked.content, version.root.content),
    ):
        if wanted != found:
            msg = f"{locked.version} has the {kind} digest {found}, and was locked with {wanted}"
            raise DigestMismatchError(msg, hint="the lock file was changed, or is of another repository")
    return collection, version


def format_lock(lock: Lock) -> str:
    """Return the text of a lock file."""
    lines = [_HEAD, f"format = {FORMAT}", f"repository = {_quote(lock.repository)}"]
    for each in lock.artifact:
        lines += ["", "[[artifact]]"]
        for name, value in msgspec.structs.asdict(each).items():
            lines.append(f"{name} = {value if isinstance(value, int) else _quote(value)}")
    return "\n".join(lines) + "\n"


def parse_lock(text: str) -> Lock:
    """Return what a lock file says.

    Raises:
        NewerFormatError: a newer release wrote it.
        MalformedError: it is no lock file, or damaged.
    """
    try:
        fields: dict[str, Any] = tomllib.loads(text)
        found = fields.pop("format", None)
        if isinstance(found, int) and found > FORMAT:
            msg = f"the lock file has format {found}, and this release knows {FORMAT}"
            raise NewerFormatError(msg, hint="install a newer artifactfs")
        if found != FORMAT:
            msg = "this is no lock file: it does not begin with its format"
            raise MalformedError(msg, hint="make it with: artifactfs lock REF... -o artifactfs.lock")
        lock = msgspec.convert(fields, Lock)
        _check(lock)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        msg = f"the lock file cannot be read: {error}"
        raise MalformedError(msg, hint="make it again: artifactfs lock REF... -o artifactfs.lock") from error
    return lock


def read_lock(path: str | bytes) -> Lock:
    """Return what the lock file at a path says.

    Raises:
        ConfigurationError: it cannot be read.
        NewerFormatError, MalformedError: see `parse_lock`; the message names it.
    """
    shown = path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else path
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the lock file {shown} cannot be read: {error}"
        raise ConfigurationError(msg, subject=shown) from error
    try:
        return parse_lock(text)
    except (MalformedError, NewerFormatError) as error:
        raise type(error)(f"{shown}: {error.message}", hint=error.hint, subject=shown) from error


def _check(lock: Lock) -> None:
    """Check that the names in a lock are such.

    Raises:
        MalformedError: one is not.
    """
    for each in lock.artifact:
        try:
            ref, version = parse_ref(each.ref), parse_ref(each.version)
        except ArtifactFSError as error:
            raise MalformedError(f"the lock file has a name that cannot be one: {error.message}") from error
        if version.version is None or version.path or ref.path or ref.collection != version.collection:
            msg = f"the lock file says that {each.ref} is {each.version}, which cannot be"
            raise MalformedError(msg, subject=each.ref)


def _describe(name: str, collection: Collection, version: Version) -> LockedArtifact:
    root = version.root
    number = f"{collection.name}:{version.name}"
    return LockedArtifact(name, number, root.tree, root.content, root.count, root.size)


def _spell(ref: Ref) -> str:
    return str(replace(ref, selector=ref.selector or LATEST, path=b""))


def _quote(text: str) -> str:
    """Return a TOML string: what JSON escapes, TOML does in the same way."""
    return json.dumps(text, ensure_ascii=False)
