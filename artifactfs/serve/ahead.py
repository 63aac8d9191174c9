"""What a page of the front end will ask for, told with the page itself, so that a browser asks for all of it at once.

Otherwise it finds a module's imports only when it has that module, and asks the API only when it has all of them.

Used by `application`. Threading: a function without state. Source: RFC 8288, Link; HTML, "modulepreload" and "preload".
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from posixpath import dirname, join, normpath
from typing import Final

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
ALL: Final = ("server",)
ANSWERS: Final = {"": ("collections?limit=1000",)}
"""What is asked of the API, for every page and for single ones."""

_IMPORT: Final = re.compile(r'^import [^;]*? from "([./\w]+)";$', re.MULTILINE)


@cache
def find_links(first: str, *, has_query: bool) -> str:
    """Return the Link header of pages whose addresses begin with this part; "" when there is no such page.

    An address with a query may want another answer than the page has without it.
    """
    if first not in MODULES:
        return ""
    modules = sorted(_imported("app.js") | _imported(f"pages/{MODULES[first]}.js"))
    answers = ALL if has_query else ALL + ANSWERS.get(first, ())
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
        text = (files("artifactfs.serve") / "static" / path).read_text("utf-8")
        left += [normpath(join(dirname(path), other)) for other in _IMPORT.findall(text)]
    return found
