"""Where a user keeps what is his own about a repository: index, staging directories, what was seen of the logs.

Used by `repository` and `mount`, some of which needs nothing else of a repository. Threading: a pure function.
"""

from __future__ import annotations

import hashlib
import os


def find_state_directory(state: str, *, repository_id: str, location: str) -> str:
    """Return the directory under `state` for one repository at one place."""
    name = hashlib.sha256(f"{repository_id}\0{location}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return os.path.join(state, name)
