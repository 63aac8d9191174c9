"""The bench's tables and chart say what was measured."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.bench import remote
from tests.bench.__main__ import KILLS, Bench
from tests.bench.chart import draw
from tests.bench.kills import Kills
from tests.bench.lineage import measure_in
from tests.bench.measures import READING, TARGETS
from tests.bench.memory import MARK, anonymous_kib
from tests.bench.million import STEPS, Million, Run
from tests.bench.remote_measures import PEER_FILES
from tests.bench.systems import PEERS, Commands, missing
from tests.bench.table import format_kills, format_systems, format_targets, ratio
from tests.bench.workload import Shape

SHAPE = Shape(directories=2, files=5, big_mib=10)
PLAIN = {measure.key: [1.0, 2.0, 4.0] for measure in READING} | {"copy": [1.0, 1.0, 1.0]}
OURS = {target.key: [2.0, 2.0, 2.0] for target in TARGETS} | PLAIN | {"ls": [0.1, 0.2, 0.12]}


def test_a_ratio_is_taken_within_each_run() -> None:
    assert ratio([1.0, 10.0, 1.0], [2.0, 20.0, 2.0]) == 2.0


@pytest.mark.parametrize(("spent", "reached"), [(1.0, "yes"), (100.0, "NO")])
def test_the_table_says_what_was_reached(spent: float, reached: str) -> None:
    ours = {key: [spent * value for value in values] for key, values in OURS.items()}
    table = format_targets({"kernel": ours}, PLAIN).splitlines()
    row = next(line for line in table if "small files, second epoch" in line)
    assert row.endswith(f"| {reached} |")
    command = next(line for line in table if "artifactfs ls" in line)
    assert command.endswith(f"| {reached} |")


@pytest.mark.parametrize(("again", "reached"), [(0.2, "0.10 | at most 0.15 | yes"), (1.0, "0.50 | at most 0.15 | NO")])
def test_putting_again_is_compared_with_the_first_time(again: float, reached: str) -> None:
    table = format_targets({"kernel": OURS | {"put-again": [again] * 3}}, PLAIN).splitlines()
    row = next(line for line in table if "same tree again" in line)
    assert row.endswith(f"| {reached} |")


def test_what_readers_saw_of_killed_workers_is_summed_up() -> None:
    line = format_kills([Kills(100, 2000, 0, 0.2), Kills(101, 1000, 1, 0.15)])
    assert "killed under readers: 201; of 3,000 reads" in line
    assert "1 failed or were wrong, and the longest took 0.20 s" in line


def test_all_systems_stand_in_one_table() -> None:
    table = format_systems({"ext4": PLAIN, "other": OURS}, SHAPE).splitlines()
    assert len(table) == 4
    assert table[2].split(" | ")[1] == "5"  # ten files in the median of two seconds


def test_the_chart_is_svg_with_a_bar_for_each_system_and_measure() -> None:
    tree = ET.fromstring(draw({"ext4": PLAIN, "a<b": OURS}, SHAPE, caption="here"))
    bars = tree.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 1 + 2 * len(READING)
    assert "a<b" in [text.text for text in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_a_peer_that_is_not_installed_is_named() -> None:
    assert missing(Commands("nothing", ("sh", "no-such-program"), (), "")) == "no-such-program"
    assert {peer.name for peer in PEERS} >= {"restic mount", "borg mount", "rclone mount", "squashfuse", "ratarmount"}


@pytest.mark.slow
@pytest.mark.mounted
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="dropping the kernel's caches needs root")
def test_half_of_each_figure_is_reached() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as work:  # a short path: there are sockets in it
        bench = Bench(Path(work), Shape(directories=50, big_mib=512), transports=["kernel", "fusepy"], peers=False)
        for _ in range(3):
            bench.run_once()
    reached = {
        (target.system, target.title): max(
            peer / mine
            for mine, peer in zip(bench.ours[target.system][target.key], bench.plain[target.peer], strict=True)
        )
        / target.ratio
        for target in TARGETS
    }
    assert {title: part for title, part in reached.items() if part < 0.5} == {}
    assert [run.failed for run in bench.kills] == [0, 0, 0]
    assert all(run.killed >= KILLS and run.read > 0 for run in bench.kills)


def test_memory_is_that_of_marked_processes_with_their_children() -> None:
    mark = f"test-{os.getpid()}"
    program = "data = bytearray(b'x') * (40 << 20); print(len(data), flush=True); input()"
    command = [sys.executable, "-c", program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, MARK: mark}, **pipes) as marked:  # type: ignore[call-overload]
        marked.stdout.readline()
        found = anonymous_kib(mark)
        marked.communicate(b"\n")
    assert 40 << 10 <= found < 80 << 10
    assert anonymous_kib(mark) == 0


def test_a_small_million_is_measured_to_its_end(tmp_path: Path) -> None:
    run = Run(tmp_path, count=20, limit_seconds=60)
    run.make_tree()
    peer = Million("sh", "sh", (), ("true", "true && true", "", "false"))
    run.measure_peer(peer)
    assert run.results["sh"][STEPS[3]] == "failed with 1"
    assert STEPS[2] not in run.results["sh"]
    lines = run.report().splitlines()
    assert lines[-1].startswith("| sh | 0.")
    assert lines[-1].endswith("| - | failed with 1 |")


def test_the_tables_of_a_bucket_say_what_was_reached() -> None:
    measured = [key for target in remote.TARGETS for key in (target.ours, target.peer)]
    seconds = {key: [2.0, 2.0] for key in measured} | {"peer: s3fs": [2.0 * PEER_FILES]}
    rows = remote.format_targets(seconds).splitlines()[2:]
    assert len(rows) == len(remote.TARGETS)
    for target, row in zip(remote.TARGETS, rows, strict=True):
        reached = {True: "yes", False: "NO"}[target.least <= 1.0] if target.least else ""
        assert row.split("|")[-2].strip() == reached
    assert "5 files/s" in remote.format_speeds(seconds, SHAPE)
    times = SHAPE.file_count / 2.0 * 2.0
    assert remote.format_peers(seconds, SHAPE) == f"cold epoch, times the speed of s3fs: {times:.0f} (at least 20)"


def test_answers_about_the_lineage_are_measured(tmp_path: Path) -> None:
    found = measure_in(tmp_path, count=60, rounds=1)
    assert "all 6 runs that read one version" in found
    assert "all 121 descendants" in found
