"""Beginning a staging directory anew when all of it was committed.

Used by the servers of staging directories, by either driver.

Threading: a function without state.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from artifactfs.errors import ArtifactFSError

if TYPE_CHECKING:
    from artifactfs.repository.staging import Staging, StagingArea

_log = logging.getLogger(__name__)


def renew(area: StagingArea, staging: Staging) -> Staging:
    """Begin with an empty upper directory if all was committed; what cannot be renewed is served as it is."""
    try:
        return area.renew(staging)
    except ArtifactFSError as error:
        _log.warning("%s goes on over %s: %s", staging, staging.info.base, error)
        return staging
