"""What a run ran with: software and hardware, as far as a user would ask later. Nothing is started to find it out.

The description is the same for many runs, so it is stored once, under its digest.

Used when a run begins. Threading: functions without state.

Source: proc(5); `/proc/driver/nvidia` of NVIDIA's driver; cgroups(7).
"""

from __future__ import annotations

import glob
import os
import platform
import re
import sys
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PACKAGE = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+?)(?:-py[0-9.]+)?\.(?:dist-info|egg-info)")
_CONTAINER_ID = re.compile(r"[/-]([0-9a-f]{64})(?:\.scope|/|$)")
RECORDED: Final = frozenset({
    "ARTIFACTFS_MOUNT", "CONDA_DEFAULT_ENV", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "KUBERNETES_NAMESPACE",
    "LANG", "LC_ALL", "LOCAL_RANK", "MKL_NUM_THREADS", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONHASHSEED",
    "PYTHONPATH", "RANK", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_NODELIST", "SLURM_PROCID",
    "TF_CPP_MIN_LOG_LEVEL", "TZ", "VIRTUAL_ENV", "WORLD_SIZE",
})  # fmt: skip
"""The environment variables that are recorded, masked. All others are not: nobody knows what they hold."""


class Environment(Struct, frozen=True, omit_defaults=True):
    """Software and hardware.

    Attributes:
        python: version and implementation, as in `CPython 3.11.2`; empty when the run is no Python program.
        packages: the packages that Python can import, each `name==version`, in order.
        system: the operating system with its version.
        architecture: such as `x86_64`.
        cpu: the processor's name.
        cpu_count: processors that the process may use.
        memory: bytes of memory that it may use.
        gpus: the names of graphics processors.
        container: such as `docker`; empty outside of one.
        container_id: the container's id, where it can be seen.
        artifactfs: the release that recorded the run.
    """

    python: str = ""
    packages: tuple[str, ...] = ()
    system: str = ""
    architecture: str = ""
    cpu: str = ""
    cpu_count: int = 0
    memory: int = 0
    gpus: tuple[str, ...] = ()
    container: str = ""
    container_id: str = ""
    artifactfs: str = ""


def describe_environment(
    environ: Mapping[str, str], *, release: str, path: Iterable[str] | None = None, python: str = ""
) -> Environment:
    """Return what this process runs with.

    Args:
        environ: the environment.
        release: of artifactfs.
        path: where Python looks for packages; None when the run is no Python program.
        python: which that is; empty for the one that runs here.
    """
    container, container_id = find_container(environ)
    here = f"{platform.python_implementation()} {platform.python_version()}"
    return Environment(
        python="" if path is None else python or here,
        packages=() if path is None else find_packages(path),
        system=_find_system(),
        architecture=os.uname().machine,
        cpu=_find_field("/proc/cpuinfo", "model name"),
        cpu_count=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 0,
        memory=_find_memory(),
        gpus=_find_gpus(),
        container=container,
        container_id=container_id,
        artifactfs=release,
    )


def find_packages(path: Iterable[str]) -> tuple[str, ...]:
    """Return installed packages, each `name==version`, in order; what is found first on `path` counts.

    The names of `.dist-info` directories say it; reading the files in them would take most of a second.
    """
    found: dict[str, str] = {}
    for folder in path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            match = _PACKAGE.fullmatch(name)
            if match:
                found.setdefault(match["name"].replace("_", "-").lower(), match["version"])
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


def choose_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that are recorded; they are still to be masked."""
    return {name: value for name, value in sorted(environ.items()) if name in RECORDED}


def find_container(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return what kind of container this is, and its id; empty texts for what is not known."""
    kind = ""
    if "KUBERNETES_SERVICE_HOST" in environ:
        kind = "kubernetes"
    elif os.path.exists("/run/.containerenv"):
        kind = "podman"
    elif os.path.exists("/.dockerenv"):
        kind = "docker"
    elif "APPTAINER_CONTAINER" in environ or "SINGULARITY_CONTAINER" in environ:
        kind = "apptainer"
    match = _CONTAINER_ID.search(_read("/proc/self/cgroup")) if kind else None
    return kind, match[1] if match else ""


def _find_system() -> str:
    text = _read("/etc/os-release")
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', text, re.MULTILINE)
    uname = os.uname()
    kernel = f"{uname.sysname} {uname.release}"
    return f"{match[1]}, {kernel}" if match else kernel


def _find_memory() -> int:
    """Return the bytes that the machine has, or fewer where a control group allows fewer."""
    text = _find_field("/proc/meminfo", "MemTotal").split()
    total = int(text[0]) * 1024 if text else 0
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(total, int(limit)) if limit.isdigit() and total else total


def _find_gpus() -> tuple[str, ...]:
    named = sorted(glob.glob("/proc/driver/nvidia/gpus/*/information"))
    found = [_find_field(path, "Model") for path in named]
    found += [_read(path).strip() for path in sorted(glob.glob("/sys/class/drm/card*/device/product_name"))]
    return tuple(name for name in found if name)


def _find_field(path: str, name: str) -> str:
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", _read(path), re.MULTILINE)
    return match[1].strip() if match else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
