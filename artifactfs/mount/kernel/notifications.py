"""Notifications: what is told to the kernel unasked, as bytes.

Used by the supervisor (RESEND and INC_EPOCH, which do not wait) and the notifier (everything else).

Threading: pure functions.
Source: linux/fuse.h, `enum fuse_notify_code`; a notification is an answer with `unique` 0 and its code as error.
"""

from __future__ import annotations

from artifactfs.mount.kernel.codes import EXPIRE_ONLY, Notification
from artifactfs.mount.kernel.structures import NOTIFY_INVAL_ENTRY, NOTIFY_INVAL_INODE, OUT_HEADER


def _encode(code: Notification, body: bytes = b"") -> bytes:
    return OUT_HEADER.packer.pack(OUT_HEADER.size + len(body), code, 0) + body


def encode_resend() -> bytes:
    """Return RESEND: every request that was handed out and not answered is handed out again (7.40)."""
    return _encode(Notification.RESEND)


def encode_inc_epoch() -> bytes:
    """Return INC_EPOCH: every name is looked up afresh at its next use (7.44). What is mounted below is detached."""
    return _encode(Notification.INC_EPOCH)


def encode_inval_inode(node: int) -> bytes:
    """Return INVAL_INODE: attributes and all cached content of `node` are dropped (7.12).

    Content of a directory is its listing, of a symlink its target. The write fails with ENOENT when the kernel
    does not know the node, and can wait while a request on it is under way.
    """
    return _encode(Notification.INVAL_INODE, NOTIFY_INVAL_INODE.packer.pack(node, 0, 0))


def encode_expire_entry(parent: int, name: bytes) -> bytes:
    """Return INVAL_ENTRY with EXPIRE_ONLY: `name` is looked up afresh at its next use (7.38).

    Without EXPIRE_ONLY the kernel would detach what is mounted below and unhash who is inside.
    """
    body = NOTIFY_INVAL_ENTRY.packer.pack(parent, len(name), EXPIRE_ONLY) + name + b"\0"
    return _encode(Notification.INVAL_ENTRY, body)
