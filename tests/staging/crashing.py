"""Processes that die at any step: the n-th change to the disk, and every later one, does not happen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from artifactfs.staging import marks

CHANGES = (
    "rename",
    "replace",
    "unlink",
    "rmdir",
    "mkdir",
    "link",
    "symlink",
    "mknod",
    "setxattr",
    "chmod",
    "fchmod",
    "utime",
    "truncate",
    "ftruncate",
    "pwrite",
    "write",
)


class Crash(BaseException):
    """The process was killed."""


@contextmanager
def crashing(at: int) -> Iterator[list[str]]:
    """Let change number `at`, from 0, and all later ones raise `Crash`; yield the names of those that happened."""
    done: list[str] = []
    dead = False

    def wrap(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **kwargs: object) -> object:
            nonlocal dead
            if dead or len(done) >= at:
                dead = True
                raise Crash(name)
            done.append(name)
            return real(*args, **kwargs)

        return change

    with pytest.MonkeyPatch.context() as patched:
        for name in CHANGES:
            patched.setattr(os, name, wrap(name, getattr(os, name)))
        patched.setattr(marks, "_rename_with", wrap("renameat2", marks._rename_with))
        yield done


def each_crash(action: Callable[[], object], *, limit: int = 2000) -> Iterator[int]:
    """Do something until it gets through, each time killed one step later; yield after each death.

    The caller puts everything back between.
    """
    for at in range(limit):
        try:
            with crashing(at):
                action()
        except Crash:
            yield at
        else:
            return
    msg = f"still not through after {limit} steps"
    raise AssertionError(msg)
