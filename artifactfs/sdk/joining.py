"""Being a part of the run of `artifactfs run`: what a program says of it completes what the command line said.

Used by `starting`. Threading: functions without state.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

from artifactfs._version import __version__
from artifactfs.errors import ArtifactFSError
from artifactfs.runs.events import Started
from artifactfs.runs.machine import describe_environment
from artifactfs.runs.state import GIVEN
from artifactfs.sdk.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactfs.runs.state import RunState
    from artifactfs.sdk.workspace import Workspace

_CALLERS: Final = 3
"""The caller of `init` is named in a warning: two functions above the one here."""


def join_run(workspace: Workspace, state: RunState, given: Mapping[str, Any]) -> Run:
    """Return the run that this process is a part of, after recording what it was not given yet.

    What the command line gave stays. A text that another program of the run has given stays, too; its configuration is
    replaced.

    Args:
        workspace: where it is recorded.
        state: of the run.
        given: name, job_type, project, notes, tags and config, masked.

    Raises:
        StorageFullError, ArtifactFSError: it could not be recorded.
    """
    texts = {name: given[name] for name in GIVEN if given[name] and not getattr(state, name)}
    differing = [name for name in GIVEN if given[name] and getattr(state, name) not in ("", given[name])]
    tags = tuple(tag for tag in given["tags"] if tag not in state.tags)
    fixed = _find_fixed(workspace, state.id) if given["config"] else {}
    differing += [f"config[{key!r}]" for key, value in given["config"].items() if fixed.get(key, value) != value]
    config = {key: value for key, value in given["config"].items() if key not in fixed}
    if differing:
        text = f"{', '.join(differing)} given to init() differ from what the run {state.id} has, which stays"
        warnings.warn(text, UserWarning, stacklevel=_CALLERS)
    environment = _find_environment(workspace, state)
    if config or tags or texts or environment:
        workspace.runs.configure(state.id, config, tags=tags, environment=environment, **texts)
        state = workspace.runs.get_run(state.id)
    return Run(workspace, state, lease_ns=None)


def _find_environment(workspace: Workspace, state: RunState) -> str:
    """Return the digest of what this program runs with, if the command line did not say which Python that is."""
    runs, digest = workspace.runs, state.circumstances.environment
    try:
        if digest and runs.get_environment(digest).python:
            return ""
    except ArtifactFSError:
        return ""  # damaged: that is told to whoever looks at it
    return runs.keep_environment(describe_environment(os.environ, release=__version__, path=sys.path))


def _find_fixed(workspace: Workspace, run: str) -> dict[str, Any]:
    """Return the configuration of the command line."""
    first = next(workspace.runs.iter_events(run))
    return first.config if isinstance(first, Started) else {}
