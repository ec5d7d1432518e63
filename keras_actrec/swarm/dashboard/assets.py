"""The files that the page is made of, and plotly's bundled JavaScript, found without importing plotly."""

from __future__ import annotations

import functools
import gzip
import importlib.metadata
import importlib.resources
import importlib.util
from pathlib import Path

from keras_actrec.errors import UserError
from keras_actrec.web import base_style

STYLE = "page.css"
SCRIPTS = ("data.js", "charts.js", "follow.js", "particles.js", "page.js")
"""In the order in which they are loaded."""


def text(name: str) -> str:
    """Return one of the page's own files; the style with what all pages of the package share."""
    shared = base_style() if name == STYLE else ""
    return shared + importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def plotly_path() -> Path:
    """Return the file of plotly's JavaScript in the installed package."""
    spec = importlib.util.find_spec("plotly")
    path = Path(spec.origin).parent / "package_data" / "plotly.min.js" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError("the page draws with plotly's JavaScript, but plotly is not installed: pip install plotly")
    return path


@functools.cache
def plotly_name() -> str:
    """Return the name that it is served by; another version has another name, so that browsers may keep it."""
    return f"plotly-{importlib.metadata.version('plotly')}.min.js"


@functools.cache
def plotly_gzipped() -> bytes:
    """Return it compressed: a third of the 5 MB."""
    return gzip.compress(plotly_path().read_bytes(), compresslevel=6)


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5609a", "#e69f00", "#56b4e9", "#332288", "#882255")
"""Of the particles, in turn: Okabe and Ito's and Tol's, which the colour-blind tell apart."""
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<path d="M8 9 24 12M8 9 13 24M13 24 24 12" stroke="#8a94a6" stroke-width="2"/>'
    '<circle cx="8" cy="9" r="5" fill="#0072b2"/><circle cx="24" cy="12" r="5" fill="#d55e00"/>'
    '<circle cx="13" cy="24" r="5" fill="#009e73"/></svg>'
)
