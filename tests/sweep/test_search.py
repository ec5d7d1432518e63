"""Optuna behind our records: what is proposed, what is ended early, what mattered."""

import math
from typing import Any

import pytest

pytest.importorskip("optuna")

from keras_actrec.sweep import record, search
from keras_actrec.sweep.record import State, Trial
from keras_actrec.sweep.search import Search
from keras_actrec.sweep.settings import SweepSection

SPACE = {
    "training.optimizer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.heads": [1, 2, 4],
    "model.cell": ["gru", {"name": "lstm", "units": 3}],
}


def make(direction: str = "maximize", **section: Any) -> Search:
    return Search(SweepSection.model_validate({"space": SPACE, **section}), direction, seed=1)


def told(point: dict[str, Any]) -> float:
    """A landscape whose best place is a rate of 1e-2 and four heads; the cell does not matter."""
    rate = math.log10(point["training.optimizer.learning_rate"])
    return -((rate + 2) ** 2) - 0.5 * abs(math.log2(point["model.heads"]) - 2)


def played(asked: Search, count: int, trials: list[Trial] | None = None) -> list[Trial]:
    trials = list(trials or [])
    while len(trials) < count:
        point = asked.propose(trials)
        trials.append(Trial(len(trials) + 1, point, State.COMPLETE, (told(point),), told(point)))
    return trials


def test_a_killed_search_goes_on_as_it_would_have_gone_on() -> None:
    whole = played(make(), 16)
    assert played(make(), 16, whole[:7]) == whole
    assert played(make(), 3) != played(Search(make().settings, "maximize", seed=2), 3)


def test_tpe_finds_better_places_than_random_draws() -> None:
    def mean_of_last(name: str) -> float:
        values = [
            one.value
            for seed in (1, 2, 3)
            for one in played(Search(make(search=name).settings, "maximize", seed), 40)[25:]
        ]
        return sum(values) / len(values)

    assert mean_of_last("tpe") > mean_of_last("random") + 0.5


def test_the_direction_counts() -> None:
    trials = played(make("minimize"), 40)
    assert sum(one.value for one in trials[25:]) / 15 < sum(one.value for one in trials[:10]) / 10
    assert record.best(trials, "minimize").value == min(one.value for one in trials)
    assert record.best(trials, "maximize").value == max(one.value for one in trials)


@pytest.mark.parametrize("name", ["grid", "random", "tpe"])
def test_no_point_is_tried_twice_and_all_are_tried(name: str) -> None:
    asked = make(search=name, space={"model.heads": [1, 2, 4], "training.epochs": {"low": 1, "high": 3}}, trials=99)
    trials: list[Trial] = []
    while (point := asked.propose(trials)) is not None:
        trials.append(Trial(len(trials) + 1, point, State.COMPLETE, (0.5,), 0.5))
    assert asked.settings.count == 9
    assert len({str(one.point) for one in trials}) == len(trials) == 9


def test_values_come_back_as_they_were_written() -> None:
    cells = [one.point["model.cell"] for one in played(make(search="random"), 12)]
    assert "gru" in cells
    assert {"name": "lstm", "units": 3} in cells
    assert all(isinstance(one.point["model.heads"], int) for one in played(make(), 3))


def test_workers_do_not_all_try_the_same_place() -> None:
    asked = make(workers=4)
    trials = played(asked, 12)
    for number in range(13, 17):
        trials.append(Trial(number, asked.propose(trials)))
    running = [one for one in trials if not one.ended]
    assert len({str(one.point) for one in running}) == 4


def curve(number: int, *values: float, state: State = State.COMPLETE) -> Trial:
    value = max(values) if state is State.COMPLETE else None
    return Trial(number, at(-3 + number / 10), state, values, value)


