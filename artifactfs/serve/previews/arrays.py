"""Arrays: names, types and shapes, from the headers of NumPy and safetensors files alone.

Headers are read here, without the libraries: NumPy would unpickle objects, and both would have to be installed.

Used by `previews`. Threading: pure functions.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html;
https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import ast
import struct
import zipfile
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypedDict, cast

import msgspec

from artifactfs.errors import UsageError
from artifactfs.serve.previews.reading import VersionFile

if TYPE_CHECKING:
    from artifactfs.blobstore.verifying import ReadableFile

HEADER_BYTES: Final = 16 << 20
NUMPY_HEADER_BYTES: Final = 64 << 10
SHOWN: Final = 2000


class Array(TypedDict):
    """An array: `name` is empty for the only one of a file, `order` for those that have none."""

    name: str
    type: str
    shape: list[int]
    order: str


class Arrays(TypedDict):
    """The arrays of a file: the first ones, how many there are, and how many values these have in all."""

    arrays: list[Array]
    array_count: int
    value_count: int
    metadata: dict[str, str]


def read_arrays(file: ReadableFile, suffix: str) -> Arrays:
    """Return the arrays that a file holds.

    Args:
        file: of the arrays.
        suffix: of its name: `npy`, `npz` or `safetensors`.

    Raises:
        UsageError: it is no such file.
    """
    try:
        if suffix == "safetensors":
            return _read_safetensors(file)
        if suffix == "npz":
            return _read_npz(file)
        return _collect([_read_npy("", cast("BinaryIO", VersionFile(file)))])
    except (
        ValueError, SyntaxError, KeyError, TypeError, struct.error, zipfile.BadZipFile, EOFError, MemoryError,
        RecursionError, NotImplementedError, msgspec.DecodeError, OverflowError, OSError, RuntimeError,
    ) as error:  # fmt: skip
        msg = f"this is no {suffix} file: {str(error)[:200]}"
        raise UsageError(msg) from error


def _read_npy(name: str, file: BinaryIO) -> Array:
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY":
        msg = "it does not begin as one"
        raise ValueError(msg)
    size = struct.unpack("<H" if magic[6] == 1 else "<I", file.read(2 if magic[6] == 1 else 4))[0]
    if size > NUMPY_HEADER_BYTES:
        msg = f"its header has {size} bytes"
        raise ValueError(msg)
    header = ast.literal_eval(file.read(size).decode("utf-8" if magic[6] > 2 else "latin-1").strip())
    kind = header["descr"]
    return {
        "name": name,
        "type": kind if isinstance(kind, str) else str(kind)[:200],
        "shape": [int(length) for length in header["shape"]],
        "order": "Fortran" if header["fortran_order"] else "C",
    }


def _read_npz(file: ReadableFile) -> Arrays:
    with zipfile.ZipFile(cast("BinaryIO", VersionFile(file))) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        found = []
        for member in members[:SHOWN]:
            with archive.open(member) as opened:
                found.append(_read_npy(member.filename.removesuffix(".npy"), cast("BinaryIO", opened)))
    return {**_collect(found), "array_count": len(members)}


def _read_safetensors(file: ReadableFile) -> Arrays:
    size = struct.unpack("<Q", file.read_at(0, 8))[0]
    if size > min(HEADER_BYTES, file.size):
        msg = f"its header would have {size} bytes"
        raise ValueError(msg)
    header: dict[str, Any] = msgspec.json.decode(file.read_at(8, size), type=dict[str, Any])
    metadata = header.pop("__metadata__", {})
    found: list[Array] = [
        {"name": name, "type": str(each["dtype"]), "shape": [int(length) for length in each["shape"]], "order": ""}
        for name, each in header.items()
    ]
    return {**_collect(found), "metadata": {str(name): str(value)[:2000] for name, value in metadata.items()}}


def _collect(found: list[Array]) -> Arrays:
    return {
        "arrays": found[:SHOWN],
        "array_count": len(found),
        "value_count": sum(prod(array["shape"]) for array in found),
        "metadata": {},
    }
