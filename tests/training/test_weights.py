from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import toys

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.training import distribution, supervised, weights
from keras_actrec.training.run_directory import RunDirectory

OPTIONS = {"frames": 2, "size": 16, "backbone": "tiny", "weights": "none", "head_units": 8}


def build(classes: int = 3, seed: int = 0, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return models.build_model("convnet_transformer", classes, **{**OPTIONS, **options})


def same(first: keras.Model, second: keras.Model) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True)]


@pytest.fixture(scope="module", params=["model.keras", "a.weights.h5", "run", "unfinished"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, keras.Model]:
    """A network in each of the forms that it can be kept in."""
    folder = tmp_path_factory.mktemp("source")
    model = build(seed=7)
    if request.param == "model.keras":
        weights.save_model(model, folder / "model.keras")
    elif request.param == "a.weights.h5":
        model.save_weights(folder / "a.weights.h5")
    else:
        return train(folder, model, keep=request.param == "run"), model
    return folder / request.param, model


def train(folder: Path, model: keras.Model, keep: bool) -> Path:
    config = toys.make_config(folder, epochs=1)
    with RunDirectory.create(config, toys.make_manifest(folder)) as run:
        loader = toys.ArrayLoader(*toys.make_arrays(6, shape=(2, 16, 16, 3)))
        hardware = distribution.set_up(config.training)
        supervised.fit(model, loader, loader, config.training, run, hardware=hardware)
        if keep:
            weights.save_model(model, run.model)
    return run.path


def test_all_weights_come_back(source: Any) -> None:
    path, original = source
    model = build(seed=1)
    assert not all(same(model, original))
    weights.init_from(model, path)
    assert all(same(model, original))


def test_another_number_of_classes(source: Any) -> None:
    path, original = source
    model = build(classes=5, seed=1)
    random = model.get_layer("logits").get_weights()
    lines: list[str] = []
    weights.init_from(model, path, lines.append)
    assert same(model, original)[:-2] == [True] * (len(model.get_weights()) - 2)
    for first, second in zip(random, model.get_layer("logits").get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert len(lines) == 1
    assert "3 classes, this model 5" in lines[0]


def test_another_architecture_is_refused_untouched(source: Any) -> None:
    model = build(seed=1, head_units=16)
    before = model.get_weights()
    with pytest.raises(UserError, match=r"another architecture.*hidden.*\(.*16\), there \(.*8\)"):
        weights.init_from(model, source[0])
    for first, second in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_more_layers_are_refused(source: Any) -> None:
    with pytest.raises(UserError, match="another architecture"):
        weights.init_from(build(encoder_layers=2), source[0])


@pytest.mark.parametrize("name", ["nothing.keras", "notes.txt", "bad.keras", "bad.weights.h5", "bad.safetensors", "."])
def test_what_is_no_file_of_weights(tmp_path: Path, name: str) -> None:
    if name in ("notes.txt", "bad.keras", "bad.weights.h5", "bad.safetensors"):
        (tmp_path / name).write_text("hello")
    with pytest.raises(UserError):
        weights.init_from(build(), tmp_path / name)


def test_kept_models_hold_no_optimiser(tmp_path: Path) -> None:
    model = build()
    train(tmp_path, model, keep=True)
    kept = next(tmp_path.glob("run-*/model.keras"))
    again = keras.saving.load_model(kept)
    assert not again.compiled
    assert all(same(model, again))
    clip = toys.make_arrays(2, shape=(2, 16, 16, 3))[0]
    np.testing.assert_array_equal(model.predict(clip, verbose=0), again.predict(clip, verbose=0))
