import keras
import numpy as np
import pytest

from keras_actrec.config import OptimizerConfig, ScheduleConfig
from keras_actrec.training.schedules import EpochSchedule, build_schedule

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
