"""The swarm in lines and tables for the console, and its result. Imports no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.settings import SwarmConfig, name_of
from keras_actrec.swarm.state import Publication


def round_line(config: SwarmConfig, number: int, published: Mapping[int, Publication]) -> str:
    """Return one line about a complete round: the measure of each particle, the best one marked."""
    name = config.swarm.fitness
    best = max(published.values(), key=lambda publication: publication.best_fitness, default=None)
    cells = [f"{particle + 1}: {publication.row[name]:.4g}" for particle, publication in sorted(published.items())]
    so_far = "" if best is None else f"   best so far {abs(best.best_fitness):.4g} ({name_of(best.particle)})"
    return f"round {number}/{config.training.epochs}  {name}  {'  '.join(cells)}{so_far}"


def result(config: SwarmConfig, journal: Journal, results: Mapping[int, dict[str, Any] | None]) -> dict[str, Any]:
    """Return what came out: the particles' numbers, and the best one, which validation has chosen.

    Args:
        config: of the swarm.
        journal: knows each particle's best fitness.
        results: final numbers by particle; None for one that failed.
    """
    rows = [_row(config, journal, particle, numbers) for particle, numbers in sorted(results.items())]
    finished = [row for row in rows if row["test_top1"] is not None]
    best = max(finished, key=lambda row: row["best_fitness"])  # the earlier of equals
    return {"best": best["index"], "fitness": config.swarm.fitness, "particles": rows}


def _row(config: SwarmConfig, journal: Journal, particle: int, numbers: dict[str, Any] | None) -> dict[str, Any]:
    last = journal.last_round(particle)
    publication = journal.publication(particle, last) if last else None
    rate = config.swarm.rate(particle)
    row = {
        "index": particle,
        "name": name_of(particle),
        "learning_rate": list(rate) if isinstance(rate, tuple) else rate,
        "rounds": last,
        "best_round": publication and publication.best_round,
        "best_fitness": publication and publication.best_fitness,
        "run": None,
        "validation_top1": None,
        "test_top1": None,
        "test_top5": None,
        "coverage": None,
        "evaluated": None,
    }
    return row | {name: value for name, value in (numbers or {}).items() if name in row}


def text(document: dict[str, Any]) -> str:
    """Return the table of particles that a swarm ends with."""
    head = _columns("particle", "rate", "best round", document["fitness"], "val top-1", "test top-1")
    return "\n".join([head, *(_line(row, document["best"]) for row in document["particles"])])


def _line(row: dict[str, Any], best: int) -> str:
    rate = row["learning_rate"]
    shown = f"{rate[0]:g} to {rate[1]:g}" if isinstance(rate, list) else f"{rate:g}"
    fitness = "-" if row["best_fitness"] is None else f"{abs(row['best_fitness']):.4g}"
    cells = _columns(
        row["name"],
        shown,
        str(row["best_round"] or "-"),
        fitness,
        _percent(row["validation_top1"]),
        _percent(row["test_top1"]),
    )
    return cells + ("  best" if row["index"] == best else "")


def _columns(name: str, rate: str, best_round: str, fitness: str, validation: str, test: str) -> str:
    return f"{name:<12} {rate:>16} {best_round:>10} {fitness:>13} {validation:>10} {test:>10}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
