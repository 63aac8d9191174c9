"""What docs/fsspec.md shows of pandas, Arrow, Dask, Hugging Face datasets and Zarr, where they are installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import Cli
from tests.snippets import Snippet, read_snippets

SNIPPETS = read_snippets("fsspec.md")
CHECKS = {
    "Reading through fsspec": "assert header == 'name,weight\\n' and 'animals:v0/images/cat.txt' in names",
    "pandas": "assert list(frame['weight']) == [4, 9]",
    "Arrow": "assert table.num_rows == 1000 and rows == 3000",
    "Dask": "assert total == sum(range(3000))",
    "Hugging Face datasets": "assert len(loaded) == 3000 and loaded[2999]['weight'] == 2999",
    "Zarr": "assert array[41, 1] == 83 and array.shape == (1000, 2)",
}
MAKE_PARTS = """
import pyarrow, pyarrow.parquet
for part in range(3):
    table = pyarrow.table({"weight": list(range(part * 1000, part * 1000 + 1000))})
    pyarrow.parquet.write_table(table, f"data/parts/{part}.parquet", row_group_size=100)
"""
MAKE_ARRAY = """
import numpy, zarr
array = zarr.create_array("data/array.zarr", shape=(1000, 2), chunks=(100, 2), dtype="i4")
array[:] = numpy.arange(2000).reshape(1000, 2)
"""


def run_python(text: str) -> None:
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr.decode()


def test_each_snippet_is_checked() -> None:
    assert {snippet.heading for snippet in SNIPPETS} == set(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.heading)
def test_snippet_runs(snippet: Snippet, cli: Cli, work: Path) -> None:
    if snippet.missing:
        pytest.skip(f"{', '.join(snippet.missing)} is not installed")
    (work / "data" / "parts").mkdir(parents=True)
    (work / "data" / "table.csv").write_text("name,weight\ncat,4\ndog,9\n")
    if "parts" in snippet.text:
        run_python(MAKE_PARTS)
    if "zarr" in snippet.text:
        run_python(MAKE_ARRAY)
    cli("put", "animals", "data/", "images")
    first = SNIPPETS[0].text if snippet is not SNIPPETS[0] else ""
    run_python(f"{first}\n{snippet.text}\n{CHECKS[snippet.heading]}")
