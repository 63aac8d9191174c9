"""How long a pod's volume takes to be published and unpublished: `python -m tests.bench.csi [--volumes N] [--pause S]`.

The plugin runs as a process with the mount's server beside it; calls go over its socket, as kubelet's do.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from artifactfs.repository.repository import open_repository
from tests.containers.support import Host
from tests.containers.test_csi import Plugin
from tests.mount.conftest import Folders, make_tree, put


def measure(plugin: Plugin, count: int, pause_seconds: float, **attributes: str) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each publish and unpublish."""
    published, unpublished = [], []
    for number in range(count):
        name = f"{'-'.join(attributes.values())}-{number}"
        time.sleep(pause_seconds)
        begun = time.perf_counter()
        target = plugin.publish(name, **attributes)
        published.append((time.perf_counter() - begun) * 1e3)
        assert (target / "README").read_text() == "hello\n"
        begun = time.perf_counter()
        plugin.unpublish(name)
        unpublished.append((time.perf_counter() - begun) * 1e3)
    return published, unpublished


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--volumes", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds before each volume")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        top = Path(name)
        folders = Folders(*(str(top / folder) for folder in ("repository", "state", "cache", "runtime")))
        (top / "runtime").mkdir(mode=0o700)
        (top / "source").mkdir()
        make_tree(top / "source")
        with open_repository(folders.repository, state=folders.state, author="bench", create=True) as repository:
            put(repository, top / "source")
        host = Host(folders, top)
        try:
            plugin = Plugin(host)
            plugin.start()
            print("| volume | published, median (ms) | slowest | unpublished, median (ms) |")
            print("|---|---|---|---|")
            for label, attributes in (("ro", {}), ("ro, pin", {"pin": "true"}), ("staging", {"mode": "staging"})):
                there, gone = measure(plugin, options.volumes, options.pause, **attributes)
                print(
                    f"| {label} | {statistics.median(there):.0f} | {max(there):.0f} | {statistics.median(gone):.0f} |",
                    flush=True,
                )
            plugin.end()
        finally:
            host.end()


if __name__ == "__main__":
    main()
