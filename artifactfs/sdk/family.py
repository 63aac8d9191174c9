"""What an artifact was made from, and what was made from it.

Used by `artifact.py`. Threading: may be shared by threads once the artifact is logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactfs.errors import InvalidNameError, NotFoundError
from artifactfs.sdk import lineage
from artifactfs.sdk.details import ArtifactDetails

if TYPE_CHECKING:
    from artifactfs.sdk.artifact import Artifact
    from artifactfs.sdk.recorded import RecordedRun


class RelatedArtifact(ArtifactDetails):
    """Adds lineage; `Artifact` adds what is in it."""

    def logged_by(self) -> RecordedRun | None:
        """Return the run that made it, or None when none did, or one that is recorded in another repository.

        Raises:
            UsageError: it is a draft.
        """
        run, workspace = self.get_version("logged_by").run, self.get_workspace()
        try:
            return None if run is None else lineage.get_run(workspace, run)
        except (NotFoundError, InvalidNameError):
            return None

    def used_by(self) -> list[RecordedRun]:
        """Return the runs that read it, in no particular order.

        Raises:
            UsageError: it is a draft.
        """
        self.get_version("used_by")
        return lineage.find_runs(self.get_workspace(), self.name, "down")

    def ancestors(self) -> list[Artifact | RecordedRun]:
        """Return the runs and versions that it was made from, the nearest first; deleted versions are left out.

        Raises:
            UsageError: it is a draft.
        """
        self.get_version("ancestors")
        return lineage.find_all(self.get_workspace(), self.name, "up")

    def descendants(self) -> list[Artifact | RecordedRun]:
        """Return the runs and versions that were made from it, the nearest first; deleted versions are left out.

        Raises:
            UsageError: it is a draft.
        """
        self.get_version("descendants")
        return lineage.find_all(self.get_workspace(), self.name, "down")
