"""What a page of the front end will ask for, told with the page itself, so that a browser asks for all of it at once.

Otherwise it finds a module's imports only when it has that module, and asks the API only when it has all of them.

Used by `application`. Threading: a function without state. Source: RFC 8288, Link; HTML, "modulepreload" and "preload".
"""

from __future__ import annotations

import re
from functools import cache
from posixpath import dirname, join, normpath
from typing import Final

from artifactfs.serve.assets import read_text

MODULES: Final = {
    "": "catalogue",
    "c": "catalogue",
    "v": "version",
    "diff": "diff",
    "lineage": "lineage",
    "history": "history",
    "runs": "runs",
    "machine": "machine",
}
"""The module of a page below `pages`, by the first part of its address, as in `app.js`."""
ADOPTING: Final = "adopt.js"
"""What a page needs that comes drawn."""
ANSWERS: Final = {"c": ("server",), "v": ("server",), "machine": ("server",)}
"""What single pages ask of the API, whatever they show."""

_IMPORT: Final = re.compile(r'^import [^;]*? from "([./\w]+)";$', re.MULTILINE)


@cache
def find_links(first: str, *, is_made: bool) -> str:
    """Return the Link header of pages whose addresses begin with this part; "" when there is no such page.

    Args:
        first: the part.
        is_made: whether what the page shows comes with it, drawn.
    """
    if first not in MODULES:
        return ""
    page = ADOPTING if is_made else f"pages/{MODULES[first]}.js"
    modules = sorted(_imported("app.js") | _imported(page))
    answers = ANSWERS.get(first, ())
    return ", ".join(
        [f"</api/{answer}>; rel=preload; as=fetch; crossorigin" for answer in answers]
        + [f"</static/{module}>; rel=modulepreload" for module in modules]
    )


def _imported(module: str) -> set[str]:
    """Return a module's path and those of all that it imports, with what these import."""
    found: set[str] = set()
    left = [module]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        left += [normpath(join(dirname(path), other)) for other in _IMPORT.findall(read_text(path))]
    return found
