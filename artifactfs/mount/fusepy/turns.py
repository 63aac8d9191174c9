"""libfuse's main loop with threads that take turns: one at a time asks the kernel, and answers what it is told.

libfuse's own loop has ten threads wait in read(2), and the kernel gives each request to the one that has slept longest:
two wake-ups and a hand-over of Python's lock for each, three times the processor time of answering. Here the thread
that has answered asks again. Only one that is going to wait for something (`give`), such as a disk, a network or the
end of a commit, hands its turn to another thread first, so that nobody else is held up.

libfuse says ENOENT when a file is to be opened whose name another got just after the kernel had found it there. The
kernel gets ESTALE instead, for which it looks the name up once more (do_filp_open in fs/namei.c).

Used by `bridge`, for staging directories.

Threading: `serve` in the main thread, which only waits; `give` in the thread that answers.

Source: lib/fuse_loop_mt.c, lib/helper.c and include/fuse_lowlevel.h of libfuse 2.9.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import threading
import time
from typing import Any, Final

from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.mountpoint import detach

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SPARE_THREADS: Final = 4
_ENDING_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.01
_POLLIN: Final = 1
_OPEN: Final = struct.pack("=I", 14)
"""FUSE_OPEN, as bytes 4 to 8 of a request have it. Source: fuse_in_header and fuse_opcode in linux/fuse.h."""
_ANSWER: Final = struct.Struct("=IiQ")
"""`struct fuse_out_header`: length, error, and the request's number."""
_ANSWER_LIMIT: Final = 4096


class _Poll(ctypes.Structure):
    """`struct pollfd`. Source: poll(2)."""

    _fields_ = (("descriptor", ctypes.c_int), ("events", ctypes.c_short), ("returned", ctypes.c_short))


class _Aside:
    """A channel of libfuse's that ends in a pipe: answers can be looked at, and changed. Belongs to a thread."""

    def __init__(self, library: Any, device: int) -> None:
        self._device = device
        self._reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        library.fuse_kern_chan_new.restype = ctypes.c_void_p
        self.channel = ctypes.c_void_p(library.fuse_kern_chan_new(writing))
        self._destroy = library.fuse_chan_destroy

    def hand_on(self) -> None:
        """Give the kernel what was answered, ESTALE for ENOENT."""
        try:
            answer = os.read(self._reading, _ANSWER_LIMIT)
            length, error, number = _ANSWER.unpack_from(answer)
            if error == -errno.ENOENT:
                answer = _ANSWER.pack(length, -errno.ESTALE, number)
            os.write(self._device, answer)
        except OSError:
            return  # nothing was answered, or nobody waits for it any more

    def close(self) -> None:
        """Close the pipe."""
        self._destroy(self.channel)
        os.close(self._reading)


class Turns:
    """The threads that serve one mount. Made before the mount; serves once."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting = 0
        self._own = threading.local()
        self._answering: set[int] = set()
        self._is_over = False
        self._ended = (-1, -1)
        self._library: Any = None
        self._session = 0
        self._channel = 0

    def give(self) -> None:
        """Let another thread ask meanwhile: this one is going to wait. Harmless when repeated, and in other threads."""
        if not getattr(self._own, "has_turn", False):
            return
        with self._guard:
            is_alone = self._waiting == 0
        if is_alone:
            try:
                self._start()
            except RuntimeError:
                return  # the system gives no thread now: then everybody waits
        self._own.has_turn = False
        self._turn.release()

    @property
    def request(self) -> bytes:
        """What the kernel asks of this thread just now; b"" when nothing."""
        length = getattr(self._own, "length", 0)
        return ctypes.string_at(self._own.buffer, length) if length else b""

    def serve(self, library: Any, arguments: tuple[Any, ...]) -> int:
        """Mount and serve until the mount is gone or a signal ends it; return 0, or 1 when it cannot be mounted.

        Args:
            library: libfuse 2.
            arguments: those of `fuse_main_real` but the last.
        """
        self._library = library
        if not self._mount(arguments):
            return 1
        self._ended = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # the threads inherit it: signals are this one's
        try:
            self._start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._await_end()
        self._finish(os.fsdecode(arguments[1][arguments[0] - 1]))
        return 0

    def _mount(self, arguments: tuple[Any, ...]) -> bool:
        library = self._library
        for name in ("fuse_setup", "fuse_get_session", "fuse_session_next_chan"):
            getattr(library, name).restype = ctypes.c_void_p
        library.fuse_chan_bufsize.restype = ctypes.c_size_t
        mountpoint, is_threaded = ctypes.c_void_p(), ctypes.c_int()
        made = library.fuse_setup(*arguments, ctypes.byref(mountpoint), ctypes.byref(is_threaded), None)
        if not made:
            return False
        self._session = library.fuse_get_session(ctypes.c_void_p(made))
        self._channel = library.fuse_session_next_chan(ctypes.c_void_p(self._session), None)
        return True

    def _start(self) -> None:
        threading.Thread(target=self._work, name="fuse", daemon=True).start()

    def _work(self) -> None:
        aside = _Aside(self._library, self._library.fuse_chan_fd(ctypes.c_void_p(self._channel)))
        try:
            self._ask_and_answer(aside)
        finally:
            aside.close()

    def _ask_and_answer(self, aside: _Aside) -> None:
        """Ask and answer, turn by turn, until the mount is gone or enough others wait for their turn."""
        own, answering, me = self._own, self._answering, threading.get_ident()
        receive, process = self._library.fuse_chan_recv, self._library.fuse_session_process
        size = self._library.fuse_chan_bufsize(ctypes.c_void_p(self._channel))
        buffer, room = ctypes.create_string_buffer(size), ctypes.c_size_t(size)
        session, channel = ctypes.c_void_p(self._session), ctypes.c_void_p(self._channel)
        own.has_turn = False
        own.buffer = buffer
        opcode = memoryview(buffer).cast("B")[4:8]
        while own.has_turn or self._take():
            length = receive(ctypes.byref(channel), buffer, room)
            if length == -errno.EINTR:
                continue
            if length <= 0:
                self._say_over()
                return
            own.length = length
            answering.add(me)
            if opcode == _OPEN:
                process(session, buffer, ctypes.c_size_t(length), aside.channel)
                aside.hand_on()
            else:
                process(session, buffer, ctypes.c_size_t(length), channel)
            answering.discard(me)

    def _take(self) -> bool:
        """Wait for a turn; return False when there will be none, or enough others wait."""
        with self._guard:
            if self._waiting >= _SPARE_THREADS:
                return False
            self._waiting += 1
        self._turn.acquire()
        with self._guard:
            self._waiting -= 1
        if self._is_over:
            self._turn.release()
            return False
        self._own.has_turn = True
        return True

    def _say_over(self) -> None:
        self._is_over = True
        self._own.has_turn = False
        self._turn.release()
        os.write(self._ended[1], b"x")

    def _await_end(self) -> None:
        """Wait until the mount is gone, or libfuse's own handler has noted a signal: only that interrupts poll(2)."""
        library, session = ctypes.CDLL(None), ctypes.c_void_p(self._session)
        look = _Poll(self._ended[0], _POLLIN, 0)
        while not self._is_over and not self._library.fuse_session_exited(session):
            library.poll(ctypes.byref(look), ctypes.c_ulong(1), ctypes.c_int(-1))

    def _finish(self, mountpoint: str) -> None:
        """Unmount, if a signal ended it, and wait for what is being answered."""
        if not self._is_over and find_mount(mountpoint) is not None:
            detach(mountpoint, lazy=True)
        deadline = time.monotonic() + _ENDING_SECONDS
        while self._answering and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
