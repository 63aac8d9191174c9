"""Imports go down only: every import of every module, those inside functions included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "artifactfs"
VALUES = {"errors", "clock", "digest", "filelocks", "paths", "variables", "model", "manifest", "storedpage"}

MAY_IMPORT: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "clock": {"errors"},
    "digest": {"errors"},
    "filelocks": set(),
    "paths": {"errors"},
    "variables": set(),
    "model": {"errors", "digest", "paths"},
    "manifest": {"errors", "digest", "paths", "model"},
    "storedpage": {"errors", "digest", "model", "manifest"},
    "user_directories": {"errors"},
    "settings": {"errors", "user_directories"},
    "places": VALUES | {"settings", "user_directories"},
    "credentials": VALUES | {"settings", "blobstore", "reference"},
    "blobstore": VALUES,
    "reference": VALUES | {"blobstore"},
    "staging": VALUES,
    "index": VALUES,
    "repository": VALUES | {"blobstore", "reference", "staging", "index"},
    "runs": VALUES | {"index", "repository", "blobstore"},
    "vfs": VALUES | {"staging", "index", "repository", "reference"},
    "mount": VALUES | {"blobstore", "vfs", "index", "repository", "runs", "reference", "staging", "places", "_version"},
    "interop": VALUES | {"_version", "blobstore", "reference", "index", "repository", "runs"},
    # The web page and the CSI plugin: they read the repository and its runs, send archives, and work with mounts.
    "serve": VALUES
    | {"_version", "places", "blobstore", "reference", "staging", "repository", "runs", "interop", "mount"},
    "sdk": VALUES
    | {"interop"}
    | {"places", "settings", "repository", "runs", "mount", "staging", "vfs", "_version"}
    | {"blobstore", "credentials", "reference"},
    "testing": VALUES | {"blobstore", "reference", "staging", "index", "repository", "runs", "vfs", "mount", "places"},
    "": {"_version", "sdk"},
}
ONLY_USER = {
    "lmdb": "index",
    "fuse": "mount",
    "click": "cli",
    "obstore": "blobstore",
    "starlette": "serve",
    "uvicorn": "serve",
    "grpc": "serve",
    "google": "serve",
}
READS_ENVIRONMENT = {"sdk"}
HANDS_ENVIRONMENT_ON = {"mount/environment.py"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def area_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported_names(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def violations(area: str, names: set[str]) -> list[str]:
    """Return the imports that a module of `area` may not make."""
    found = []
    for name in sorted(names):
        top, _, rest = name.partition(".")
        if top == "artifactfs":
            target = rest.split(".")[0]
            if target not in MAY_IMPORT[area] | {area}:
                found.append(f"{area or 'artifactfs'} imports {name}")
        elif top in ONLY_USER and ONLY_USER[top] != area:
            found.append(f"{area or 'artifactfs'} imports {top}, which is for {ONLY_USER[top]} alone")
        elif top == "artifactfs_cli":
            found.append(f"{area or 'artifactfs'} imports the command line")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_lies_below(path: Path) -> None:
    assert violations(area_of(path), imported_names(path)) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_sdk_reads_the_environment_and_nobody_prints(path: Path) -> None:
    if area_of(path) in READS_ENVIRONMENT or str(path.relative_to(PACKAGE)) in HANDS_ENVIRONMENT_ON:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in {"environ", "getenv", "environb"}, f"line {node.lineno} reads the environment"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno} prints"


def test_the_test_sees_an_import_that_goes_up() -> None:
    assert violations("blobstore", {"artifactfs.repository.log"})
    assert violations("vfs", {"artifactfs.mount.fusepy"})
    assert violations("repository", {"lmdb"})
    assert not violations("repository", {"artifactfs.blobstore.base", "os"})
