"""The catalogue, drawn as HTML: what `/api/collections` answers as tables, and links to its other parts and orders.

Used by `opening`. Threading: pure functions.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from artifactfs.serve.format import format_ago, format_count, format_size
from artifactfs.serve.markup import Child, Markup, element, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactfs.serve.summaries import Catalogue, CataloguePage, CollectionFields

_COLUMNS: Final = ("name", "type", "versions", "latest", "aliases", "tags", "files", "size", "changed")
_RIGHT: Final = frozenset({"versions", "files", "size"})


def draw_catalogue(page: CataloguePage, found: Catalogue) -> Markup:
    """Return a part of the catalogue."""
    shown = found["collections"]
    counts = (format_count(found["total"], "collection"), format_count(found["versions"], "version"))
    return element(
        "div",
        {"class": "page", "data-made": "catalogue"},
        element("h1", {}, "Catalogue"),
        element("p", {"class": "quiet"}, ", ".join(counts)),
        _draw_choices(page, found) if found["types"] else _draw_nothing(),
        [_draw_table(caption, rows, has_type=page.order != "type") for caption, rows in _group(page, shown)],
        _draw_pager(page, found) if found["total"] > len(shown) else None,
    )


def _draw_nothing() -> Markup:
    put = element("code", {}, "artifactfs put NAME FOLDER")
    return element(
        "div", {"class": "box"}, element("p", {}, "There is nothing here yet."), put, " makes the first version."
    )


def _draw_choices(page: CataloguePage, found: Catalogue) -> Markup:
    """Return links to the collections of one type, and to other orders."""
    types = [
        element(
            "a",
            {
                "class": "chip on" if kind == page.type else "chip",
                "aria-current": "true" if kind == page.type else None,
                "href": _address(page, type="" if kind == page.type else kind, offset=0),
            },
            f"{number:,} {kind}",
        )
        if kind
        else element("span", {"class": "chip bad"}, f"{number:,} damaged")
        for kind, number in found["types"].items()
    ]
    orders = [
        element("a", {"href": _address(page, order=order, offset=0)}, text)
        for order, text in (("type", "by type"), ("name", "by name"), ("changed", "last changed first"))
        if order != page.order
    ]
    return element("p", {"class": "links"}, element("span", {}, types), orders)


def _group(page: CataloguePage, shown: list[CollectionFields]) -> Iterable[tuple[str, list[CollectionFields]]]:
    if page.order != "type":
        return [("last changed first" if page.order == "changed" else "by name", shown)] if shown else []
    groups: dict[str, list[CollectionFields]] = {}
    for each in shown:
        groups.setdefault(each["type"] or "damaged", []).append(each)
    return groups.items()


def _draw_table(caption: str, rows: list[CollectionFields], *, has_type: bool) -> Markup:
    columns = [name for name in _COLUMNS if name != "type" or has_type]
    head = [element("th", {"scope": "col", "class": "right" if name in _RIGHT else None}, name) for name in columns]
    copy = element("button", {"class": "small", "type": "button", "data-copies": "table"}, "copy table")
    now = time.time()
    return element(
        "div",
        {"class": "table"},
        element("div", {"class": "tablehead"}, element("h2", {}, caption), copy),
        element(
            "div",
            {"class": "scroll"},
            element(
                "table",
                {},
                element("thead", {}, element("tr", {}, head)),
                element("tbody", {}, [_draw_row(each, columns, now) for each in rows]),
            ),
        ),
    )


def _draw_row(each: CollectionFields, columns: list[str], now: float) -> Markup:
    name, latest = each["collection"], each["latest"]
    address = f"/c/{encode(name)}"
    aliases = [(alias, number) for alias, number in each["aliases"].items() if alias != "latest"]
    cells: dict[str, Child] = {
        "name": [
            element("a", {"href": address}, name),
            element("span", {"class": "error"}, f" {each['problem']}") if each["problem"] else None,
        ],
        "type": each["type"],
        "versions": _number(each["versions"]),
        "latest": element("a", {"href": _version(latest)}, latest.rpartition(":")[2]) if latest else None,
        "aliases": [
            element("a", {"class": "chip alias", "href": _version(f"{name}:{alias}"), "title": number}, alias)
            for alias, number in aliases
        ],
        "tags": [element("span", {"class": "chip tag"}, tag) for tag in each["tags"]],
        "files": _number(each["files"]),
        "size": element("data", {"class": "bytes", "value": str(each["size"])}, format_size(each["size"])),
        "changed": _time(each["modified"], now),
    }
    drawn = [element("td", {"class": "right" if column in _RIGHT else None}, cells[column]) for column in columns]
    return element("tr", {"class": "link", "tabindex": "0", "data-href": address}, drawn)


def _number(number: int) -> Markup:
    return element("data", {"value": str(number)}, f"{number:,}")


def _time(text: str, now: float) -> Markup:
    return element("time", {"datetime": text}, format_ago(now - datetime.fromisoformat(text).timestamp()))


def _version(ref: str) -> str:
    return f"/v/{encode(ref).replace('%3A', ':').replace('%40', '@')}"


def _draw_pager(page: CataloguePage, found: Catalogue) -> Markup:
    first, total, step = page.offset, found["total"], page.limit
    last = max(0, (total - 1) // step * step)
    links = [
        ("first", 0, first > 0),
        ("previous", max(0, first - step), first > 0),
        ("next", first + step, first + step < total),
        ("last", last, first + step < total),
    ]
    return element(
        "nav",
        {"class": "links", "aria-label": "Parts"},
        f"{first + 1:,} to {min(first + step, total):,} of {total:,}" if first < total else f"none of {total:,}",
        [
            element(
                "a", {"href": _address(page, offset=to), "rel": name if name in ("next", "previous") else None}, name
            )
            for name, to, is_there in links
            if is_there
        ],
    )


def _address(page: CataloguePage, **changed: str | int) -> str:
    members: dict[str, str | int] = {"order": page.order, "type": page.type, "offset": page.offset, **changed}
    defaults = {"order": "type", "type": "", "offset": 0}
    query = urlencode({name: value for name, value in members.items() if value != defaults[name]})
    return f"/?{query}" if query else "/"
