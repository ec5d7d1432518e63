"""Draws docs/images/swarm-scaling.png from docs/results/swarm-scaling.json, which benchmarks/swarm_scaling.py writes.

python docs/scaling_picture.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from keras_actrec.swarm.dashboard.assets import COLOURS, plotly_path

ROOT = Path(__file__).parent.parent
RESULTS, PICTURE = ROOT / "docs" / "results" / "swarm-scaling.json", ROOT / "docs" / "images" / "swarm-scaling.png"
PAGE = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0;background:#fff">
<div id="chart" style="width:1180px;height:520px"></div><script>%s</script>
<script>Plotly.newPlot("chart", %s, %s, {staticPlot: true}).then(() => { document.body.dataset.ready = "yes"; });
</script>"""


def lines(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the curves: bytes that one particle reads, and seconds of a round of all."""
    cores, servers = found["machine"]["cores"], {one["particles"]: one for one in found["servers"]}
    data = []
    for place, weights in enumerate(sorted({row["weights"] for row in found["rows"]})):
        rows = [row for row in found["rows"] if row["weights"] == weights]
        counts, colour = [row["particles"] for row in rows], COLOURS[place]
        for by, dash in (("exact", "solid"), ("sketch", "dot")):
            name = f"{weights:,} weights, {by}"
            made = [row["sketch_sec"] if by == "sketch" else 0.0 for row in rows]
            seconds = [
                row["particles"] * (row[by]["move_sec"] + more) / cores for row, more in zip(rows, made, strict=True)
            ]
            for values, axis in (([row[by]["bytes"] / 1e6 for row in rows], ""), (seconds, "2")):
                data.append(
                    {
                        "x": counts,
                        "y": values,
                        "xaxis": f"x{axis}",
                        "yaxis": f"y{axis}",
                        "name": name,
                        "legendgroup": name,
                        "showlegend": not axis,
                        "mode": "lines+markers",
                        "line": {"color": colour, "dash": dash, "width": 2.5},
                    }
                )
    answers = [one["particles"] * one["answer_sec"] for one in servers.values()]
    server = {"color": "#444444", "dash": "dash", "width": 2}
    data.append({"x": list(servers), "y": answers, "xaxis": "x2", "yaxis": "y2", "name": "server", "line": server})
    return data


def layout(cores: int) -> dict[str, Any]:
    """Return two charts side by side, all axes logarithmic."""
    axis = {"type": "log", "gridcolor": "#e4e8ee", "dtick": 1}
    return {
        "font": {"size": 13},
        "margin": {"l": 70, "r": 20, "t": 50, "b": 110},
        "legend": {"orientation": "h", "y": -0.2},
        "xaxis": {**axis, "domain": [0, 0.46], "title": {"text": "particles, N"}},
        "xaxis2": {**axis, "domain": [0.56, 1], "title": {"text": "particles, N"}, "anchor": "y2"},
        "yaxis": {**axis, "title": {"text": "MB that one particle reads per round"}},
        "yaxis2": {**axis, "title": {"text": f"seconds of a round of all, {cores} cores"}, "anchor": "x2"},
    }


def main() -> None:
    """Draw and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=PICTURE, metavar="FILE", help=f"default: docs/images/{PICTURE.name}"
    )
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    import chromium

    found = json.loads(RESULTS.read_text())
    page = PAGE % (plotly_path().read_text(), json.dumps(lines(found)), json.dumps(layout(found["machine"]["cores"])))
    with tempfile.TemporaryDirectory() as folder, chromium.launch() as browser:
        path = Path(folder) / "chart.html"
        path.write_text(page)
        tab = browser.page(1180, 520)
        tab.open(f"file://{path}", "document.body?.dataset.ready === 'yes'")
        print(tab.picture(options.out))


if __name__ == "__main__":
    main()
