"""Which Python a command line runs: found by names and `pyvenv.cfg`, with nothing started."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifactfs.runs.interpreter import find_interpreter
from artifactfs.runs.machine import find_packages


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """Make a Python 3.12.4 of no kind that exists here, with a package."""
    prefix = tmp_path / "python-3.12.4-linux"
    make_program(prefix / "bin/python3.12", "binary")
    (prefix / "bin/python3").symlink_to("python3.12")
    (prefix / "lib/python3.12/site-packages/base-1.0.dist-info").mkdir(parents=True)
    return prefix


@pytest.fixture
def environment(installation: Path, tmp_path: Path) -> Path:
    """Make a virtual environment of it, with another package."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(installation / "bin/python3")
    (folder / "pyvenv.cfg").write_text(f"home = {installation}/bin\nversion = 3.12.4\n")
    (folder / "lib/python3.12/site-packages/Own_Package-2.5.dist-info").mkdir(parents=True)
    return folder


def make_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def find(*command: str, directory: Path | None = None, **environ: str) -> tuple[str, tuple[str, ...]] | None:
    found = find_interpreter(command, {"PATH": "/nowhere", **environ}, str(directory or "/"))
    return None if found is None else (found.python, find_packages(found.path))


VENV = ("CPython 3.12.4", ("own-package==2.5",))


def test_a_virtual_environment(environment: Path, tmp_path: Path) -> None:
    assert find(f"{environment}/bin/python", "train.py") == VENV
    assert find("python", "train.py", PATH=f"{environment}/bin") == VENV
    assert find("bin/python", directory=environment) == VENV
    (tmp_path / "more/there-3.dist-info").mkdir(parents=True)
    assert find(f"{environment}/bin/python", PYTHONPATH=f"{tmp_path}/more") == (VENV[0], (*VENV[1], "there==3"))
    with (environment / "pyvenv.cfg").open("a") as file:
        file.write("include-system-site-packages = true\n")
    assert find(f"{environment}/bin/python") == (VENV[0], ("base==1.0", *VENV[1]))


def test_scripts_lead_to_their_interpreter(environment: Path, tmp_path: Path) -> None:
    python = f"{environment}/bin/python"
    assert find(str(make_program(tmp_path / "one", f"#!{python} -u\n"))) == VENV
    assert find(str(make_program(tmp_path / "two", "#!/usr/bin/env python\n")), PATH=f"{environment}/bin") == VENV
    assert (
        find(str(make_program(tmp_path / "three", "#!/usr/bin/env -S python -u\n")), PATH=f"{environment}/bin") == VENV
    )
    long = f"#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n"
    assert find(str(make_program(tmp_path / "four", long))) == VENV
    assert find("/usr/bin/env", "A=1", python, "x.py") == VENV


def test_an_installation_and_its_user(installation: Path, tmp_path: Path) -> None:
    assert find(f"{installation}/bin/python3") == ("CPython 3.12.4", ("base==1.0",))
    (tmp_path / ".local/lib/python3.12/site-packages/mine-1.dist-info").mkdir(parents=True)
    assert find(f"{installation}/bin/python3", HOME=str(tmp_path)) == ("CPython 3.12.4", ("base==1.0", "mine==1"))
    assert find(f"{installation}/bin/python3", HOME=str(tmp_path), PYTHONNOUSERSITE="1") == (
        "CPython 3.12.4",
        ("base==1.0",),
    )


def test_pyenv_says_which_by_its_files(installation: Path, tmp_path: Path) -> None:
    root = tmp_path / "pyenv"
    make_program(root / "shims/python3", "#!/bin/sh\n")
    (root / "versions").mkdir()
    installation.rename(root / "versions/3.12.4")
    (root / "version").write_text("3.12.4\n")
    found = ("CPython 3.12.4", ("base==1.0",))
    assert find("python3", PATH=f"{root}/shims") == found
    (tmp_path / ".python-version").write_text("3.9.1\n")
    (tmp_path / "sub").mkdir()
    assert find("python3", PATH=f"{root}/shims", directory=tmp_path / "sub") is None
    assert find("python3", PATH=f"{root}/shims", directory=tmp_path / "sub", PYENV_VERSION="3.12.4") == found


def test_other_programs_have_none(tmp_path: Path) -> None:
    assert find("/bin/sh", "-c", "python x.py") is None
    assert find("nothing") is None
    assert find(str(make_program(tmp_path / "loop", f"#!{tmp_path}/loop\n"))) is None
    assert find(str(make_program(tmp_path / "empty", "#!\n"))) is None
    (tmp_path / "python").mkdir()
    assert find(f"{tmp_path}/python") is None