def test_the_median_ends_what_is_worse_than_half_of_the_others_at_that_epoch() -> None:
    others = [curve(1, 0.1, 0.2, 0.3), curve(2, 0.2, 0.4, 0.5), curve(3, 0.3, 0.6, 0.7)]
    asked = make(pruner="median", pruner_startup_trials=3)
    bad, good = curve(4, 0.15, 0.35, state=State.RUNNING), curve(4, 0.15, 0.45, state=State.RUNNING)
    assert asked.is_hopeless([*others, bad], bad, epochs=3)  # the median at epoch 2 is 0.4
    assert not asked.is_hopeless([*others, good], good, epochs=3)
    assert not make(pruner="median", pruner_startup_trials=4).is_hopeless([*others, bad], bad, epochs=3)
    assert not make(pruner="median", pruner_startup_trials=3, pruner_warmup_epochs=2).is_hopeless(
        [*others, bad], bad, epochs=3
    )
    assert not make().is_hopeless([*others, bad], bad, epochs=3)


def test_a_trial_at_its_last_epoch_is_not_ended() -> None:
    others = [curve(number, 0.5, 0.6) for number in (1, 2, 3, 4, 5)]
    last = curve(6, 0.0, 0.0, state=State.RUNNING)
    assert not make(pruner="median").is_hopeless([*others, last], last, epochs=2)


def test_losses_are_compared_the_other_way_round() -> None:
    others = [curve(1, 3.0, 2.0), curve(2, 3.0, 2.2), curve(3, 3.0, 2.4)]
    worse = curve(4, 3.0, 2.5, state=State.RUNNING)
    asked = make("minimize", pruner="median", pruner_startup_trials=1)
    assert asked.is_hopeless([*others, worse], worse, epochs=3)
    assert not make("maximize", pruner="median", pruner_startup_trials=1).is_hopeless([*others, worse], worse, epochs=3)


def test_halving_lets_the_best_quarter_pass_each_rung() -> None:
    # Rungs are epochs 1, 4, 16; at the first, 8 trials have been.
    ended = [curve(number, 0.1 * number, state=State.PRUNED) for number in range(1, 8)]
    asked = make(pruner="halving")
    best, third = curve(8, 0.75, state=State.RUNNING), curve(8, 0.55, state=State.RUNNING)
    assert not asked.is_hopeless([*ended, best], best, epochs=20)
    assert asked.is_hopeless([*ended, third], third, epochs=20)
    # Between rungs nothing is asked, however bad it has become.
    between = curve(8, 0.75, 0.0, state=State.RUNNING)
    assert not asked.is_hopeless([*ended, between], between, epochs=20)


def at(exponent: float) -> dict[str, Any]:
    return {"training.optimizer.learning_rate": 10**exponent, "model.heads": 1, "model.cell": "gru"}


def test_diverged_trials_are_avoided_and_failed_ones_say_nothing() -> None:
    asked = make()
    bad = [Trial(number, at(-1 - number / 20), State.DIVERGED) for number in range(1, 11)]
    good = [
        Trial(number, at(-3 - number / 40), State.COMPLETE, (number / 100,), number / 100) for number in range(11, 21)
    ]
    trials = [*bad, *good]
    asked_for = [Search(asked.settings, "maximize", seed).propose(trials) for seed in range(10)]
    rates = [point["training.optimizer.learning_rate"] for point in asked_for]
    assert sum(rate < 1e-2 for rate in rates) >= 8
    failed = [Trial(number, good[0].point, State.FAILED, reason="no") for number in range(1, 4)]
    assert asked.propose(failed) is not None


def test_what_matters_is_found_and_what_does_not_is_not() -> None:
    shares = make().importances(played(make(search="random"), 60))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["training.optimizer.learning_rate"] > 0.5
    assert shares["model.cell"] < 0.1
    assert make().importances(played(make(), 1)) == {}


def test_rungs_are_those_of_optuna() -> None:
    values = {epoch: 0.1 * epoch for epoch in range(1, 18)}
    assert search._rungs(values, ended=True) == pytest.approx(
        {"completed_rung_0": 0.1, "completed_rung_1": 0.4, "completed_rung_2": 1.6}
    )
    assert list(search._rungs({1: 0.1}, ended=False)) == []
    assert list(search._rungs({1: 0.1}, ended=True)) == ["completed_rung_0"]
