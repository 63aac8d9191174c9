"""Markdown as a tree of elements that are known to be harmless. HTML in it stays text.

Used by `previews`. Threading: pure functions.

Source: https://spec.commonmark.org/0.31.2/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from markdown_it.token import Token

ELEMENTS: Final = frozenset(
    ("blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "strong",
     "table", "tbody", "td", "th", "thead", "tr", "ul")
)  # fmt: skip
SCHEMES: Final = ("http", "https", "mailto")
DEPTH: Final = 60
"""Deeper elements are put where they would be too deep."""


class Element(TypedDict, total=False):
    """An element: `link` of `a`, `file` (a path in the version) of `a` and `img`, `text` of a leaf."""

    tag: str
    link: str
    file: str
    text: str
    children: list[Any]


def parse_markdown(text: str, *, directory: str) -> list[Element]:
    """Return a document as a list of elements, each with a tag of `ELEMENTS`, `a`, `img` or `text`.

    Args:
        text: of the document.
        directory: in which it lies; relative links start there.
    """
    from markdown_it import MarkdownIt  # noqa: PLC0415 (only when a document is looked at)

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    root: Element = {"tag": "root", "children": []}
    _add(parser.parse(text), [root], directory)
    return root["children"]


def _add(tokens: list[Token], stack: list[Element], directory: str) -> None:
    bottom = len(stack)
    for token in tokens:
        if token.type == "inline":
            _add(token.children or [], stack, directory)
        elif token.nesting > 0:
            element = _make(token, directory)
            stack[min(len(stack), DEPTH) - 1]["children"].append(element)
            stack.append(element)
        elif token.nesting < 0:
            if len(stack) > bottom:
                stack.pop()
        else:
            stack[min(len(stack), DEPTH) - 1]["children"].append(_make_leaf(token, directory))


def _make(token: Token, directory: str) -> Element:
    if token.tag == "a":
        return {"tag": "a", **_lead(str(token.attrs.get("href", "")), directory), "children": []}
    return {"tag": token.tag if token.tag in ELEMENTS else "p", "children": []}


def _make_leaf(token: Token, directory: str) -> Element:
    if token.type in ("fence", "code_block"):
        return {"tag": "pre", "children": [{"tag": "text", "text": token.content}]}
    if token.type == "code_inline":
        return {"tag": "code", "children": [{"tag": "text", "text": token.content}]}
    if token.type == "image":
        target = _lead(str(token.attrs.get("src", "")), directory)
        # An image elsewhere would tell that server who looks.
        return {"tag": "img", "text": token.content, **({"file": target["file"]} if "file" in target else {})}
    if token.type == "softbreak":
        return {"tag": "text", "text": "\n"}
    if token.type in ("hardbreak", "hr"):
        return {"tag": "br" if token.type == "hardbreak" else "hr", "children": []}
    return {"tag": "text", "text": token.content}


def _lead(target: str, directory: str) -> Element:
    """Return where a link leads: `link` elsewhere, `file` in the same version, or nowhere.

    >>> _lead("../a.png", "docs"), _lead("javascript:alert(1)", ""), _lead("../../etc", "docs")
    ({'file': 'a.png'}, {}, {})
    """
    try:
        parts = urlsplit(target)
    except ValueError:
        return {}
    if parts.scheme or parts.netloc:
        return {"link": target} if parts.scheme in SCHEMES else {}
    names = directory.split("/") if directory and not parts.path.startswith("/") else []
    for name in unquote(parts.path).split("/"):
        if name == "..":
            if not names:
                return {}
            names.pop()
        elif name not in ("", "."):
            names.append(name)
    return {"file": "/".join(names)} if parts.path else {}
