"""HTML of data: elements whose text and attributes are escaped, whatever they say.

Used by `opening`. Threading: pure functions.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VOID: Final = frozenset({"img", "input"})


class Markup(str):
    """HTML that is in order; other text is escaped."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"


def element(tag: str, attributes: Mapping[str, str | bool | None] | None = None, *children: Child) -> Markup:
    """Return an element. What is None or False is left out, as `h()` of the front end does.

    Args:
        tag: its name, as it stands in the code.
        attributes: by name, as it stands in the code; the value True is an attribute without one.
        children: text, which is escaped, Markup, or lists of such.

    >>> element("a", {"href": "/?q=<&", "download": True, "title": None}, "a < b", [element("b", {}, "c")])
    '<a href="/?q=&lt;&amp;" download="">a &lt; b<b>c</b></a>'
    """
    written = "".join(
        f' {name}="{"" if value is True else escape(value)}"'
        for name, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    return Markup(f"<{tag}{written}>" + ("" if tag in _VOID else f"{join(children)}</{tag}>"))


def join(children: Child) -> Markup:
    """Return children one after the other."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(children, quote=False))
    return Markup("".join(join(child) for child in children))


def encode(text: str) -> str:
    """Return text as a part of an address, as the front end's `encodeURIComponent`.

    >>> encode("a b/ü:@'")
    "a%20b%2F%C3%BC%3A%40'"
    """
    return quote(text, safe="!'()*")
