"""What fsspec's file systems can be asked to write, refused; also where fsspec would silently do nothing.

Used by `filesystem`. Threading: any.
"""

from __future__ import annotations

import errno
from typing import Any, NoReturn

from fsspec.spec import AbstractFileSystem


def refuse(path: str) -> NoReturn:
    """Say that nothing can be written at a path.

    Raises:
        OSError: always, EROFS.
    """
    msg = "versions never change: `artifactfs put` makes another, `artifactfs stage` a directory to change one in"
    raise OSError(errno.EROFS, msg, path)


class RefusingFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec is not typed
    """A file system to which nothing can be written. Any thread may use it."""

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> NoReturn:  # noqa: ARG002, FBT001, FBT002
        """Refuse.

        Raises:
            OSError: always, EROFS.
        """
        refuse(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        """Return if the directory is there and may be; refuse otherwise."""
        if not (exist_ok and self.isdir(path)):
            refuse(path)

    def rmdir(self, path: str) -> NoReturn:
        """Refuse."""
        refuse(path)

    def rm_file(self, path: str) -> NoReturn:
        """Refuse."""
        refuse(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> NoReturn:  # noqa: ARG002, FBT001, FBT002
        """Refuse."""
        refuse(str(path))

    def cp_file(self, path1: str, path2: str, **_: Any) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        refuse(path2)

    def mv(self, path1: str, path2: str, **_: Any) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        refuse(path1)

    def put_file(self, lpath: str, rpath: str, *_: Any, **__: Any) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        refuse(rpath)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        refuse(path)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> NoReturn:  # noqa: ARG002, FBT001, FBT002
        """Refuse."""
        refuse(path)
