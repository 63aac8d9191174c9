"""The error tree: every failure that a user can cause or meet, with its errno and exit code.

    ArtifactFSError                          errno    exit
    ├── UsageError                           EINVAL     2   the call or command line is wrong
    ├── PartialError                         EIO        3   some of the work was done; the rest is listed
    ├── ConfigurationError                   EINVAL     4   a setting cannot be used
    ├── NotFoundError                        ENOENT
    │   ├── CollectionNotFoundError          ENOENT    10
    │   ├── VersionNotFoundError             ENOENT    11
    │   ├── AliasNotFoundError               ENOENT    12
    │   ├── EntryNotFoundError               ENOENT    13
    │   ├── StagingNotFoundError             ENOENT    13
    │   └── SourceNotFoundError              ENOENT    13   a local path to read from
    ├── AlreadyExistsError                   EEXIST    14
    ├── InvalidNameError                     EINVAL    15
    │   ├── InvalidPathError                 EINVAL    15
    │   └── NameTooLongError                 ENAMETOOLONG 15
    ├── ReadOnlyError                        EROFS     20
    ├── BusyError                            EBUSY     21   locked or in use
    ├── ConflictError                        ESTALE    22   somebody else was first
    │   ├── SourceChangedError               ESTALE    22   a file changed while it was read
    │   └── PrunedError                      ESTALE    22   a prune deleted what a commit relied on
    ├── IntegrityError                       EIO
    │   ├── DigestMismatchError              EIO       30
    │   ├── BlobMissingError                 EIO       31
    │   ├── MalformedError                   EIO       32
    │   └── NewerFormatError                 EIO       33
    ├── ReferenceChangedError                ESTALE    34
    ├── RepositoryGoneError                  EIO       35   its directory was removed or renamed
    ├── RemoteError                          EIO
    │   ├── RemoteUnavailableError           EIO       40
    │   ├── RemoteTimeoutError               ETIMEDOUT 41
    │   ├── OfflineError                     ENETDOWN  43   not on this machine, and the network may not be used
    │   └── RemoteDeniedError                EACCES    42
    ├── AccessDeniedError                    EACCES    42
    ├── StorageFullError                     ENOSPC    50
    ├── IndexCorruptError                    EIO       51
    ├── MountError                           ENODEV    60
    └── InterruptedByUserError               EINTR    130
        └── TerminatedError                  EINTR    143

A missing *name* is ENOENT; missing *content* of an existing name is EIO. An error is decided once,
where it happens, and translated once at each edge: to an errno for the kernel, to an exit code and a
message for the shell. `docs/errors.md` is generated from this file.

Threading: classes only, no state.
"""

from __future__ import annotations

import errno as _errno
from typing import ClassVar


