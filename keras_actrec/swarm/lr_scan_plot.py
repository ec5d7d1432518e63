"""The page of a learning-rate scan: one HTML file that needs no network, with plotly's JavaScript in it."""

from __future__ import annotations

import html
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.swarm.lr_scan_rates import Suggestion

INK, GRID = "#1c2430", "#e4e8ee"
TRAINING, VALIDATION = "#2563eb", "#8a94a6"
MARKS = ("#059669", "#d97706", "#7c3aed", "#db2777", "#0891b2", "#65a30d")
BAND = "rgba(217,119,6,0.13)"
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>
body {font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1c2430;
      max-width: 60rem; margin: 0 auto; padding: 1rem}
h1 {font-size: 1.4rem; margin: 0; overflow-wrap: anywhere}
pre {background: #f4f6f9; padding: .8rem; overflow-x: auto}
.scroll {overflow-x: auto}
table {border-collapse: collapse; font-variant-numeric: tabular-nums}
th, td {text-align: right; padding: .15rem .9rem .15rem 0}
tr.best {font-weight: 600}
</style>
</head>
<body>
<h1>$title</h1>
<p>$about</p>
<div id="accuracy" style="height:400px" role="img" aria-label="accuracy over the learning rate"></div>
<div id="loss" style="height:260px" role="img" aria-label="loss over the learning rate"></div>
<h2>Suggestion</h2>
$suggestion
<h2>Numbers</h2>
<div class="scroll">$table</div>
<script>$plotly</script>
<script>
const figures = $figures;
for (const [name, figure] of Object.entries(figures))
  Plotly.newPlot(name, figure.data, figure.layout, {displayModeBar: false, responsive: true});
</script>
</body>
</html>
""")


def page(title: str, result: Mapping[str, Any], suggestion: Suggestion) -> str:
    """Return the page.

    Args:
        title: name of the scan.
        result: content of scan.json.
        suggestion: is marked in the chart and printed.
    """
    from plotly.offline import get_plotlyjs

    about = (
        f"Learning-rate scan: {result['model']} on {result['dataset']}, fold {result['fold']}, seed {result['seed']}. "
        f"One epoch of {result['clips']:,} clips at each rate, the weights not reset between them."
    )
    figures = {"accuracy": accuracy(result, suggestion), "loss": loss(result)}
    return PAGE.substitute(
        policy=html.escape(POLICY),
        title=html.escape(title),
        about=html.escape(about),
        suggestion=_suggestion(suggestion),
        table=_table(result, suggestion),
        plotly=get_plotlyjs(),
        figures=_script_json(figures),
    )


def accuracy(result: Mapping[str, Any], suggestion: Suggestion) -> dict[str, Any]:
    """Return the chart of accuracy over the rate, with a line at each suggested rate and a band for a range."""
    band = [_band(rate) for rate in suggestion.rates if isinstance(rate, tuple)]
    curves = [
        _curve(result, "accuracy", "training", TRAINING, ".1%"),
        _curve(result, "val_accuracy", "validation", VALIDATION, ".1%"),
    ]
    fixed = [(number, rate) for number, rate in enumerate(suggestion.rates, 1) if not isinstance(rate, tuple)]
    marks = [_mark(number, rate) for number, rate in fixed]
    layout = _layout(400, "accuracy")
    layout["yaxis"] |= {"tickformat": ".0%", "range": [0, 1.02]}
    return {"data": [*band, *curves, *marks], "layout": layout}


def loss(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chart of loss over the rate, both on logarithmic axes, because a loss may explode."""
    curves = [
        _curve(result, "loss", "training", TRAINING, ".4g"),
        _curve(result, "val_loss", "validation", VALIDATION, ".4g"),
    ]
    layout = _layout(260, "loss")
    layout["yaxis"] |= {"type": "log", "exponentformat": "power"}
    return {"data": curves, "layout": layout}


def _curve(result: Mapping[str, Any], column: str, name: str, colour: str, form: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": result["rates"],
        "y": result[column],
        "line": {"color": colour, "width": 2},
        "hovertemplate": f"rate %{{x:.3g}}: %{{y:{form}}}",
    }


def _mark(number: int, rate: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"particle {number}: {rate:g}",
        "x": [rate, rate],
        "y": [0, 1],
        "line": {"color": MARKS[(number - 1) % len(MARKS)], "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
    }


def _band(limits: tuple[float, float]) -> dict[str, Any]:
    low, high = limits
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"last particle: {low:g} to {high:g}",
        "x": [low, low, high, high],
        "y": [0, 1, 1, 0],
        "fill": "toself",
        "fillcolor": BAND,
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _layout(height: int, title: str) -> dict[str, Any]:
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True}
    return {
        "height": height,
        "margin": {"l": 48, "r": 12, "t": 12, "b": 44},
        "font": {"size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "dragmode": False,
        "xaxis": {**axis, "type": "log", "exponentformat": "power", "title": {"text": "learning rate"}},
        "yaxis": {**axis, "title": {"text": title}},
    }


def _suggestion(suggestion: Suggestion) -> str:
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in suggestion.notes)
    return f"<pre>{html.escape(suggestion.yaml)}</pre>{notes}" if suggestion.rates else notes


def _table(result: Mapping[str, Any], suggestion: Suggestion) -> str:
    columns = ("accuracy", "loss", "val_accuracy", "val_loss")
    head = _row("th", ("rate", "training accuracy", "loss", "validation accuracy", "loss"))
    rows = [
        _row(
            "td",
            (f"{rate:.3g}", f"{right:.2%}", f"{wrong:.4g}", f"{val:.2%}", f"{val_loss:.4g}"),
            rate == suggestion.best,
        )
        for rate, right, wrong, val, val_loss in zip(
            result["rates"], *(result[column] for column in columns), strict=True
        )
    ]
    return f"<table>{head}{''.join(rows)}</table>"


def _row(cell: str, texts: Sequence[str], best: bool = False) -> str:
    cells = "".join(f"<{cell}>{html.escape(text)}</{cell}>" for text in texts)
    return f'<tr class="best">{cells}</tr>' if best else f"<tr>{cells}</tr>"


def _script_json(value: Any) -> str:
    """Return JSON in which no character can end the script element."""
    text = json.dumps(value, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
