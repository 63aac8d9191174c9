"""Which Python a command line runs, and where that looks for packages: read from names and `pyvenv.cfg`.

Nothing is started to find it out. What a shell script or a launcher starts is not looked for; `#!` and env(1) are
followed.

Used when a run begins. Threading: functions without state.

Source: execve(2), "Interpreter scripts"; `Modules/getpath.py` and `Lib/site.py` of CPython; PEP 405.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = re.compile(r"(?P<kind>python|pypy)(?P<version>[0-9.]*)t?")
_VERSION = re.compile(r"[0-9]+\.[0-9]+(?:\.[0-9]+)?")
_IN_PATH = re.compile(r"[-/@]([0-9]+\.[0-9]+\.[0-9]+)(?=[-+/])")
_EXEC: Final = re.compile(rb"'''exec' \"?([^\"\s]+)")
"""What pip writes below `#!/bin/sh` where a path is too long for the first line."""
_STEPS: Final = 4
_HEAD: Final = 1024


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python.

    Attributes:
        python: implementation and version, as in `CPython 3.11.2`; the patch level is left out where nothing says it.
        path: directories in which it looks for packages, the first first.
    """

    python: str
    path: tuple[str, ...]


def find_interpreter(command: Sequence[str], environ: Mapping[str, str], directory: str) -> Interpreter | None:
    """Return the Python that a command line starts; None for another program, or when it cannot be seen.

    Args:
        command: program and arguments.
        environ: the environment that the program gets.
        directory: its working directory.
    """
    program, words = command[0], list(command[1:])
    for _ in range(_STEPS):
        found = shutil.which(os.path.join(directory, program) if "/" in program else program, path=environ.get("PATH"))
        if found is None:
            return None
        found = _follow_shim(os.path.abspath(found), environ, directory)
        if _NAME.fullmatch(os.path.basename(found)):
            return _describe(found, environ, directory)
        if os.path.basename(found) == "env":
            words = [word for word in words[words[:1] == ["-S"] :] if "=" not in word]
        else:
            words = _read_first_words(found)
        if not words:
            return None
        program, words = words[0], words[1:]
    return None


def _follow_shim(path: str, environ: Mapping[str, str], directory: str) -> str:
    """Return the program that a script of pyenv stands for; any other path as it is.

    Source: "Understanding Python version selection" in the README of pyenv.
    """
    root, shims, name = path.rpartition("/shims/")
    if not shims or not os.path.isdir(os.path.join(root, "versions")):
        return path
    folders = [directory]
    while folders[-1] not in ("", "/"):
        folders.append(os.path.dirname(folders[-1]))
    chosen = environ.get("PYENV_VERSION", "")
    for file in (*(os.path.join(folder, ".python-version") for folder in folders), os.path.join(root, "version")):
        chosen = chosen or _read(file)
    version = chosen.replace(":", " ").split()[:1]
    found = os.path.join(root, "versions", *version, "bin", name)
    return found if version and os.path.isfile(found) else path


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_HEAD)
    except OSError:
        return ""


def _read_first_words(path: str) -> list[str]:
    """Return the interpreter that a script names, with its arguments; [] for what is no script."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return []
    match = _EXEC.search(head) if head.startswith(b"#!/bin/sh") else None
    if match is not None:
        return [os.fsdecode(match[1])]
    return os.fsdecode(head.partition(b"\n")[0][2:]).split() if head.startswith(b"#!") else []


def _describe(executable: str, environ: Mapping[str, str], directory: str) -> Interpreter | None:
    settings = _read_settings(executable)
    base = os.path.realpath(executable)
    kind = "pypy" if os.path.basename(base).startswith("pypy") else "python"
    version = _find_version(base, settings)
    if version is None:
        return None
    name = f"{kind}{'.'.join(version.split('.')[:2])}"
    path = [os.path.join(directory, folder) for folder in environ.get("PYTHONPATH", "").split(":") if folder]
    if settings is not None:
        path.append(os.path.join(settings["prefix"], "lib", name, "site-packages"))
    if settings is None or settings.get("include-system-site-packages", "").lower() == "true":
        path += _find_system_path(os.path.dirname(os.path.dirname(base)), name, environ)
    return Interpreter(f"{'PyPy' if kind == 'pypy' else 'CPython'} {version}", tuple(path))


def _read_settings(executable: str) -> dict[str, str] | None:
    """Return what `pyvenv.cfg` says, and the environment's directory as `prefix`; None outside of one."""
    folder = os.path.dirname(executable)
    for prefix in (folder, os.path.dirname(folder)):
        text = _read(os.path.join(prefix, "pyvenv.cfg"))
        if not text:
            continue
        pairs = [line.partition("=")[::2] for line in text.splitlines()]
        return {**{key.strip().lower(): value.strip() for key, value in pairs}, "prefix": prefix}
    return None


def _find_version(base: str, settings: Mapping[str, str] | None) -> str | None:
    """Return the version of an executable, as exactly as anything says it."""
    if base == os.path.realpath(sys.executable) and not os.path.basename(base).startswith("pypy"):
        return platform.python_version()
    prefix = os.path.dirname(os.path.dirname(base))
    named = _NAME.fullmatch(os.path.basename(base))
    libraries = [os.path.basename(each) for each in glob.glob(os.path.join(prefix, "lib", "python[0-9]*.[0-9]*"))]
    conda = [os.path.basename(each) for each in glob.glob(os.path.join(prefix, "conda-meta", "python-[0-9]*.json"))]
    said = [
        *((settings.get("version", ""), settings.get("version_info", "")) if settings is not None else ()),
        *(each.removeprefix("python-").partition("-")[0] for each in conda),
        *(match[1] for match in _IN_PATH.finditer(base)),
        named["version"] if named is not None else "",
        *(each.removeprefix("python").removesuffix("t") for each in libraries if len(libraries) == 1),
    ]
    matches = (_VERSION.match(text) for text in said)
    return next((match[0] for match in matches if match), None)


def _find_system_path(prefix: str, name: str, environ: Mapping[str, str]) -> list[str]:
    """Return the directories of an installation: the user's, its own, and those that Debian adds."""
    home = "" if environ.get("PYTHONNOUSERSITE") else environ.get("HOME", "")
    user = [os.path.join(home, ".local", "lib", name, "site-packages")] if home else []
    own = [os.path.join(prefix, lib, name, "site-packages") for lib in ("lib", "lib64")]
    if prefix != "/usr":
        return [*user, *own]
    return [*user, f"/usr/local/lib/{name}/dist-packages", *own, "/usr/lib/python3/dist-packages"]
