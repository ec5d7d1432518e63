"""HiPlot: each round of each particle as a point, with the one that it descends from."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.swarm.dashboard import assets
from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.state import Move, Publication

FILE = "hiplot.html"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "sandbox allow-scripts allow-downloads allow-modals"
)
"""HiPlot's page evaluates a script; it may, because it can reach neither this server nor any other."""
_HIDDEN = ["uid", "from_uid", "best_fitness", "accuracy", "train_sec", "exchange_sec", "wait_sec"]


def uid(particle: int, round_number: int) -> str:
    """Return the name of a point; people count particles from 1."""
    return f"p{particle + 1}-r{round_number}"


def points(journal: Journal) -> list[dict[str, Any]]:
    """Return the points: `uid`, `from_uid` (None at the beginning) and `values`.

    A point descends from the particle's previous round, or, when the best position of another particle pulled it
    since, from that particle's best round then.
    """
    publications = {(p.particle, p.round): p for _, p in journal.publications()}
    moves = {(m.particle, m.round): m for _, m in journal.moves()}
    return [
        {
            "uid": uid(*place),
            "from_uid": _parent(publication, moves.get((place[0], place[1] - 1)), publications),
            "values": _values(publication, moves.get(place)),
        }
        for place, publication in sorted(publications.items())
    ]


def render(journal: Journal) -> str:
    """Return HiPlot's page of a swarm, which needs no server.

    Raises:
        UserError: HiPlot is not installed, or no round is published yet.
    """
    found = points(journal)
    if not found:
        raise UserError(
            "expected a published round to show in HiPlot, but there is none yet: come back after the first"
        )
    try:
        import hiplot
    except ImportError as error:
        raise UserError(f"this page needs HiPlot, but it cannot be imported ({error}): pip install hiplot") from None
    experiment = hiplot.Experiment(datapoints=[hiplot.Datapoint(**point) for point in found])
    experiment.colorby = "particle"
    names = [str(index + 1) for index in sorted({p.particle for _, p in journal.publications()})]
    colours = dict(zip(names, itertools.cycle(map(_rgb, assets.COLOURS)), strict=False))
    experiment.parameters_definition["particle"].type = hiplot.ValueType.CATEGORICAL
    experiment.parameters_definition["particle"].colors = colours
    experiment.parameters_definition["learning_rate"].type = hiplot.ValueType.NUMERIC_LOG
    experiment.display_data(hiplot.Displays.XY).update({"axis_x": "round", "axis_y": "fitness", "lines_thickness": 1.5})
    experiment.display_data(hiplot.Displays.PARALLEL_PLOT).update({"hide": _HIDDEN, "order": _order(found)})
    return experiment.to_html()


def save_hiplot(directory: Path, journal: Journal) -> Path:
    """Publish `hiplot.html` in a swarm's directory, and return its path; see `render`."""
    path = Path(directory) / FILE
    files.write_text(path, render(journal))
    return path


def _parent(
    publication: Publication, move: Move | None, publications: dict[tuple[int, int], Publication]
) -> str | None:
    particle, previous = publication.particle, publication.round - 1
    if move is not None and move.chosen != particle and (chosen := publications.get((move.chosen, previous))):
        parent = (move.chosen, chosen.best_round)
    else:
        parent = (particle, previous)
    return uid(*parent) if parent in publications else None


def _values(publication: Publication, move: Move | None) -> dict[str, Any]:
    numbers: dict[str, float] = {
        "round": publication.round,
        "fitness": publication.fitness,
        "best_fitness": publication.best_fitness,
        "learning_rate": publication.learning_rate,
        **{_plain(name): value for name, value in publication.row.items() if name != "epoch"},
        "train_sec": publication.train_sec,
    }
    if move is not None:
        numbers |= {f"term_{_plain(name)}": value for name, value in move.terms.items()}
        numbers |= {"exchange_sec": move.exchange_sec, "wait_sec": move.wait_sec}
    values: dict[str, Any] = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return {"particle": str(publication.particle + 1), **values}


def _order(found: list[dict[str, Any]]) -> list[str]:
    # HiPlot draws the last column leftmost.
    return list(dict.fromkeys(name for point in found for name in point["values"]))[::-1]


def _rgb(colour: str) -> str:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return f"rgb({red}, {green}, {blue})"


def _plain(name: str) -> str:
    # HiPlot writes column names into a script as they are.
    return re.sub(r"[^\w .-]", "_", name)
