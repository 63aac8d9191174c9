"""The process that starts or ends the server of a staging directory for a program in another mount namespace.

It begins in the namespace of the repository's mount, and is run by `outside`. Threading: one thread.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from artifactfs.errors import ArtifactFSError, MountError
from artifactfs.mount.control import encode_error
from artifactfs.mount.mountinfo import find_mount
from artifactfs.mount.orders import REPOSITORY, Order
from artifactfs.mount.staging_mounts import StagingKey, attach, release
from artifactfs.mount.syscalls import clone_mount, enter_namespace, move_mount


def main(text: str) -> dict[str, Any]:
    """Do what is asked; return the answer."""
    asked = json.loads(text)
    directories = {name: asked[name] for name in ("repository", "state", "cache", "runtime")}
    places = Order(kind=REPOSITORY, mountpoint="", **directories)
    key = StagingKey(asked["repository_id"], asked["collection"], asked["name"])
    try:
        if asked["do"] == "release":
            release(places, key)
            return {"path": None}
        path = attach(places, key, author=asked["author"])
        _show(key.own_mountpoint(places), *asked["here"])
    except ArtifactFSError as error:
        return encode_error(error)
    except OSError as error:
        return encode_error(MountError(f"a staging directory cannot be shown to the run: {error.strerror}"))
    return {"path": path}


def _show(own: str, namespace: int, root: int) -> None:
    """Show a mount in another namespace at the same place, unless it is there."""
    if find_mount(own) is None:
        return
    tree = clone_mount(own)
    try:
        enter_namespace(namespace, root)
        if find_mount(own) is None:
            move_mount(tree, own)
    finally:
        os.close(tree)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
