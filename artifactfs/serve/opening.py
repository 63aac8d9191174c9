"""The page as it is sent: its frame for every address, and the catalogue drawn, which is seen before any script runs.

What is drawn is what `/api/collections` answers. The front end takes over what it finds (`adopt.js`), and asks for the
catalogue in this form, too.

Used by `application`. Threading: functions without state.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec

from artifactfs.errors import ArtifactFSError
from artifactfs.serve.answers import find_status, tell
from artifactfs.serve.assets import read_text
from artifactfs.serve.catalogue import get_server
from artifactfs.serve.drawn import draw_catalogue
from artifactfs.serve.guard import POLICY
from artifactfs.serve.markup import Markup, element, join
from artifactfs.serve.operations import Nothing
from artifactfs.serve.summaries import CataloguePage, list_collections

if TYPE_CHECKING:
    from artifactfs.serve.context import Context

INDEX: Final = "index.html"
SHEET: Final = "style.css"
COLLECTIONS_SHOWN: Final = 100
_STYLE, _TOP, _MAIN = "<!--style-->", "<!--top-->", "<!--main-->"
_PAGES: Final = (("/", "Catalogue"), ("/runs", "Runs"), ("/history", "History"), ("/machine", "This machine"))
_EXAMPLE: Final = "type=model and metadata.accuracy > 0.9"


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it is sent.

    Attributes:
        html: of all of it.
        status: of the answer.
        is_made: whether what it shows is in it.
    """

    html: str
    status: int
    is_made: bool


def make_page(context: Context, path: str, query: bytes) -> Page:
    """Return the page for an address."""
    members = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    main, status = Markup(), 200
    if path == "/" and not members.get("q"):
        main, status = _make_catalogue(context, members)
    before, _, rest = _read_frame().partition(_TOP)
    between, _, after = rest.partition(_MAIN)
    return Page(f"{before}{_make_top(context)}{between}{main}{after}", status, bool(main))


@cache
def _read_frame() -> str:
    """Return the page with its style sheet in it: a browser draws nothing before it has that."""
    return read_text(INDEX).replace(_STYLE, f"<style>{read_text(SHEET)}</style>")


@cache
def find_policy() -> str:
    """Return the policy of the page: that of everything, and the style sheet that is in it, by its digest."""
    digest = base64.b64encode(hashlib.sha256(read_text(SHEET).encode()).digest()).decode()
    return POLICY.replace("style-src 'self'", f"style-src 'self' 'sha256-{digest}'")


def _make_top(context: Context) -> Markup:
    server = get_server(context, Nothing())
    where = server["repository"]
    icon = element("img", {"src": "/static/icon.svg", "alt": "", "width": "22", "height": "22"})
    search = element(
        "input",
        {
            "id": "search",
            "type": "search",
            "placeholder": _EXAMPLE,
            "aria-label": "Search, in the language of artifactfs find",
            "autocomplete": "off",
            "spellcheck": "false",
        },
    )
    return join(
        [
            element("a", {"href": "/", "class": "brand"}, icon, "artifactfs"),
            element("nav", {"aria-label": "Pages"}, [element("a", {"href": to}, name) for to, name in _PAGES]),
            element("form", {"id": "searching", "role": "search"}, search),
            element(
                "span",
                {"class": "where", "title": f"{where}\nartifactfs {server['version']}"},
                where.rpartition("/")[2] or where,
                element("span", {"class": "chip warn"}, "write") if server["may_write"] else None,
            ),
            _button("theme", "Light or dark (t)", "Light or dark", "◐"),
            _button("keys", "Keys (?)", "Keys", "?"),
        ]
    )


def _button(name: str, title: str, label: str, sign: str) -> Markup:
    attributes = {"class": "small", "type": "button", "id": name, "title": title, "aria-label": label}
    return element("button", attributes, sign)


def _make_catalogue(context: Context, members: dict[str, str]) -> tuple[Markup, int]:
    wanted: dict[str, object] = {"order": "type", "limit": COLLECTIONS_SHOWN}
    wanted |= {name: value for name, value in members.items() if name in ("offset", "order", "type")}
    try:
        page = msgspec.convert(wanted, CataloguePage, strict=False)
        found = list_collections(context, page)
    except msgspec.ValidationError as error:
        return _show_problem(f"The address cannot be understood: {error}", ""), 400
    except ArtifactFSError as error:
        told = tell(error)
        return _show_problem(told["message"], told["hint"]), find_status(error)
    return draw_catalogue(page, found), 200


def _show_problem(message: str, hint: str) -> Markup:
    box = element(
        "div", {"class": "error box", "role": "alert"}, element("strong", {}, message), element("p", {}, hint)
    )
    return element("div", {"class": "page", "data-made": "catalogue"}, element("h1", {}, "Catalogue"), box)
