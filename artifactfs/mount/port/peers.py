"""Who is at the other end of a socket, and what the kernel lets that user do to a directory.

Used by `work`. Threading: `may_access` forks, so its process must have one thread.

Source: unix(7), SO_PEERCRED; socket(7), SO_PEERGROUPS.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Final

from artifactfs.errors import AccessDeniedError

_SO_PEERGROUPS: Final = 59
_GROUP_LIMIT: Final = 65536
_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """The user at the other end, as this process's user namespace numbers it.

    Attributes:
        uid, gid: effective when it connected.
        groups: supplementary.
        pid: the process that connected, as this process's namespace numbers it; 0 when it cannot be seen from here.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    pid: int = 0

    @property
    def name(self) -> str:
        """Its login name here; its number when it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def read_peer(connection: socket.socket) -> Peer:
    """Return who is at the other end.

    Raises:
        AccessDeniedError: the kernel does not tell.
    """
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        groups = _read_groups(connection)
    except OSError as error:
        msg = f"who asks cannot be found out: {error.strerror}"
        raise AccessDeniedError(msg) from error
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return Peer(uid, gid, groups, pid)


def _read_groups(connection: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups of the other end; Python's own getsockopt takes no more than 256 of them."""
    groups = (ctypes.c_uint32 * _GROUP_LIMIT)()
    size = ctypes.c_uint32(ctypes.sizeof(groups))
    library = ctypes.CDLL(None, use_errno=True)
    where = (socket.SOL_SOCKET, _SO_PEERGROUPS)
    if library.getsockopt(connection.fileno(), *where, ctypes.byref(groups), ctypes.byref(size)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return tuple(groups[: size.value // ctypes.sizeof(ctypes.c_uint32)])


def may_access(peer: Peer, directory: int, mode: int) -> bool:
    """Return whether the kernel lets a user do something to a directory: it is asked in that user's name.

    Args:
        peer: the user.
        directory: a descriptor; the directories above it do not matter.
        mode: of access(2).

    Raises:
        OSError: EROFS for a read-only file system.
    """
    child = os.fork()
    if child == 0:
        os._exit(_ask(peer, directory, mode))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == errno.EROFS:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    return status == 0


def _ask(peer: Peer, directory: int, mode: int) -> int:
    """Become a user and ask; return 0 or an errno. Ends the caller's privileges: only for a child."""
    try:
        os.fchdir(directory)
        if peer.uid != os.geteuid():
            os.setgroups(peer.groups)
            os.setresgid(peer.gid, peer.gid, peer.gid)
            os.setresuid(peer.uid, peer.uid, peer.uid)
        # Of a read-only file system access(2) says nothing but that: permissions first.
        if not os.access(".", mode & ~os.W_OK):
            return errno.EACCES
        if mode & os.W_OK and not os.access(".", os.W_OK):
            is_frozen = os.fstatvfs(directory).f_flag & os.ST_RDONLY
            return errno.EROFS if is_frozen else errno.EACCES
    except OSError:
        return errno.EACCES
    return 0
