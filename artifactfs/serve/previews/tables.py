"""Tables: columns with their types, the first rows, and how many there are. CSV, JSON lines, Parquet.

Used by `previews` and `diffs`. Threading: pure functions.
"""

from __future__ import annotations

import csv
import io
import json
from typing import IO, TYPE_CHECKING, Any, Final, TypedDict

import msgspec

from artifactfs.errors import UsageError
from artifactfs.serve.previews.reading import VersionFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artifactfs.blobstore.verifying import ReadableFile

HEAD_BYTES: Final = 512 << 10
COUNTED_BYTES: Final = 64 << 20
"""Rows of larger texts are estimated."""
PARSED_BYTES: Final = 16 << 20
"""So are those of larger ones with quotes, in which a line's end need not be a row's."""
ROWS: Final = 100
COLUMNS: Final = 200
CELL_CHARACTERS: Final = 500
_STEP: Final = 4 << 20


class Column(TypedDict):
    """A column: its name, and the type of its values as far as they were looked at."""

    name: str
    type: str


class Table(TypedDict):
    """A table; `rows` has the first ones, `row_count` is an estimate unless `is_exact`."""

    columns: list[Column]
    rows: list[list[str | None]]
    row_count: int
    is_exact: bool
    more_columns: int


def read_table(file: ReadableFile, suffix: str) -> Table:
    """Return what a table looks like.

    Args:
        file: of the table.
        suffix: of its name: `csv`, `tsv`, `jsonl`, `ndjson` or `parquet`.

    Raises:
        UsageError: it is no such table, or the library to read it is not installed.
    """
    if suffix == "parquet":
        return _read_parquet(file)
    head = file.read_at(0, HEAD_BYTES)
    is_whole = len(head) == file.size
    text = head.decode("utf-8-sig", "replace")
    if not is_whole:
        text = text[: text.rfind("\n") + 1] or text
    delimiter = "" if suffix in ("jsonl", "ndjson") else "\t" if suffix == "tsv" else _guess_delimiter(text)
    table = _read_csv(text, delimiter) if delimiter else _read_json_lines(text)
    if not is_whole or len(table["rows"]) >= ROWS:
        _count(table, file, head, delimiter)
    return table


def _read_csv(text: str, delimiter: str) -> Table:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > ROWS:
                break
    except csv.Error as error:
        msg = f"this is no table: {error}"
        raise UsageError(msg) from error
    names, values = (rows[0], rows[1:]) if rows else ([], [])
    width = max(map(len, rows), default=0)
    names = [*names, *(f"column {number + 1}" for number in range(len(names), width))]
    padded = [[*row, *[None] * (width - len(row))] for row in values]
    types = [guess_type(row[number] for row in padded) for number in range(min(width, COLUMNS))]
    return _make(names, types, padded)


def _guess_delimiter(text: str) -> str:
    line = text.partition("\n")[0]
    return max(",;\t|", key=lambda mark: (line.count(mark), mark == ","))


def _read_json_lines(text: str) -> Table:
    found: list[dict[str, Any]] = []
    for line in text.split("\n"):  # not splitlines: JSON may have other ends of lines in its texts
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            msg = f"line {len(found) + 1} is no JSON: {error}"
            raise UsageError(msg) from error
        found.append(value if isinstance(value, dict) else {"value": value})
        if len(found) == ROWS:
            break
    names = list(dict.fromkeys(name for row in found for name in row))
    types = [_join_types(type(row[name]).__name__ for row in found if name in row) for name in names[:COLUMNS]]
    return _make(names, types, [[_format(row.get(name)) for name in names[:COLUMNS]] for row in found])


