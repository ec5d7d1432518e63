"""What the results of a comparison say: numbers per arm, paired differences, and a conclusion. Imports no Keras."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.evaluation import folds
from keras_actrec.evaluation.paired import Difference, corrected, difference
from keras_actrec.swarm.compare_settings import ARMS, CONTROL, ENSEMBLE, PULL, Arm, CompareConfig, pairs, trained

Results = Mapping[tuple[str, int, int], Mapping[str, Any]]
"""(arm, seed, fold) -> result of a swarm."""
MEASURES = {"best": "the network that validation has chosen", "mean": "the mean over the networks"}
PULLS = ("neighbours", "own_best", "neighbourhood_best")
BETTER, WORSE, NOTHING = "better", "worse", "no difference shown"
UNCORRECTED, UNKNOWN = "not after correction", "cannot be told"


def summarise(config: CompareConfig, results: Results) -> dict[str, Any]:
    """Return all that tables, plots and texts need, as JSON.

    Args:
        config: of the comparison.
        results: of every trained arm, seed and fold of it.
    """
    first = results[CONTROL, *pairs(config)[0]]
    swarm = config.swarm
    document = {
        "dataset": first["dataset"],
        "model": first["model"],
        "weights": first["weights"],
        "particles": swarm.particles,
        "rates": [swarm.rate(particle) for particle in range(swarm.particles)],
        "rounds": config.training.epochs,
        "fitness": swarm.fitness,
        "distance": swarm.distance,
        "confidence": config.compare.confidence,
        "pairs": [list(pair) for pair in pairs(config)],
        "evaluated": sorted({result["evaluated"] for result in results.values()}),
        "expected": sorted({result["expected"] for result in results.values()}),
        "arms": [_arm(config, arm, results) for arm in _arms(config)],
        "differences": differences(config, results),
    }
    return document | {"conclusion": conclusion(document)}


def values(config: CompareConfig, results: Results, arm: str, measure: str) -> list[float]:
    """Return a measure of an arm in each repetition; the ensemble is that of the control's networks."""
    source, key = (CONTROL, "ensemble") if arm == ENSEMBLE else (arm, measure)
    return [results[source, seed, fold][key] for seed, fold in pairs(config)]


def differences(config: CompareConfig, results: Results) -> list[dict[str, Any]]:
    """Return the paired differences, family by family; Holm's correction is made within a family.

    The families: each arm against independent runs, and each dynamic against the step towards the best; either for
    the network that validation has chosen and for the mean over the networks.
    """
    found = []
    for against in (CONTROL, PULL):
        for measure in MEASURES:
            names = _family(config, against, measure)
            both = [(values(config, results, n, measure), values(config, results, against, measure)) for n in names]
            raw = [[a - b for a, b in zip(*one, strict=True)] for one in both]
            family = corrected([difference(one, config.compare.confidence) for one in raw])
            level = 1 - config.compare.confidence
            found += [
                {"arm": name, "against": against, "measure": measure, "verdict": verdict(one, level)}
                | dataclasses.asdict(one)
                for name, one in zip(names, family, strict=True)
            ]
    return found


def verdict(one: Difference, level: float) -> str:
    """Return what a difference shows: better, worse, or nothing; or too little to stand Holm's correction.

    Without an interval (one pair, or differences that are all equal) nothing can be told, but where all are zero.
    """
    if one.interval is None:
        return NOTHING if one.p == 1.0 else UNKNOWN
    if one.interval[0] <= 0 <= one.interval[1]:
        return NOTHING
    if one.p_holm is None or one.p_holm >= level:
        return UNCORRECTED
    return BETTER if one.mean > 0 else WORSE


