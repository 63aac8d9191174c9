"""artifactfs: machine-learning artifacts as a file system, with versions, aliases and lineage.

import artifactfs
run = artifactfs.init()
artifact = artifactfs.Artifact("animals", type="dataset")
artifact.add_dir("images")
run.log_artifact(artifact)
"""

from artifactfs._version import __version__

__all__ = ["__version__"]
