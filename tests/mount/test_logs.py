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


def test_what_forked_processes_write_is_rotated_too(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    script = """
import logging, os, sys
from artifactfs.mount import logs
logs._SIZE_LIMIT = 1000
logs.start_log(sys.argv[1], foreground=False)
for _ in range(3):
    if not (pid := os.fork()):
        logs.follow_log()
        for number in range(30):
            logging.getLogger("test").info("line %d of a child", number)
        os._exit(0)
    os.waitpid(pid, 0)
    logs.rotate_log()
    logs.rotate_log()
logging.getLogger("test").info("the end")
"""
    subprocess.run([sys.executable, "-c", script, str(log)], check=True)
    assert sorted(os.listdir(tmp_path)) == ["x.log", "x.log.1", "x.log.2", "x.log.3"]
    assert log.read_text().endswith("the end\n")
    assert len(log.read_text().splitlines()) == 1
    assert "line 29 of a child" in (tmp_path / "x.log.1").read_text()


def test_a_server_in_the_foreground_keeps_its_standard_error(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    script = SCRIPT.replace("foreground=False", "foreground=True").replace("\\udcff", "x")
    top = str(Path(__file__).parent.parent.parent)
    done = subprocess.run([sys.executable, "-c", script, str(log), top], check=True, stderr=subprocess.PIPE)
    assert len(done.stderr.splitlines()) == 101
    assert done.stderr.endswith(b"from a library\n")
