"""The loaders of a run."""

from pathlib import Path

import numpy as np

from keras_actrec.config import load_config
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.training import datasets, inputs


def test_the_best_epoch_is_chosen_by_the_very_frames_that_are_evaluated(tiny_config: Path) -> None:
    config = load_config(tiny_config)
    data = inputs.open_inputs(config, datasets.load(config), Quarantine(), "zero_one")
    while_training = next(iter(data.plain("validation").dataset()))[0]["rgb"].numpy()
    evaluated = next(iter(data.plain("validation").evaluation_dataset()))[0]["rgb"]
    np.testing.assert_array_equal(while_training, np.asarray(evaluated)[:, 0])


def test_training_takes_other_frames_in_each_epoch(tiny_config: Path) -> None:
    config = load_config(tiny_config, ["data.augmentation={}"])
    data = inputs.open_inputs(config, datasets.load(config), Quarantine(), "zero_one")
    loader = data.training()
    loader._shuffle = False
    epochs = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        epochs.append(next(iter(loader.dataset()))[0]["rgb"].numpy())
    np.testing.assert_array_equal(epochs[0], epochs[2])
    assert not np.array_equal(epochs[0], epochs[1])


def test_several_examples_per_video_are_for_training_alone(tiny_config: Path) -> None:
    overrides = ["data.instances=5", "data.selection=random_run", "data.augmentation={flip: 0.5}", "evaluation.clips=5"]
    config = load_config(tiny_config, overrides)
    data = inputs.open_inputs(config, datasets.load(config), Quarantine(), "zero_one")
    clips = {split: len(data.manifest.split(split)) for split in ("train", "validation", "test")}
    labels = np.concatenate([labels for _, labels in data.training().dataset().as_numpy_iterator()])
    assert len(labels) == 5 * clips["train"] and len(set(labels.sum(axis=0))) == 1
    assert data.training().steps == -(-5 * clips["train"] // config.training.batch_size)
    assert sum(len(labels) for _, labels in data.plain("validation").dataset()) == clips["validation"]
    evaluated = next(iter(data.evaluation("test").evaluation_dataset()))[0]["rgb"]
    assert evaluated.shape[1:3] == (5, config.data.frames)


def test_several_examples_per_video_come_from_a_prepared_cache_too(tiny_config: Path, tmp_path: Path) -> None:
    overrides = ["data.instances=3", f"data.prepared={tmp_path / 'cache'}", "data.prepared_short_side=32"]
    config = load_config(tiny_config, [*overrides, "data.augmentation={}"])
    manifest = datasets.load(config)
    epochs = []
    for _ in range(2):
        training = inputs.open_inputs(config, manifest, Quarantine(), "zero_one").training()
        training.set_epoch(2)
        epochs.append([batch["rgb"] for batch, _ in training.dataset().as_numpy_iterator()])
    np.testing.assert_array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))
    assert len(np.concatenate(epochs[0])) == 3 * len(manifest.split("train"))


def test_the_order_of_a_configuration_holds_in_training_and_evaluation_and_the_probe_is_taken_from_it(
    tiny_config: Path,
) -> None:
    """A network that is trained on frames turned round is evaluated so, and probed with the named orders as ever."""
    both = []
    for order in ("natural", "reversed"):
        config = load_config(tiny_config, [f"data.order={order}", "data.augmentation={}", "data.selection=shadow"])
        data = inputs.open_inputs(config, datasets.load(config), Quarantine(), "zero_one")
        both.append(data)
    natural, turned = (next(iter(data.training().dataset()))[0]["rgb"].numpy() for data in both)
    np.testing.assert_array_equal(turned, natural[:, ::-1])

    def evaluated(data: inputs.Inputs, **changes: str) -> np.ndarray:
        return next(iter(data.evaluation("test", **changes).evaluation_dataset()))[0]["rgb"].numpy()

    np.testing.assert_array_equal(evaluated(both[1]), evaluated(both[0])[:, :, ::-1])
    for order in ("shuffled", "reversed", "frozen"):
        np.testing.assert_array_equal(evaluated(both[1], order=order), evaluated(both[0], order=order))
