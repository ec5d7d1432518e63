"""The pages as HTML: live, of a past swarm, and saved as a file of its own. All three are the same code."""

from __future__ import annotations

import html
import string
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.swarm.dashboard import assets, updates
from keras_actrec.swarm.journal import Journal

REPORT = "report.html"
_SAVED_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data: blob:; '
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
)


def live(name: str) -> str:
    """Return the page of the running swarm."""
    links = {"HiPlot": "/hiplot", "Past swarms": "/history", "API": "/docs"}
    return _served(name, "live", "/api/updates", links)


def past(name: str) -> str:
    """Return the page of a swarm that has ended."""
    place = urllib.parse.quote(name, safe="")
    links = {"Running swarm": "/", "Past swarms": "/history", "HiPlot": f"/history/{place}/hiplot"}
    return _served(name, "past", f"/api/history/{place}/updates", links)


def saved(state: Mapping[str, Any], journal: Journal) -> str:
    """Return the page with all of a swarm's data inside, for reading without a server."""
    content = updates.since(state, journal, at_once=None)
    return _page(
        title=str(state["name"]),
        mode="saved",
        head=f"{_SAVED_POLICY}\n<style>\n{assets.text(assets.STYLE)}\n</style>",
        links={},
        data=_inline_json(updates.dump(content)),
        scripts="\n".join(f"<script>\n{text}\n</script>" for text in _sources()),
    )


def save_report(directory: Path, state: Mapping[str, Any], journal: Journal) -> Path:
    """Publish `report.html` in a swarm's directory, and return its path.

    Args:
        directory: of the swarm.
        state: the coordinator's snapshot.
        journal: of the swarm.
    """
    path = Path(directory) / REPORT
    files.write_text(path, saved(state, journal))
    return path


def table_page(title: str, about: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a page with one table.

    Args:
        title: plain text.
        about: plain text, below the title.
        columns: plain text.
        rows: cells, each HTML that is safe already (see `escape` and `link`).
    """
    heads = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return string.Template(assets.text("table.html")).substitute(
        title=escape(title), about=escape(about), heads=heads, rows=lines
    )


def escape(value: object) -> str:
    """Return a value as text in HTML."""
    return html.escape(str(value))


def link(address: str, text: str) -> str:
    """Return a link."""
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def _served(name: str, mode: str, source: str, links: Mapping[str, str]) -> str:
    return _page(
        title=name,
        mode=mode,
        head=f'<link rel="stylesheet" href="/static/{assets.STYLE}">',
        links=links,
        source=source,
        scripts="\n".join(
            f'<script src="/static/{script}" defer></script>' for script in (assets.plotly_name(), *assets.SCRIPTS)
        ),
    )


def _page(
    *, title: str, mode: str, head: str, links: Mapping[str, str], scripts: str, source: str = "", data: str = ""
) -> str:
    return string.Template(assets.text("page.html")).substitute(
        title=escape(title),
        mode=mode,
        source=escape(source),
        colours=" ".join(assets.COLOURS),
        head=head,
        links="".join(link(address, text) for text, address in links.items()),
        data=data,
        scripts=scripts,
    )


def _inline_json(text: str) -> str:
    # Inside a script element only "<" can end it; JSON has a second way of writing that character.
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="data">{safe}</script>'


def _sources() -> list[str]:
    return [assets.plotly_path().read_text(encoding="utf-8"), *map(assets.text, assets.SCRIPTS)]
