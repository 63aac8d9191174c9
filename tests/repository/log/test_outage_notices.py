"""What other processes are told of an outage, and that nothing is told of those that are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from artifactfs.repository.outagenotice import FOLDER, OutageNotice, find_outage_ns

BEGIN = """
import sys, time
from artifactfs.repository.outagenotice import OutageNotice
notice = OutageNotice(sys.argv[1])
notice.begin(5)
print("begun", flush=True)
time.sleep(60)
"""


def test_it_is_told_from_the_beginning_to_the_end(tmp_path: Path) -> None:
    assert find_outage_ns(str(tmp_path)) is None
    first, second = OutageNotice(str(tmp_path)), OutageNotice(str(tmp_path))
    first.end()
    first.begin(7)
    second.begin(3)
    assert find_outage_ns(str(tmp_path)) == 3
    second.end()
    assert find_outage_ns(str(tmp_path)) == 7
    first.begin(9)
    assert find_outage_ns(str(tmp_path)) == 9
    first.end()
    assert find_outage_ns(str(tmp_path)) is None
    assert os.listdir(tmp_path / FOLDER) == []


def test_nothing_is_told_of_a_process_that_was_killed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", BEGIN, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"begun\n"
        assert find_outage_ns(str(tmp_path)) == 5
        process.kill()
    assert find_outage_ns(str(tmp_path)) is None
    assert os.listdir(tmp_path / FOLDER) == []


def test_what_cannot_be_written_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("no directory")
    notice = OutageNotice(str(tmp_path))
    notice.begin(1)
    assert find_outage_ns(str(tmp_path)) is None
    notice.end()
