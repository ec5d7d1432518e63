from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import toys

from keras_actrec import tensor_file
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.training import checkpoint, distribution, seeding, supervised
from keras_actrec.training.run_directory import RunDirectory


def train(output: Path, loader: Any = None, validation: Any = None, network: Any = None, **training: Any) -> Any:
    config = toys.make_config(output, **training)
    with RunDirectory.create(config, toys.make_manifest(output)) as run:
        hardware = distribution.set_up(config.training)
        seeding.seed_everything(0)
        model = network or toys.make_network(dropout=0.1)
        loader = loader or toys.ArrayLoader(*toys.make_arrays(15))
        validation = validation or toys.ArrayLoader(*toys.make_arrays(9, seed=1), shuffle=False)
        return model, run, supervised.fit(model, loader, validation, config.training, run, hardware=hardware)


def test_learns_and_returns_the_best_weights(tmp_path: Path) -> None:
    model, run, fitted = train(tmp_path, epochs=12, optimizer={"name": "adam", "learning_rate": 0.05})
    values = [row["val_accuracy"] for row in fitted.rows]
    assert max(values) > 0.8
    assert fitted.best_value == max(values) == values[fitted.best_epoch - 1]
    clips, labels = toys.make_arrays(9, seed=1)
    correct = model.predict(clips, verbose=0).argmax(-1) == labels.argmax(-1)
    assert correct.mean() == pytest.approx(fitted.best_value)
    assert len(run.history.read_text().splitlines()) == 13


def test_history_reads_back_exactly(tmp_path: Path) -> None:
    _, run, fitted = train(tmp_path)
    header, *lines = [line.split(",") for line in run.history.read_text().splitlines()]
    assert header[0] == "epoch"
    for number, (line, row) in enumerate(zip(lines, fitted.rows, strict=True), start=1):
        assert line[0] == str(number)
        assert dict(zip(header[1:], map(float, line[1:]), strict=True)) == row


def test_no_work_is_done_without_a_batch(tmp_path: Path) -> None:
    """The end of the data must not advance the schedule, weight decay, averages, or dropout's seed."""
    model, _, _ = train(tmp_path, optimizer={"learning_rate": 0.1, "weight_decay": 0.1, "ema": 0.9})
    seeds = [variable for variable in model.variables if "seed_generator" in variable.path]
    arrays, _ = toys_state(tmp_path)
    iterations = next(value for name, value in arrays.items() if name.endswith("/iteration"))
    assert int(iterations) == 3 * 4
    assert len(seeds) == 1
    counter = next(value for name, value in arrays.items() if "seed_generator" in name)
    assert int(counter[1]) == 3 * 4


def toys_state(output: Path) -> Any:
    return tensor_file.load(sorted(output.glob("run-*/checkpoints/state-*"))[-1])


def test_early_stopping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, fitted = train(tmp_path, epochs=9, patience=2, select_by="val_loss", optimizer={"learning_rate": 1e-30})
    assert fitted.stopped
    assert len(fitted.rows) < 9
    assert "stopped: no better val_loss for 2 epochs" in capsys.readouterr().out


def test_progress_advances() -> None:
    progress = checkpoint.Progress()
    for value in (0.5, 0.5, 0.7, float("nan"), 0.6):
        progress = progress.advance({"val_accuracy": value}, "val_accuracy", patience=2)
    assert (progress.best_epoch, progress.best_value, progress.waited, progress.stopped) == (2, 0.7, 2, True)
    progress = checkpoint.Progress()
    for value in (0.5, 0.4, 0.45):
        progress = progress.advance({"val_loss": value}, "val_loss", patience=0)
    assert (progress.best_epoch, progress.best_value, progress.stopped) == (1, 0.4, False)


class PoisonedLoader(toys.ArrayLoader):
    """Gives NaN in the middle of the second epoch."""

    def batches(self) -> Iterator[Any]:
        for index, (inputs, labels) in enumerate(super().batches()):
            yield ({"rgb": inputs["rgb"] * np.nan} if (self.epoch, index) == (1, 1) else inputs), labels


def test_divergence_is_one_sentence_and_leaves_no_bad_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training diverged: loss is nan at epoch 2.*clip_norm"):
        train(tmp_path, loader=PoisonedLoader(*toys.make_arrays(15)))
    states = list(tmp_path.glob("run-*/checkpoints/state-*"))
    assert [path.name for path in states] == ["state-0001.safetensors"]
    arrays, _ = tensor_file.load(states[0])
    assert all(np.isfinite(value).all() for value in arrays.values())


def test_divergence_is_seen_within_a_long_epoch(tmp_path: Path) -> None:
    class Poisoned(toys.ArrayLoader):
        given = 0

        def batches(self) -> Iterator[Any]:
            for inputs, labels in super().batches():
                Poisoned.given += 1
                yield {"rgb": inputs["rgb"] * np.nan}, labels

    with pytest.raises(UserError, match="at batch 20"):
        train(tmp_path, loader=Poisoned(*toys.make_arrays(80), batch_size=1))
    assert Poisoned.given < 40


class EmptyLoader(toys.ArrayLoader):
    def batches(self) -> Iterator[Any]:
        yield from ()


@pytest.mark.parametrize("split", ["training", "validation"])
def test_nothing_readable(tmp_path: Path, split: str) -> None:
    name = {"training": "loader", "validation": "validation"}[split]
    with pytest.raises(UserError, match=f"no {split} clip can be read"):
        train(tmp_path, **{name: EmptyLoader(*toys.make_arrays(6))})


class BrokenLoader(toys.ArrayLoader):
    failure: Exception | None = None

    def batches(self) -> Iterator[Any]:
        self.failure = UnreadableVideoError("a.mp4", "the disk is gone")
        raise RuntimeError("TensorFlow makes a long text of this")
        yield


def test_the_loader_s_own_error_is_shown(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideoError, match="the disk is gone"):
        train(tmp_path, loader=BrokenLoader(*toys.make_arrays(6)))


def test_average_is_evaluated_and_kept(tmp_path: Path) -> None:
    model, _, fitted = train(
        tmp_path, epochs=1, network=toys.make_network(dropout=0.0, normalise=False), optimizer={"ema": 0.9}
    )
    clips, labels = toys.make_arrays(9, seed=1)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)(labels, model.predict(clips, verbose=0))
    assert float(loss) == pytest.approx(fitted.rows[-1]["val_loss"], rel=1e-5)
    arrays, _ = toys_state(tmp_path)
    raw = next(value for name, value in arrays.items() if name.startswith("model/") and name.endswith("logits/kernel"))
    assert not np.array_equal(raw, model.get_layer("logits").get_weights()[0])


def test_a_wrong_input_is_named(tmp_path: Path) -> None:
    clip = keras.Input((2, 8, 8, 1), name="depth")
    model = keras.Model(clip, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling3D()(clip)))
    with pytest.raises(UserError, match="input 'depth', the data gives rgb"):
        train(tmp_path, network=model)


def test_too_few_clips_for_the_devices(tmp_path: Path) -> None:
    class FourReplicas:
        num_replicas_in_sync = 4

    config = toys.make_config(tmp_path, batch_size=2)
    with pytest.raises(UserError, match="choose at least 4"):
        supervised._check_replicas(config.training, distribution.Hardware(("CPU:0",) * 4, FourReplicas()))
    config = toys.make_config(tmp_path, batch_size=8, optimizer={"accumulate": 2})
    with pytest.raises(UserError, match="one device only"):
        supervised._check_replicas(config.training, distribution.Hardware(("CPU:0",) * 4, FourReplicas()))
