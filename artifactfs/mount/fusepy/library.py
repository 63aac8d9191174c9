"""Loading fusepy and libfuse 2, with errors that say what to install.

Used by the modules beside this one, which import `fuse` through it only.

Threading: importing happens once, in the process that serves.
"""

from __future__ import annotations

import ctypes.util
import importlib
from types import ModuleType

from artifactfs.errors import MountError

MEND_LIBRARY = "install libfuse 2: apt-get install libfuse2 (Debian 13 and later: libfuse2t64)"
MEND_FUSEPY = "install fusepy: pip install fusepy (and remove other packages that bring a module called fuse)"


def load_fuse() -> ModuleType:
    """Return fusepy's module.

    Raises:
        MountError: fusepy or libfuse 2 is missing, or another package's `fuse` is in the way.
    """
    try:
        module = importlib.import_module("fuse")
    except ImportError as error:
        msg = "the Python package fusepy is missing"
        raise MountError(msg, hint=MEND_FUSEPY) from error
    except OSError as error:
        # fusepy raises EnvironmentError where ctypes finds no library.
        msg = f"libfuse 2 cannot be loaded: {error}"
        raise MountError(msg, hint=MEND_LIBRARY) from error
    if not hasattr(module, "fuse_operations"):
        msg = f"the module fuse in {getattr(module, '__file__', '?')} is not fusepy"
        raise MountError(msg, hint=MEND_FUSEPY)
    return module


def find_libfuse() -> str | None:
    """Return the name of the installed libfuse 2, or None. Does not load it."""
    return ctypes.util.find_library("fuse")
