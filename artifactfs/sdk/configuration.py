"""What programs give as the configuration of a run, as JSON values by key.

Used by `starting` and `run.py`. Threading: functions without state.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from artifactfs.errors import UsageError
from artifactfs.repository import changes

if TYPE_CHECKING:
    from argparse import Namespace

    from artifactfs.runs.secrets import Masker

    Configuration: TypeAlias = Mapping[str, Any] | Namespace


def find_values(config: Configuration | None, masker: Masker) -> dict[str, Any]:
    """Return configuration as it is recorded, masked; of what argparse has parsed, too. Local paths become text.

    Raises:
        UsageError: it is neither, or a value is not JSON.
    """
    given: object = {} if config is None else vars(config) if _is_parsed(config) else config
    if not isinstance(given, Mapping):
        msg = f"a configuration has values by key, and this is {type(config).__name__!r}"
        raise UsageError(msg, hint="give a dict, or what argparse returns")
    values = {key: os.fsdecode(value) if isinstance(value, os.PathLike) else value for key, value in given.items()}
    return masker.mask_values(changes.check_metadata(values))


def _is_parsed(config: object) -> bool:
    argparse = sys.modules.get("argparse")  # a program without it has no result of it
    return argparse is not None and isinstance(config, argparse.Namespace)