def _read_parquet(file: ReadableFile) -> Table:
    try:
        import pyarrow as pa  # noqa: PLC0415 (the extra)
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        msg = "Parquet needs pyarrow"
        raise UsageError(msg, hint="pip install 'artifactfs[parquet]'") from error
    try:
        with pa.PythonFile(VersionFile(file), mode="r") as opened, parquet.ParquetFile(opened) as found:
            schema = found.schema_arrow
            names = [field.name for field in schema]
            batch = next(found.iter_batches(ROWS, columns=names[:COLUMNS]), None)
            columns = [] if batch is None else [column.to_pylist() for column in batch.columns]
            rows = [[_format(value) for value in row] for row in zip(*columns, strict=True)]
            table = _make(names, [str(field.type) for field in schema][:COLUMNS], rows)
            table["row_count"], table["is_exact"] = found.metadata.num_rows, True
            return table
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        msg = f"this is no Parquet file: {str(error)[:200]}"
        raise UsageError(msg) from error


def guess_type(values: Iterable[str | None]) -> str:
    """Return the type that all texts of a column have: `integer`, `number`, `boolean`, `text`, or `empty`.

    >>> guess_type(["1", "", "2.5"]), guess_type(["true", "False"]), guess_type(["1", "x"]), guess_type([])
    ('number', 'boolean', 'text', 'empty')
    """
    found = {_type_of(value) for value in values if value}
    if found == {"integer", "number"}:
        return "number"
    return found.pop() if len(found) == 1 else "text" if found else "empty"


def _type_of(value: str) -> str:
    if value.strip().lower() in ("true", "false"):
        return "boolean"
    for kind, parse in (("integer", int), ("number", float)):
        try:
            parse(value[:400])
        except ValueError:
            continue
        return kind
    return "text"


def _join_types(names: Iterable[str]) -> str:
    words = {
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "boolean",
        "NoneType": "null",
        "dict": "object",
    }
    return " or ".join(sorted({words.get(name, name) for name in names}))


def _make(names: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Table:
    shown = [{"name": name[:CELL_CHARACTERS], "type": kind} for name, kind in zip(names[:COLUMNS], types, strict=False)]
    cut = [[None if cell is None else cell[:CELL_CHARACTERS] for cell in row[:COLUMNS]] for row in rows[:ROWS]]
    return {
        "columns": shown,  # type: ignore[typeddict-item]
        "rows": cut,
        "row_count": len(rows),
        "is_exact": True,
        "more_columns": max(0, len(names) - COLUMNS),
    }


def _format(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, dict | list):
        try:
            return msgspec.json.encode(value, enc_hook=str).decode()[:CELL_CHARACTERS]
        except (TypeError, UnicodeEncodeError, RecursionError):
            return repr(value)[:CELL_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    return str(value)


def _count(table: Table, file: ReadableFile, head: bytes, delimiter: str) -> None:
    """Count the rows of a text; of a long one, estimate them by those at its beginning."""
    header = 1 if delimiter else 0
    rows = None
    if file.size <= COUNTED_BYTES:
        parts = (file.read_at(at, _STEP) for at in range(0, file.size, _STEP))
        rows = _count_lines(parts, delimiter)
        if rows is None and file.size <= PARSED_BYTES:
            rows = _count_parsed(io.BufferedReader(VersionFile(file), _STEP), delimiter)
    table["is_exact"] = rows is not None
    if rows is None:
        at_first = _count_lines([head], delimiter) or _count_parsed(io.BytesIO(head), delimiter) or len(table["rows"])
        rows = round(at_first * file.size / len(head))
    table["row_count"] = max(0, rows - header)


def _count_lines(parts: Iterable[bytes], delimiter: str) -> int | None:
    """Return how many lines hold anything; None when there are quotes, which may hold a line's end."""
    rows, last = 0, b"\n"
    for part in parts:
        if delimiter and b'"' in part:
            return None
        data = last + (part.replace(b"\r", b"\n") if delimiter else part.translate(None, b" \t\r"))
        while b"\n\n" in data:
            data = data.replace(b"\n\n", b"\n")
        rows += data.count(b"\n") - data.endswith(b"\n")
        last = data[-1:]
    return rows


def _count_parsed(data: IO[bytes], delimiter: str) -> int | None:
    """Return how many rows there are; None when they cannot be told."""
    text = io.TextIOWrapper(data, "utf-8-sig", "replace", newline="")
    try:
        return sum(1 for row in csv.reader(text, delimiter=delimiter) if row)
    except csv.Error:
        return None
