"""Environment variables by which processes of artifactfs know of each other.

Used by everything above. Threading: constants.
"""

from __future__ import annotations

from typing import Final

RUN_VARIABLE: Final = "ARTIFACTFS_RUN"
"""Has the id of the run that a program is a part of. Servers do not have it: they are no part of one."""
