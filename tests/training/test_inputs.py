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