def coupling(results: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return how large the terms of the moves were: medians over rounds and particles; None without moves.

    Returns:
        "weight": of the factors f of neighbours; "terms": name -> of the term's size over the size of the particle's
        own displacement; "follows_itself": share of the moves whose best of the neighbourhood was the particle's own.
    """
    moves = [move for result in results for move in result["moves"] if move["terms"].get("own")]
    if not moves:
        return None
    weights = [weight for move in moves for weight in move["weights"]]
    return {
        "weight": statistics.median(weights) if weights else None,
        "terms": {
            name: statistics.median(move["terms"][name] / move["terms"]["own"] for move in moves) for name in PULLS
        },
        "follows_itself": sum(move["chosen"] == move["particle"] for move in moves) / len(moves),
    }


def conclusion(document: Mapping[str, Any]) -> list[str]:
    """Return what the intervals say, in sentences."""
    lines = []
    for measure, said in MEASURES.items():
        control = _rows(document, CONTROL, measure)
        pull = _rows(document, PULL, measure)
        if control:
            lines.append(_against(control, f"Against independent runs, {said}", "independent runs"))
        if pull:
            lines.append(_against(pull, f"Against the step towards the best alone, {said}", "that step alone"))
        lines.append(_answer(control, pull, said))
    return [*lines, *_reach(document)]


def _against(rows: Sequence[Mapping[str, Any]], opening: str, other: str) -> str:
    said = {
        BETTER: f"better than {other}",
        WORSE: f"worse than {other}",
        UNCORRECTED: "the interval leaves out zero, but not after correction for several comparisons",
        NOTHING: NOTHING,
        UNKNOWN: "cannot be told, for want of a spread",
    }
    groups = {text: [_told(row) for row in rows if row["verdict"] == key] for key, text in said.items()}
    return f"{opening}: " + "; ".join(f"{text}: {', '.join(names)}" for text, names in groups.items() if names) + "."


def _told(row: Mapping[str, Any]) -> str:
    return f"{ARMS[row['arm']].title} ({100 * row['mean']:+.1f} points{_between(row['interval'])})"


def _between(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f", {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _answer(control: Sequence[Mapping[str, Any]], pull: Sequence[Mapping[str, Any]], said: str) -> str:
    """Answer whether collaboration helps, or only its pull to the best."""
    helping = {row["arm"] for row in control if ARMS[row["arm"]].collaborates and row["verdict"] == BETTER}
    beyond = {row["arm"] for row in pull if row["verdict"] == BETTER}
    alone = any(row["arm"] == PULL and row["verdict"] == BETTER for row in control)
    start = f"So, by {said}, "
    if not any(ARMS[row["arm"]].collaborates for row in control):
        return start + "nothing is said of collaboration, as none of its dynamics was among the arms."
    if not helping:
        return start + "collaboration was not shown to help." + (" The pull to the best alone was." if alone else "")
    if helping & beyond:
        return start + f"{_titles(helping & beyond)} helped, and by more than the pull to the best does."
    if not pull:
        return start + f"{_titles(helping)} helped; whether by more than a pull to the best was not tested."
    cause = "the pull to the best alone helped, too, and" if alone else "but"
    return start + f"{_titles(helping)} helped; {cause} nothing beyond that pull was shown."


def _titles(names: set[str]) -> str:
    return " and ".join(ARMS[name].title for name in ARMS if name in names)


def _reach(document: Mapping[str, Any]) -> list[str]:
    """Say how small a difference could have been seen, and how much of the moves was coupling."""
    rows = [row for row in _rows(document, CONTROL, "best") if row["interval"]]
    lines = []
    if rows:
        half = statistics.median((row["interval"][1] - row["interval"][0]) / 2 for row in rows)
        lines.append(
            f"{len(document['pairs'])} repetitions: the intervals reach {100 * half:.1f} points to either side "
            "(median), so smaller differences could hardly have been seen. That none was shown does not mean that "
            "there is none."
        )
    coupled = [arm for arm in document["arms"] if ARMS[arm["name"]].collaborates and arm["coupling"]]
    return [*lines, *map(_coupled, coupled)]


def _coupled(arm: Mapping[str, Any]) -> str:
    terms, weight = arm["coupling"]["terms"], arm["coupling"]["weight"]
    factor = "" if weight is None else f", with a weight f of {weight:.2g}"
    return (
        f"{arm['title']}: measured by a particle's own displacement in a round, what came from its neighbours was "
        f"{terms['neighbours']:.2g} (median{factor}), the pull to its own best {terms['own_best']:.2g}, the pull to "
        f"the neighbourhood's best {terms['neighbourhood_best']:.2g}."
    )


def _rows(document: Mapping[str, Any], against: str, measure: str) -> list[Mapping[str, Any]]:
    return [row for row in document["differences"] if (row["against"], row["measure"]) == (against, measure)]


def _arms(config: CompareConfig) -> list[Arm]:
    """Return the arms in the order of the table."""
    return [arm for arm in ARMS.values() if arm.name in config.compare.arms]


def _family(config: CompareConfig, against: str, measure: str) -> list[str]:
    if against not in config.compare.arms:
        return []
    return [
        arm.name
        for arm in _arms(config)
        if arm.name != against
        and (against == CONTROL or arm.collaborates)
        and (measure == "best" or arm.name != ENSEMBLE)
    ]


def _arm(config: CompareConfig, arm: Arm, results: Results) -> dict[str, Any]:
    own = [results[arm.name, *pair] for pair in pairs(config)] if arm in trained(config) else []
    columns = [[result["particles"][index]["test_top1"] for result in own] for index in range(config.swarm.particles)]
    return {
        "name": arm.name,
        "title": arm.title,
        "particles": [_spread(column) for column in columns] if own else [],
        "best": _spread(values(config, results, arm.name, "best")),
        "mean": _spread(values(config, results, arm.name, "mean")) if own else None,
        "failed": sum(row["failed_round"] is not None for result in own for row in result["particles"]),
        "coupling": coupling(own),
        "train_sec": sum(result["train_sec"] for result in own),
        "total_sec": sum(result["total_sec"] for result in own),
    }


def _spread(column: Sequence[float]) -> dict[str, Any]:
    return folds.spread(column) | {"max": max(column)}
