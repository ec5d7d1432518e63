"""Small pieces of HTML for the report. Every text that comes from outside is escaped here."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

DASH = "&ndash;"


class Safe(str):
    """Text that is HTML already."""


def escape(value: Any) -> Safe:
    """Return a value as HTML text; what is `Safe` stays, None becomes a dash."""
    if isinstance(value, Safe):
        return value
    return Safe(DASH) if value is None else Safe(html.escape(str(value)))


def tag(name: str, *content: Any, **attributes: Any) -> Safe:
    """Return an element; `css` stands for `class`, underscores in names for hyphens, False and None leave out."""
    given = {("class" if key == "css" else key.replace("_", "-")): value for key, value in attributes.items()}
    text = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items() if value not in (None, False))
    return Safe(f"<{name}{text}>{''.join(map(escape, content))}</{name}>")


def join(parts: Iterable[Any]) -> Safe:
    """Concatenate parts."""
    return Safe("".join(map(escape, parts)))


def percent(share: float | None, digits: int = 1) -> Safe:
    """Return a share as percent."""
    return Safe(DASH) if share is None else Safe(f"{100 * share:.{digits}f}&nbsp;%")


def points(difference: float | None) -> Safe:
    """Return a difference of two shares in percentage points, with its sign."""
    if difference is None:
        return Safe(DASH)
    return Safe(f"{100 * difference:+.1f}".replace("-", "&minus;"))


def number(value: float | None, digits: int = 3) -> Safe:
    """Return a plain number."""
    return Safe(DASH) if value is None else Safe(f"{value:.{digits}f}")


def large(value: float | None) -> Safe:
    """Return a count in thousands, millions, billions, such as "11.7 M"."""
    if value is None:
        return Safe(DASH)
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return Safe(f"{value / factor:.3g}&nbsp;{unit}")
    return Safe(f"{value:g}")


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, css: str = "", sortable: bool = False) -> Safe:
    """Return a table that scrolls by itself when it is wider than the page.

    A cell may be a pair (what is shown, what it is sorted by).
    """
    head = tag("tr", *(tag("th", tag("button", cell, type="button") if sortable else cell) for cell in header))
    body = join(tag("tr", *map(_cell, row)) for row in rows)
    kind = f"{css} sortable" if sortable else css
    return tag("div", tag("table", tag("thead", head), tag("tbody", body), css=kind.strip() or None), css="scroll")


def section(anchor: str, title: str, *content: Any) -> Safe:
    """Return a section with a heading; nothing when it has no content."""
    return tag("section", tag("h2", title), *content, id=anchor) if any(content) else Safe("")


def paragraph(*content: Any, css: str | None = None) -> Safe:
    """Return a paragraph."""
    return tag("p", *content, css=css)


def script_json(value: Any) -> Safe:
    """Return JSON that can stand within a script element: no character in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Safe(text)


def plot(figure: dict[str, Any], label: str, min_width: int | None = None) -> Safe:
    """Return a chart: the figure as JSON, drawn when the page is opened; wide ones scroll by themselves."""
    style = f"height:{figure['layout']['height']}px" + (f";min-width:{min_width}px" if min_width else "")
    data = tag("script", script_json(figure), type="application/json")
    return tag("div", tag("div", data, css="plot", style=style, role="img", aria_label=label), css="scroll")


def _cell(cell: Any) -> Safe:
    if isinstance(cell, tuple):
        shown, order = cell
        return tag("td", shown, data_order="" if order is None else order)
    return tag("td", cell)
