"""What the site has besides the pages in docs/: the README as its first page, and the SDK's reference from docstrings.

Run by ProperDocs. Threading: one thread.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from properdocs.structure.files import File

import artifactfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from properdocs.config.defaults import ProperDocsConfig
    from properdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
HEAD = """\
# The SDK

Made from the docstrings of `artifactfs`, which `import artifactfs` brings.
"""


def on_files(files: Files, config: ProperDocsConfig) -> Files:
    """Add the pages that are made."""
    readme = (ROOT / "README.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=readme))
    files.append(File.generated(config, "reference.md", content="\n".join(describe_sdk())))
    return files


def describe_sdk() -> Iterator[str]:
    """Yield the reference, as Markdown: each public name with its signature and docstring."""
    yield HEAD
    for name in sorted(artifactfs.__all__):
        found = getattr(artifactfs, name)
        if inspect.isclass(found):
            yield f"## {name}\n\n{format_docstring(found)}\n"
            for member, value in sorted(inspect.getmembers_static(found)):
                if not member.startswith("_"):
                    yield from describe_member(f"{name}.{member}", value)
        elif callable(found):
            yield from describe_member(name, found, level="##")


def describe_member(name: str, value: Any, *, level: str = "###") -> Iterator[str]:
    """Yield the reference of a function, method or property that has a docstring."""
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if not inspect.isfunction(function) or not function.__doc__:
        return
    signature = "" if isinstance(value, property) else str(inspect.signature(function)).replace("(self, ", "(").replace("(self)", "()")
    yield f"{level} {name}\n\n    {name.rpartition('.')[2]}{signature}\n\n{format_docstring(function)}\n"


def format_docstring(documented: Any) -> str:
    """Return a docstring as Markdown: its sections become lists."""
    text = re.sub(r"^(Args|Returns|Raises|Yields|Attributes):$", r"\n**\1**\n", inspect.getdoc(documented) or "", flags=re.MULTILINE)
    text = re.sub(r"^    (\w[\w, `*]*): ", r"- `\1`: ", text, flags=re.MULTILINE)
    return re.sub(r"^ {4,}(?=\S)", "  ", text, flags=re.MULTILINE)
