"""The Python interface: `init`, `Artifact`, `Run`, `Api`.

    import artifactfs

    run = artifactfs.init()
    artifact = artifactfs.Artifact("animals", type="dataset")
    artifact.add_dir("images")
    run.log_artifact(artifact)

Reads the environment, as the command line does. Threading: see the classes.
"""

from artifactfs.sdk.api import Api
from artifactfs.sdk.artifact import Artifact
from artifactfs.sdk.entry import ArtifactEntry
from artifactfs.sdk.run import Run
from artifactfs.sdk.starting import init

__all__ = ["Api", "Artifact", "ArtifactEntry", "Run", "init"]
