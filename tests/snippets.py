"""The Python snippets of a page, each with the libraries that it needs: run one after the other, as a reader would."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True)
class Snippet:
    """One block of a page.

    Attributes:
        page: its name.
        heading: the one that it stands below.
        text: the code.
    """

    page: str
    heading: str
    text: str

    @property
    def missing(self) -> list[str]:
        """The modules that it imports and that are not installed."""
        names = set()
        for node in ast.walk(ast.parse(self.text)):
            names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
        tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
        return sorted(name for name in tops if importlib.util.find_spec(name) is None)

    def __str__(self) -> str:
        return f"{self.page}: {self.heading}"


def read_snippets(name: str) -> list[Snippet]:
    """Return the Python blocks of `docs/NAME`, in order."""
    heading, found = "", []
    page = (DOCS / name).read_text()
    pieces = re.split(r"^(#+ [^\n]*)$|^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    for title, code in zip(pieces[1::3], pieces[2::3], strict=True):
        heading = title.lstrip("# ") if title else heading
        if code:
            found.append(Snippet(name, heading, code))
    return found
