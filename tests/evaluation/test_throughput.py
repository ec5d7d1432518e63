import keras
import pytest
from keras import layers

from keras_actrec.errors import UserError
from keras_actrec.evaluation import throughput


class Clock:
    """Moves on by what a forward pass is said to take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Network:
    """Takes as long as the list says, pass after pass."""

    compiled = True

    def __init__(self, clock: Clock, durations: list[float]) -> None:
        self.clock, self.durations, self.batches = clock, iter(durations), []
        self.inputs = [keras.KerasTensor((None, 2, 4, 4, 3), name="rgb")]

    def predict_on_batch(self, clips: object) -> object:
        self.clock.now += next(self.durations)
        self.batches.append(clips.shape)
        return clips[:, 0, 0, 0]


def test_the_median_without_the_warm_up() -> None:
    clock = Clock()
    network = Network(clock, [30.0, 5.0, 2.0, 9.0, 2.0, 2.5, 1.0])
    result = throughput.measure(network, batch_size=4, passes=5, warm_up=2, clock=clock)
    assert (result.first_pass_sec, result.median_sec, result.fastest_sec, result.slowest_sec) == (30.0, 2.0, 1.0, 9.0)
    assert result.clips_per_sec == 2.0
    assert set(network.batches) == {(4, 2, 4, 4, 3)}


def test_a_slow_network_is_not_timed_for_ever() -> None:
    clock = Clock()
    result = throughput.measure(Network(clock, [9.0] * 20), passes=10, warm_up=1, limit_sec=20, clock=clock)
    assert result.passes == 3


def test_a_real_network() -> None:
    clip = keras.Input((None, 4), name="rgb")
    network = keras.Model(clip, layers.GlobalAveragePooling1D()(layers.Dense(3)(clip)))
    with pytest.raises(UserError, match="open shape"):
        throughput.measure(network)
    result = throughput.measure(network, batch_size=2, shapes={"rgb": (5, 4)}, passes=3)
    assert result.clips_per_sec == pytest.approx(2 / result.median_sec)
    assert result.to_json()["passes"] == 3
