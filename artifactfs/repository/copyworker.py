"""Copies small files out of packs into a directory: a program of its own, which imports next to nothing.

    python -I -S copyworker.py CHANNEL ROOT WORK LOCK NAME

The arguments are descriptors (a SOCK_SEQPACKET socket, the destination, its work directory, and the lock of whoever
writes there, which lasts as long as any of them) and the name of a directory for temporary files that it makes in the
work directory: workers would wait for each other in one. A message is a `Job`, with the descriptors of its packs; the
answer is `Done`. At the end of the socket it exits with 0.

Started by `copyworkers`. Threading: one thread. The process has no umask, so that files are made with their bits.

Source: copy_file_range(2), unix(7).
"""

from __future__ import annotations

import errno
import marshal
import os
import signal
import socket
import sys

# Job: (names of the directories that lead there, files); a file is
# (name, permission bits, time in ns, number of its pack among the descriptors, offset in it, size).
# Done: (files that are complete, errno of the next one or 0).
File = tuple[bytes, int, int, int, int, int]
Job = tuple[list[bytes], list[File]]
Done = tuple[int, int]

MESSAGE_LIMIT = 1 << 15
"""Bytes. Less than any system keeps for a socket that has not been told otherwise."""
PACKS_LIMIT = 64
"""Descriptors in a message; the system takes 253. Source: linux/net/scm.h, SCM_MAX_FD."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CANNOT = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM)


class Copier:
    """Makes files in a destination. Belongs to one thread."""

    def __init__(self, root: int, work: int) -> None:
        self._root, self._work = root, work
        self._number = 0
        self._kept: set[int] = set()
        self._can_copy_range = hasattr(os, "copy_file_range")

    def copy_all(self, names: list[bytes], files: list[File], packs: list[int]) -> Done:
        """Make files in one directory; stop at the first that cannot be made."""
        count, parent = 0, -1
        try:
            parent = os.dup(self._root)
            for name in names:
                below = os.open(name, _DIRECTORY, dir_fd=parent)
                os.close(parent)
                parent = below
            for file in files:
                self._copy(parent, file, packs)
                count += 1
        except OSError as error:
            return count, error.errno or errno.EIO
        finally:
            if parent >= 0:
                os.close(parent)
        return count, 0

    def _copy(self, parent: int, file: File, packs: list[int]) -> None:
        """Make one file under a temporary name; it appears when it is complete."""
        name, mode, mtime_ns, pack, offset, size = file
        self._number += 1
        temporary = f"{self._number}.new"
        target = os.open(temporary, _NEW_FILE, mode, dir_fd=self._work)
        try:
            try:
                self._fill(target, packs[pack], offset, size)
                if mode not in self._kept:
                    self._set_bits(target, mode)
                os.utime(target, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(target)
            os.rename(temporary, name, src_dir_fd=self._work, dst_dir_fd=parent)
        except BaseException:
            os.unlink(temporary, dir_fd=self._work)
            raise

    def _set_bits(self, target: int, mode: int) -> None:
        """Give a new file its bits where an access list, which the work directory has from above, took some away."""
        if os.fstat(target).st_mode & 0o7777 == mode:
            self._kept.add(mode)
        else:
            os.fchmod(target, mode)

    def _fill(self, target: int, pack: int, offset: int, size: int) -> None:
        done = 0
        while done < size:
            count = self._copy_some(target, pack, offset + done, size - done)
            if not count:
                raise OSError(errno.EIO, "the pack ends too early")
            done += count

    def _copy_some(self, target: int, pack: int, offset: int, size: int) -> int:
        if self._can_copy_range:
            try:
                return os.copy_file_range(pack, target, size, offset)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._can_copy_range = False
        return os.write(target, os.pread(pack, size, offset))


def main(arguments: list[str]) -> int:
    """Answer jobs until there are no more."""
    descriptor, root, work = (int(word) for word in arguments[:3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever gives jobs says when to end
    os.umask(0)
    os.mkdir(arguments[4], 0o700, dir_fd=work)
    copier = Copier(root, os.open(arguments[4], _DIRECTORY, dir_fd=work))
    with socket.socket(fileno=descriptor) as channel:
        while True:
            message, packs, _, _ = socket.recv_fds(channel, MESSAGE_LIMIT, PACKS_LIMIT)
            if not message:
                return 0
            names, files = marshal.loads(message)  # noqa: S302 (of the process that started this one)
            done = copier.copy_all(names, files, packs)
            for pack in packs:
                os.close(pack)
            channel.send(marshal.dumps(done))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError:  # whoever gave jobs is gone
        sys.exit(1)
