"""Where a user's files are by custom, and what a path that he wrote means.

Used by `places`, `settings` and the command line. Threading: functions without state.

Source: XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Final

from artifactfs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


APP: Final = "artifactfs"
_NEAR_URL: Final = re.compile(r"(s3|gs|az):/?([^/].*)", re.DOTALL | re.IGNORECASE)


def absolute_path(path: str, environ: Mapping[str, str], *, base: str = "") -> str:
    """Return a path that a user wrote as absolute one, relative to `base`; what is a URI stays one.

    Raises:
        ConfigurationError: see `find_location`.
    """
    if path == "~" or path.startswith("~/"):
        path = _home(environ) + path[1:]
    return find_location(path, base=base)


def find_location(text: str, *, base: str = "") -> str:
    """Return where a repository is that somebody names: a URL as it is, a local directory as an absolute path.

    Raises:
        ConfigurationError: it is a URL but for a slash, as `s3:/bucket`, and no local directory.
    """
    near = _NEAR_URL.fullmatch(text)
    path = text if "://" in text else os.path.abspath(os.path.join(base, text))
    if near is not None and not os.path.lexists(path):
        msg = f"{text!r} is no local directory, and a URL has two slashes"
        raise ConfigurationError(msg, hint=f"write {near[1].lower()}://{near[2]}", subject=text)
    return path


def _home(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(home):
        msg = "the home directory is not known"
        raise ConfigurationError(msg, hint="set HOME, or ARTIFACTFS_REPO and ARTIFACTFS_STATE")
    return home


_XDG: Final = {"config": ".config", "data": ".local/share", "state": ".local/state", "cache": ".cache"}


def user_directory(environ: Mapping[str, str], kind: str) -> str:
    """Return the directory of artifactfs for one kind of files of a user: config, data, state or cache."""
    chosen = environ.get(f"XDG_{kind.upper()}_HOME")
    if chosen and os.path.isabs(chosen):
        return os.path.join(chosen, APP)
    if sys.platform == "darwin":
        return _mac_directory(kind)
    return os.path.join(_home(environ), _XDG[kind], APP)


def _mac_directory(kind: str) -> str:
    import platformdirs  # noqa: PLC0415 (costs every command 10 ms, and Linux does not need it)

    folders = {
        "config": platformdirs.user_config_dir,
        "data": platformdirs.user_data_dir,
        "state": platformdirs.user_state_dir,
        "cache": platformdirs.user_cache_dir,
    }
    return folders[kind](APP, appauthor=False)
