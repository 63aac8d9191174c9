"""What servers are given of the environment of whoever starts them. Nothing here decides by it.

Used by `launch`, `spare` and `outside`. Threading: a function without state.
"""

from __future__ import annotations

import os

from artifactfs.variables import RUN_VARIABLE


def server_environment() -> dict[str, str]:
    """Return this process's environment for a server."""
    return {name: value for name, value in os.environ.items() if name != RUN_VARIABLE}
