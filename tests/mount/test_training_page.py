"""docs/training.md: each snippet runs over a real mount, where its library is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.mount.test_run_programs import CLI, cli
from tests.snippets import read_snippets

SNIPPETS = read_snippets("training.md")
SAMPLES = 300
MAKE = {
    "Hugging Face datasets": """
import pyarrow, pyarrow.parquet
for part in range(2):
    table = pyarrow.table({"x": list(range(part * 100, part * 100 + 100))})
    pyarrow.parquet.write_table(table, f"data/table/{part}.parquet")
""",
    "Memory-mapped safetensors": """
import torch, safetensors.torch
safetensors.torch.save_file({"layer.weight": torch.arange(40000.0).reshape(100, 400)}, "data/model.safetensors")
""",
}
CHECKS = {
    "Training loops": "assert os.path.isdir(ROOT)",
    "PyTorch": f"if __name__ == '__main__': assert seen == {SAMPLES}, seen",
    "One shard for each rank": f"assert 0 < len(mine) < {SAMPLES}, len(mine)",
    "Hugging Face datasets": "assert table['x'][:] == list(range(200)) and lines == ['one', 'two'], lines",
    "WebDataset": "assert count == 10, count",
    "Memory-mapped safetensors": "assert layer[0, 0] == 4000 and bool((whole['layer.weight'][10:20] == layer).all())",
}
NEEDS = {"One shard for each rank": "PyTorch"}
"""Headings whose snippets use what another defines."""


def test_each_snippet_is_checked() -> None:
    assert {snippet.heading for snippet in SNIPPETS} == set(CHECKS)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return where `digits` will be mounted, in a directory with the data that it is made of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARTIFACTFS_REPO", str(tmp_path / "repository"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for number in range(SAMPLES):
        path = tmp_path / "data" / "train" / str(number % 10) / f"{number:04}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(2, "big") * 512)
    for folder in ("table", "texts", "shards"):
        (tmp_path / "data" / folder).mkdir()
    (tmp_path / "data" / "texts" / "a.txt").write_text("one\ntwo\n")
    for shard in range(2):
        with tarfile.open(tmp_path / "data" / "shards" / f"{shard}.tar", "w") as archive:
            for number in range(10):
                for ending, data in (("bin", bytes(100)), ("cls", b"1")):
                    info = tarfile.TarInfo(f"{shard}{number:03}.{ending}")
                    info.size = len(data)
                    archive.addfile(info, BytesIO(data))
    place = tmp_path / "mnt"
    place.mkdir()
    yield place
    subprocess.run([*CLI, "umount", "--lazy", str(place)], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.mounted
@pytest.mark.timeout(300)
@pytest.mark.parametrize("heading", CHECKS)
def test_snippets_run(heading: str, place: Path, tmp_path: Path) -> None:
    wanted = {SNIPPETS[0].heading, NEEDS.get(heading, heading), heading}
    chosen = [snippet for snippet in SNIPPETS if snippet.heading in wanted]
    missing = sorted({name for snippet in chosen for name in snippet.missing})
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    if heading in MAKE:
        subprocess.run([sys.executable, "-c", MAKE[heading]], check=True, timeout=120)
    cli("put", "digits", "data/")
    cli("mount", str(place))
    script = tmp_path / "train.py"  # workers that are spawned import it
    script.write_text("\n".join([*(snippet.text for snippet in chosen), CHECKS[heading]]))
    environ = {**os.environ, "ARTIFACTFS_MOUNT": str(place), "RANK": "1", "WORLD_SIZE": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script], env=environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
