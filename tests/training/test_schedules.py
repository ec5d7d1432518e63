import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import toys
import yaml

from keras_actrec.config import OptimizerConfig, ScheduleConfig, parse_config
from keras_actrec.errors import UserError
from keras_actrec.training.distribution import set_up
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.schedules import EpochSchedule, build_schedule
from keras_actrec.training.supervised import fit

STEPS, EPOCHS, RATE = 7, 10, 0.3


def oracle(name: str, t: int, warmup: float, every: float, factor: float, minimum: float) -> float:
    """The formulas of the class's docstring, in NumPy's float64."""
    w = warmup * STEPS
    if t < w:
        return RATE * (t + 1) / (w + 1)
    u = t - w
    match name:
        case "step":
            return RATE * factor ** np.floor(u / (every * STEPS))
        case "exponential":
            return RATE * factor ** (u / (every * STEPS))
        case "cosine":
            share = min(u / (EPOCHS * STEPS - w), 1.0)
            return RATE * (minimum + (1 - minimum) * 0.5 * (1 + np.cos(np.pi * share)))
    return RATE


@pytest.mark.parametrize("name", ["constant", "step", "exponential", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 1.5, 2.0])
def test_against_numpy(name: str, warmup: float) -> None:
    config = ScheduleConfig(name=name, warmup_epochs=warmup, every_epochs=3.0, factor=0.2, minimum=0.1)
    schedule = build_schedule(OptimizerConfig(learning_rate=RATE), config, STEPS, EPOCHS)
    for step in range(STEPS * EPOCHS + 20):
        value = float(keras.ops.convert_to_numpy(schedule(step)))
        assert value == pytest.approx(oracle(name, step, warmup, 3.0, 0.2, 0.1), rel=2e-6), step


def test_known_values() -> None:
    cosine = EpochSchedule("cosine", 1.0, 10, 10, minimum=0.2)
    assert [float(cosine(step)) for step in (0, 50, 100, 500)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    warm = EpochSchedule("constant", 1.0, 4, 10, warmup_epochs=1)
    assert [float(warm(step)) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    steps = EpochSchedule("step", 1.0, 5, 10, every_epochs=2, factor=0.5)
    assert [float(steps(step)) for step in (0, 9, 10, 19, 20)] == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.25])


def test_a_step_per_epoch_is_exponential_decay_of_pytorch() -> None:
    """`{name: step, every_epochs: 1, factor: gamma}` is ExponentialLR(gamma): the rate changes between epochs alone."""
    optim = pytest.importorskip("torch").optim
    theirs = optim.SGD([pytest.importorskip("torch").zeros(1, requires_grad=True)], lr=RATE)
    decay = optim.lr_scheduler.ExponentialLR(theirs, gamma=0.9)
    ours = EpochSchedule("step", RATE, STEPS, EPOCHS, every_epochs=1.0, factor=0.9)
    for epoch in range(EPOCHS):
        for batch in range(STEPS):
            assert float(ours(epoch * STEPS + batch)) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-5)
        theirs.step()
        decay.step()


def test_warm_up_as_long_as_the_run_stays_finite() -> None:
    schedule = EpochSchedule("cosine", 1.0, 10, 3, warmup_epochs=3)
    values = [float(schedule(step)) for step in range(40)]
    assert np.isfinite(values).all()
    assert max(values) <= 1.0


def test_round_trip_within_an_optimizer() -> None:
    schedule = EpochSchedule("exponential", 0.5, 3, 4, warmup_epochs=1, every_epochs=2.5, factor=0.3)
    optimizer = keras.optimizers.SGD(schedule)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    copy = again._learning_rate
    assert [float(copy(step)) for step in range(12)] == [float(schedule(step)) for step in range(12)]


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="constant, step"):
        EpochSchedule("cosin", 1.0, 1, 1)


def test_listed_rates_change_with_the_epoch_and_the_last_one_holds_on() -> None:
    """At each epoch's first and last batch, for batches per epoch as many as UCF-101 gives."""
    rates = [10**-number for number in range(7)]
    for steps in (1, STEPS, 1192, 99_999):
        schedule = build_schedule(OptimizerConfig(), ScheduleConfig(name="listed", rates=rates), steps, len(rates))
        for epoch in range(len(rates) + 3):
            expected = rates[min(epoch, len(rates) - 1)]
            for step in (epoch * steps, (epoch + 1) * steps - 1):
                assert float(schedule(step)) == pytest.approx(expected, rel=1e-6), (steps, step)


def test_listed_round_trip_within_an_optimizer() -> None:
    schedule = EpochSchedule("listed", 1.0, 3, 4, rates=[0.1, 0.3, 0.2])
    again = keras.optimizers.deserialize(keras.optimizers.serialize(keras.optimizers.SGD(schedule)))
    assert [float(again._learning_rate(step)) for step in range(12)] == [float(schedule(step)) for step in range(12)]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{name: listed}", "belong together"),
        ("{name: constant, rates: [0.1]}", "belong together"),
        ("{name: listed, rates: [0.1], warmup_epochs: 1}", "list the rising rates"),
        ("{name: listed, rates: [0.1, 0.0]}", "greater than 0"),
    ],
)
def test_listed_and_rates_belong_together(section: str, message: str) -> None:
    document = yaml.safe_load(f"training: {{schedule: {section}}}")
    with pytest.raises(UserError, match=message):
        parse_config(document)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_listed_rates_move_the_weights_and_stand_in_the_history(tmp_path: Path, accumulate: int) -> None:
    """With rates that differ by decades, each epoch's movement tells which one it had."""
    rates = [1e-1, 1e-5, 1e-2]
    config = toys.make_config(
        tmp_path,
        batch_size=4,
        schedule={"name": "listed", "rates": rates},
        optimizer={"name": "sgd", "momentum": 0.0, "accumulate": accumulate},
    )
    with RunDirectory.create(config, toys.make_manifest(tmp_path)) as run:
        model = toys.make_network(dropout=0.0, normalise=False)
        weights = Weights(model)
        train, validation = (
            toys.ArrayLoader(*toys.make_arrays(16)),
            toys.ArrayLoader(*toys.make_arrays(9), shuffle=False),
        )
        fitted = fit(model, train, weights.watch(validation), config.training, run, hardware=set_up(config.training))
    assert [row["learning_rate"] for row in fitted.rows] == pytest.approx(rates)
    moved = np.array(weights.moved())
    assert moved[0] > 100 * moved[1]
    assert moved[2] > 100 * moved[1]
    assert moved[0] > 2 * moved[2]


class Weights:
    """Looks at a model's weights each time that an epoch is validated."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.seen = [self.now()]

    def now(self) -> np.ndarray:
        return np.concatenate([np.ravel(value) for value in self.model.get_weights()])

    def moved(self) -> list[float]:
        return [float(np.linalg.norm(after - before)) for before, after in itertools.pairwise(self.seen)]

    def watch(self, loader: toys.ArrayLoader) -> toys.ArrayLoader:
        batches = loader.batches

        def watched() -> Iterator[Any]:
            self.seen.append(self.now())
            yield from batches()

        loader.batches = watched
        return loader
