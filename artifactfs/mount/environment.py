"""What servers are given of the environment of whoever starts them. Nothing here decides by it.

Used by `launch`, `spare` and `outside`. Threading: a function without state.
"""

from __future__ import annotations

import os
from typing import Final

RUN_VARIABLE: Final = "ARTIFACTFS_RUN"
"""Has the id of the run that a program is a part of. Servers do not have it: they are no part of one."""


def server_environment() -> dict[str, str]:
    """Return this process's environment for a server."""
    return {name: value for name, value in os.environ.items() if name != RUN_VARIABLE}
