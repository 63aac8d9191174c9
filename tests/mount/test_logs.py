"""The server's log: rotated, and where standard error leads."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import logging, os, sys
sys.path.insert(0, sys.argv[2])
from artifactfs.mount import logs
logs._SIZE_LIMIT = 1000
logs.start_log(sys.argv[1], foreground=False)
for number in range(100):
    logging.getLogger("test").info("line %d of the log, with a name that is no text: %s", number, "\\udcff")
os.write(2, b"from a library\\n")
"""


def test_it_is_rotated_and_takes_standard_error(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    top = str(Path(__file__).parent.parent.parent)
    subprocess.run([sys.executable, "-c", SCRIPT, str(log), top], check=True)
    assert sorted(os.listdir(tmp_path)) == ["x.log", "x.log.1", "x.log.2", "x.log.3", "x.log.4"]
    assert all(os.stat(tmp_path / name).st_size <= 1200 for name in os.listdir(tmp_path))
    assert "line 99" in log.read_text()
    assert log.read_text().endswith("from a library\n")
    assert stat.S_IMODE(os.stat(log).st_mode) == 0o600
