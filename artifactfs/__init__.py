"""artifactfs: machine-learning artifacts as a file system, with versions, aliases and lineage.

    import artifactfs

    run = artifactfs.init()
    artifact = artifactfs.Artifact("animals", type="dataset")
    artifact.add_dir("images")
    run.log_artifact(artifact)

The names below are loaded when they are first used, because commands start with `import artifactfs`.
"""

from __future__ import annotations

from artifactfs._version import __version__

TYPE_CHECKING = False  # what type checkers take for typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from artifactfs.sdk import Api, Artifact, ArtifactEntry, Run, init

__all__ = ["Api", "Artifact", "ArtifactEntry", "Run", "__version__", "init"]


def __getattr__(name: str) -> object:
    """Return a name of the SDK, and keep it. Source: PEP 562."""
    if name not in __all__:
        msg = f"module 'artifactfs' has no attribute {name!r}"
        raise AttributeError(msg)
    from artifactfs import sdk  # noqa: PLC0415 (see above)

    found = globals()[name] = getattr(sdk, name)
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