class ArtifactFSError(Exception):
    """Base of every error that artifactfs raises on purpose.

    Attributes:
        message: what was being done, to what, and why it failed.
        hint: what to try next; may be empty.
        subject: the path, digest, name or URI concerned; may be empty.
    """

    errno: ClassVar[int] = _errno.EIO
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", subject: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.subject = subject

    def __str__(self) -> str:
        """Return the message with its hint."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(ArtifactFSError):
    """A call or command line that cannot be meant; nothing was done."""

    errno = _errno.EINVAL
    exit_code = 2


class PartialError(ArtifactFSError):
    """Some of the work was done; what was not is listed in the message."""

    exit_code = 3


class ConfigurationError(ArtifactFSError):
    """A setting in the configuration file or environment that cannot be used."""

    errno = _errno.EINVAL
    exit_code = 4


class NotFoundError(ArtifactFSError):
    """A name that does not exist."""

    errno = _errno.ENOENT
    exit_code = 13


class CollectionNotFoundError(NotFoundError):
    """No collection has this name."""

    exit_code = 10


class VersionNotFoundError(NotFoundError):
    """The collection has no such version, or it was deleted."""

    exit_code = 11


class AliasNotFoundError(NotFoundError):
    """The collection has no such alias."""

    exit_code = 12


class EntryNotFoundError(NotFoundError):
    """The version has no such path."""


class StagingNotFoundError(NotFoundError):
    """No staging directory has this name."""


class DraftNotFoundError(NotFoundError):
    """No writer contributed anything to a draft of this name."""


class SourceNotFoundError(NotFoundError):
    """A local path that was to be read does not exist."""


class AlreadyExistsError(ArtifactFSError):
    """What was to be made is already there and is left as it was."""

    errno = _errno.EEXIST
    exit_code = 14


class InvalidNameError(ArtifactFSError):
    """A name that a collection, alias or version cannot have."""

    errno = _errno.EINVAL
    exit_code = 15


class InvalidPathError(InvalidNameError):
    """An entry path that is not one, or that leaves its tree."""


class NameTooLongError(InvalidNameError):
    """A file name over 255 bytes or a path over 4,096."""

    errno = _errno.ENAMETOOLONG


class ReadOnlyError(ArtifactFSError):
    """A change to something that never changes."""

    errno = _errno.EROFS
    exit_code = 20


class BusyError(ArtifactFSError):
    """Another process holds what is needed; trying again later may work."""

    errno = _errno.EBUSY
    exit_code = 21
    retryable = True


class ConflictError(ArtifactFSError):
    """The state moved on, and what was asked no longer holds."""

    errno = _errno.ESTALE
    exit_code = 22


class PathConflictError(ConflictError):
    """Two parts of a draft have the same path; the draft is as it was before the second."""


class DraftClosedError(ConflictError):
    """A draft was closed or dropped before a part came; the draft is as it was."""


class SourceChangedError(ConflictError):
    """A file changed or vanished while it was being read; nothing of it was stored."""

    retryable = True


class PrunedError(ConflictError):
    """A prune deleted what a commit relied on; nothing was recorded."""

    retryable = True


class IntegrityError(ArtifactFSError):
    """What is stored is not what was written."""


class DigestMismatchError(IntegrityError):
    """Bytes hash to something else than their name; they are not handed out."""

    exit_code = 30


class BlobMissingError(IntegrityError):
    """An object that a tree or record names is not in the store."""

    exit_code = 31


class MalformedError(IntegrityError):
    """A record, tree or message that does not decode."""

    exit_code = 32


class NewerFormatError(IntegrityError):
    """The repository uses a feature that this release does not know."""

    exit_code = 33


class RepositoryGoneError(ArtifactFSError):
    """The directory of a repository was removed or renamed while it was open."""

    exit_code = 35


class ReferenceChangedError(ArtifactFSError):
    """The external object is no longer the one that was recorded."""

    errno = _errno.ESTALE
    exit_code = 34


class RemoteError(ArtifactFSError):
    """A remote service did not do what was asked."""

    exit_code = 40
    retryable = True


class RemoteUnavailableError(RemoteError):
    """The remote service cannot be reached, or retries ran out."""


class RemoteTimeoutError(RemoteError):
    """The remote service did not answer in time."""

    errno = _errno.ETIMEDOUT
    exit_code = 41


class OfflineError(RemoteError):
    """Something is not on this machine, and the network may not be used."""

    errno = _errno.ENETDOWN
    exit_code = 43
    retryable = False


class RemoteDeniedError(RemoteError):
    """The remote service refused the credentials."""

    errno = _errno.EACCES
    exit_code = 42
    retryable = False


class AccessDeniedError(ArtifactFSError):
    """The operating system refused access to a local path."""

    errno = _errno.EACCES
    exit_code = 42


class StorageFullError(ArtifactFSError):
    """A disk, quota or cache is full; what was there before is untouched."""

    errno = _errno.ENOSPC
    exit_code = 50


class IndexCorruptError(ArtifactFSError):
    """The local index cannot be read; it can be deleted and rebuilt."""

    exit_code = 51


class MountError(ArtifactFSError):
    """A file system could not be mounted or unmounted."""

    errno = _errno.ENODEV
    exit_code = 60


class InterruptedByUserError(ArtifactFSError):
    """SIGINT arrived; what was already recorded stays."""

    errno = _errno.EINTR
    exit_code = 130


class TerminatedError(InterruptedByUserError):
    """SIGTERM arrived; what was already recorded stays."""

    exit_code = 143


def translate_os_error(error: OSError, *, doing: str, subject: str = "") -> ArtifactFSError:
    """Return the error of this tree that says what an `OSError` from the system means.

    Args:
        error: what the system raised.
        doing: what was being done, as in "reading the file images/cat.png".
        subject: the path concerned, for programs.

    Source: errno(3).
    """
    reason = error.strerror or str(error)
    message = f"{doing}: {reason}"
    if error.errno in (_errno.ENOSPC, _errno.EDQUOT):
        return StorageFullError(message, hint="free some space and run the same command again", subject=subject)
    if error.errno in (_errno.ENOENT, _errno.ENOTDIR):
        return SourceNotFoundError(message, hint="check the path", subject=subject)
    if error.errno in (_errno.EACCES, _errno.EPERM):
        return AccessDeniedError(message, hint="check the permissions", subject=subject)
    if error.errno == _errno.EROFS:
        return ReadOnlyError(message, subject=subject)
    if error.errno == _errno.EEXIST:
        return AlreadyExistsError(message, subject=subject)
    if error.errno == _errno.ENAMETOOLONG:
        return NameTooLongError(message, subject=subject)
    if error.errno in (_errno.EBUSY, _errno.ETXTBSY, _errno.EAGAIN):
        return BusyError(message, subject=subject)
    return ArtifactFSError(message, subject=subject)
