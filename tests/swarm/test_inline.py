"""A swarm in one process: what it does to its particles, and that it is the same as plain runs where it must be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_actrec.config import RunConfig
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError
from keras_actrec.swarm.compare_run import pooled, scores
from keras_actrec.swarm.inline import InlineSwarm, Outcome
from keras_actrec.swarm.inline_data import RememberingSource
from keras_actrec.swarm.settings import SwarmConfig, draws, particle_config
from keras_actrec.swarm.state import Kind
from keras_actrec.swarm.store import DirectoryStore, MemoryStore
from keras_actrec.training import datasets, distribution, fold
from keras_actrec.training.callbacks import FiniteLoss
from keras_actrec.training.run_directory import RunDirectory

Make = Callable[..., SwarmConfig]
OFF = {"dynamic": "dynamic_1", "c1": 0.0, "c2": 0.0, "coupling": 0.0}


@pytest.fixture
def make(stick_actions: Path) -> Make:
    """Return configurations of swarms that train in seconds."""

    def make(epochs: int = 2, **swarm: Any) -> SwarmConfig:
        section = {"particles": 2, "learning_rates": [0.05, [0.01, 0.1]], **swarm}
        document = {
            "seed": 3,
            "data": {
                "root": str(stick_actions),
                "stick_actions": {"clips_per_class": 12, "difficulty": "easy", "seed": 1},
                "frames": 2,
                "size": 32,
                "workers": 2,
            },
            "model": {"name": "convnet_rnn", "backbone": "tiny", "weights": "none", "widths": [4, 8], "units": 8},
            "training": {"epochs": epochs, "batch_size": 16},
            "logging": {"tensorboard": False},
            "evaluation": {"probes": False, "baseline": False, "throughput": False},
            "swarm": section,
        }
        return SwarmConfig.model_validate(document)

    return make


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[SwarmConfig], InlineSwarm]]:
    swarms: list[InlineSwarm] = []

    def open_swarm(config: SwarmConfig) -> InlineSwarm:
        hardware = distribution.set_up(config.training)
        folder = tmp_path / f"swarm-{len(swarms)}"
        swarms.append(InlineSwarm(config, datasets.load(config), hardware, folder, workers=2))
        return swarms[-1]

    yield open_swarm
    for swarm in swarms:
        swarm.close()


def weights_of(network: Any) -> list[np.ndarray]:
    return [np.array(variable) for variable in network.variables]


def plain_run(config: RunConfig, folder: Path) -> tuple[list[np.ndarray], bytes]:
    """Train the ordinary way; return the best weights and history.csv."""
    own = config.model_copy(update={"output": str(folder)})
    manifest = datasets.load(own)
    hardware = distribution.set_up(own.training)
    with RunDirectory.create(own, manifest) as directory:
        fold.run_fold(directory, manifest, hardware)
        import keras

        network = keras.saving.load_model(directory.model)
        return [np.array(variable) for variable in network.weights], directory.history.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_particles_without_pulls_equal_plain_runs_bit_for_bit(
    make: Make, opened: Callable[[SwarmConfig], InlineSwarm], tmp_path: Path, count: int
) -> None:
    rates = [0.05, [0.01, 0.1]][:count]
    config = make(epochs=3, particles=count, learning_rates=rates, **OFF)
    swarm, store = opened(config), MemoryStore()
    swarm.run(store=store)
    assert len(store.journal.moves()) == 2 * count
    for member in swarm.members:
        weights, history = plain_run(particle_config(config, member.index, "", 2), tmp_path / f"plain-{member.index}")
        assert member.run.history.read_bytes() == history
        for mine, theirs in zip(member.network.weights, weights, strict=True):
            assert np.array(mine).tobytes() == theirs.tobytes()


@pytest.mark.slow
def test_a_swarm_of_one_is_seeded_as_the_plain_run_of_its_configuration(
    make: Make, opened: Callable[[SwarmConfig], InlineSwarm], tmp_path: Path
) -> None:
    config = make(particles=1, learning_rates=[0.05], dynamic="none")
    document = config.model_dump(exclude={"swarm"})
    document["training"]["optimizer"]["learning_rate"] = 0.05
    document["training"]["select_by"] = "val_loss"
    swarm = opened(config)
    swarm.run()
    _, history = plain_run(RunConfig.model_validate(document), tmp_path / "plain")
    assert swarm.members[0].run.history.read_bytes() == history


@pytest.mark.slow
def test_a_second_swarm_of_the_same_networks_equals_one_of_fresh_ones(
    make: Make, opened: Callable[[SwarmConfig], InlineSwarm]
) -> None:
    config = make(coupling=1.0, distance="rms")
    pulled = config.model_copy(update={"swarm": config.swarm.model_copy(update={"dynamic": "towards_best"})})
    used, fresh = opened(pulled), opened(config)
    used.run()
    again, first = used.run(config), fresh.run()
    assert again == first
    for mine, theirs in zip(used.members, fresh.members, strict=True):
        for one, other in zip(weights_of(mine.network), weights_of(theirs.network), strict=True):
            assert one.tobytes() == other.tobytes()


def test_a_move_is_the_equation(make: Make, opened: Callable[[SwarmConfig], InlineSwarm], tmp_path: Path) -> None:
    config = make(dynamic="towards_best", c2=0.8)
    store = DirectoryStore(tmp_path / "store")
    pruned: list[int] = []
    store.prune = lambda oldest, best: pruned.append(oldest)  # keep all rounds, to look at them
    swarm = opened(config)
    swarm.run(store=store)
    published = store.journal.published(1)
    best = max((0, 1), key=lambda index: published[index].best_fitness)
    for index in (0, 1):
        after = store.get(index, Kind.AFTER, 1).array.astype(np.float64)
        pull = store.get(best, Kind.BEST, 1).array - after
        expected = after + 0.8 * draws(config.seed, 1, index)[1] * pull
        np.testing.assert_allclose(store.get(index, Kind.BEFORE, 2).array, expected, rtol=1e-5, atol=1e-6)
        assert store.journal.move(index, 1).chosen == best
        assert store.journal.move(index, 2) is None
    assert pruned == [2, 3]
    store.close()


@pytest.mark.slow
def test_permuting_the_particles_permutes_the_results(make: Make, opened: Callable[[SwarmConfig], InlineSwarm]) -> None:
    # The random factors belong to a particle's number, so only what needs none can be compared.
    shared = {
        "particles": 3,
        "dynamic": "dynamic_1",
        "c1": 0.0,
        "c2": 0.0,
        "coupling": 0.3,
        "distance": "rms",
        "same_start": True,
    }
    rates = [0.05, 0.02, 0.1]
    plain = opened(make(learning_rates=rates, **shared)).run()
    order = [2, 0, 1]
    permuted = opened(make(learning_rates=[rates[index] for index in order], **shared)).run()
    assert [outcome.rows for outcome in permuted] == [plain[index].rows for index in order]
    assert plain[0].rows != plain[1].rows


@pytest.mark.slow
def test_warm_up_rounds_and_the_last_one_have_no_move(make: Make, opened: Callable[[SwarmConfig], InlineSwarm]) -> None:
    store = MemoryStore()
    opened(make(epochs=4, warmup_rounds=2, dynamic="average")).run(store=store)
    assert {move.round for _, move in store.journal.moves()} == {3}
    assert [store.journal.last_round(index) for index in (0, 1)] == [4, 4]


@pytest.mark.slow
def test_a_particle_that_diverges_later_is_left_behind(
    make: Make, opened: Callable[[SwarmConfig], InlineSwarm], monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm, store = opened(make(epochs=3, dynamic="average")), MemoryStore()
    original = FiniteLoss.on_epoch_end

    def diverge(callback: FiniteLoss, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch == 1 and callback.model is swarm.members[1].network:
            logs = {**(logs or {}), "val_loss": float("nan")}
        original(callback, epoch, logs)

    monkeypatch.setattr(FiniteLoss, "on_epoch_end", diverge)
    outcomes = swarm.run(store=store)
    assert [(outcome.failed_round, len(outcome.rows)) for outcome in outcomes] == [(None, 3), (2, 1)]
    assert store.journal.members(2) == (0,)
    assert outcomes[1].best_round == 1
    swarm.members[1].predict_test()


def test_a_particle_that_diverges_at_once_stops_the_swarm(
    make: Make, opened: Callable[[SwarmConfig], InlineSwarm]
) -> None:
    swarm = opened(make(learning_rates=[1e30, 0.05]))
    with pytest.raises(UserError, match="diverged"):
        swarm.run()


def test_other_learning_rates_are_no_second_swarm_of_the_same_networks(
    make: Make, opened: Callable[[SwarmConfig], InlineSwarm]
) -> None:
    swarm = opened(make())
    with pytest.raises(ValueError, match="nothing but its exchange"):
        swarm.run(make(learning_rates=[0.05, 0.01]))


def test_transfer_learning_is_refused(make: Make, opened: Callable[[SwarmConfig], InlineSwarm]) -> None:
    config = make()
    transfer = config.training.model_copy(update={"regime": "transfer"})
    with pytest.raises(UserError, match="whole networks"):
        opened(config.model_copy(update={"training": transfer}))


class Counting:
    """A source of frames that counts what it is asked for."""

    def __init__(self) -> None:
        self.probes = self.reads = 0
        self._lock = threading.Lock()

    def probe(self, clip: Clip) -> str:
        self.probes += 1
        return f"info of {clip.path}"

    def read(self, clip: Clip, indices: Any, size: Any = None, modality: str = "rgb") -> np.ndarray:
        self.reads += 1
        return np.full((len(indices), 4, 4, 3), sum(indices), np.uint8)


def test_frames_are_remembered_until_memory_is_full() -> None:
    inner = Counting()
    source = RememberingSource(inner, limit=100)  # one read of two frames takes 96 bytes
    clip = Clip("a.mp4", "Wave", "train", "1")
    first = source.read(clip, np.array([1, 2]), None)
    assert source.read(clip, [1, 2], None) is first
    assert inner.reads == 1
    assert not first.flags.writeable
    for _ in range(2):
        assert source.read(clip, [1, 3], None).max() == 4
    assert inner.reads == 3
    assert source.probe(clip) == source.probe(clip)
    assert inner.probes == 1


def test_the_ensemble_adds_logits() -> None:
    from keras_actrec.evaluation.predict import Predictions, softmax

    logits = np.random.default_rng(0).normal(size=(3, 20, 5))
    labels, indices = np.arange(20) % 5, np.arange(20)
    networks = [Predictions(softmax(one).astype(np.float32), labels, indices, 20) for one in logits]
    assert (pooled(networks).argmax(1) == logits.sum(0).argmax(1)).all()
    outcomes = [
        Outcome(index, ({"learning_rate": 0.1, "val_accuracy": 0.5, "val_loss": 1.0},), 1, fitness, None)
        for index, fitness in enumerate((-1.0, -0.5, -0.5))
    ]
    found = scores(outcomes, networks)
    right = [float((one.argmax(1) == labels).mean()) for one in logits]
    assert found["chosen"] == 1  # the earlier of equals
    assert found["best"] == right[1]
    assert found["mean"] == pytest.approx(sum(right) / 3)
    assert found["ensemble"] == float((logits.sum(0).argmax(1) == labels).mean())


def test_an_ensemble_of_networks_that_saw_other_clips_is_refused() -> None:
    from keras_actrec.evaluation.predict import Predictions

    half = np.full((2, 2), 0.5, np.float32)
    networks = [Predictions(half, np.zeros(2, int), np.array(indices), 3) for indices in ([0, 1], [0, 2])]
    with pytest.raises(UserError, match="the same clips"):
        pooled(networks)


def test_rounded_copies_change_what_others_see_and_nothing_else(
    make: Make, opened: Callable[[SwarmConfig], InlineSwarm]
) -> None:
    swarm = opened(make(**OFF))

    def moves(**section: Any) -> list[tuple[str, float]]:
        store = MemoryStore()
        swarm.run(make(**section), store)
        return [(move.before, move.terms["total"]) for _, move in store.journal.moves()]

    assert moves(**OFF) == moves(**OFF, exchange="bfloat16")
    coupled = {"dynamic": "dynamic_2", "variant": "attract", "distance": "rms", "coupling": 0.5}
    for exact, rounded in zip(moves(**coupled), moves(**coupled, exchange="bfloat16"), strict=True):
        assert exact[0] != rounded[0]
        assert exact[1] == pytest.approx(rounded[1], rel=0.05)
