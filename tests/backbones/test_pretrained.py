"""Where a backbone's weights come from, and what is said when they cannot be had."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_actrec import backbones
from keras_actrec.backbones import pretrained
from keras_actrec.errors import UserError

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRAMES = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")


def features(network: keras.Model) -> np.ndarray:
    return keras.ops.convert_to_numpy(network(FRAMES, training=False))


def save(network: keras.Model, path: Path) -> Path:
    """Write weights in the form that the suffix names; `.h5` is the form of keras.applications' own files."""
    if path.name.endswith(".weights.h5"):
        network.save_weights(path)
    else:
        network.save(path)
    return path


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
@pytest.mark.parametrize("name", ["mobilenet_v2", "tiny"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_from_a_file(name: str, suffix: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    saved = backbones.build_frame_backbone(name, 64)
    path = save(saved, tmp_path / f"saved{suffix}")
    keras.utils.set_random_seed(2)
    loaded = backbones.build_frame_backbone(name, 96, weights=str(path))
    for one, other in zip(saved.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights file .*absent\.weights\.h5"):
        backbones.build_frame_backbone("tiny", 32, weights=str(tmp_path / "absent.weights.h5"))


def test_a_word_that_is_no_file_is_refused() -> None:
    with pytest.raises(UserError, match="neither 'imagenet' nor 'none'"):
        backbones.build_frame_backbone("tiny", 32, weights="imagenett")


@pytest.mark.parametrize(
    ("name", "suffix"), [("tiny", ".weights.h5"), ("tiny", ".h5"), ("tiny", ".keras"), ("efficientnet_b0", ".keras")]
)
def test_a_file_that_holds_something_else(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_text("not weights")
    with pytest.raises(UserError, match="does not hold the weights"):
        backbones.build_frame_backbone(name, 64, weights=str(path))


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_of_another_network(suffix: str, tmp_path: Path) -> None:
    path = save(backbones.build_tiny(64, (8, 16)), tmp_path / f"other{suffix}")
    for name in ("tiny", "mobilenet_v2"):
        with pytest.raises(UserError, match="does not hold the weights"):
            backbones.build_frame_backbone(name, 64, weights=str(path))


def test_no_imagenet_weights_for_tiny() -> None:
    with pytest.raises(UserError, match="has no ImageNet weights"):
        backbones.build_frame_backbone("tiny", 32, weights="imagenet")


def test_offline_says_what_was_tried_and_what_to_do(tmp_path: Path) -> None:
    """A refused connection, through Keras' own download."""

    def original(weights: str | None) -> keras.Model:
        return keras.utils.get_file("a.h5", "http://127.0.0.1:9/a.h5", cache_dir=tmp_path)

    with pytest.raises(UserError, match=r"'tiny' could not be downloaded.*127\.0\.0\.1:9.*weights: none.*PATH"):
        pretrained.load(backbones.build_tiny(32), "imagenet", original)


def test_a_defect_is_not_taken_for_a_failed_download() -> None:
    def original(weights: str | None) -> keras.Model:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        pretrained.load(backbones.build_tiny(32), "imagenet", original)


@pytest.fixture(scope="module")
def scratch() -> keras.Model:
    """An EfficientNet-B0 of keras.applications that was not made for ImageNet."""
    keras.utils.set_random_seed(3)
    return keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))


@pytest.fixture(scope="module")
def published(scratch: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the published EfficientNet-B0 ones: mean in the Normalization, standard deviation as its variance."""
    original, path = scratch, tmp_path_factory.mktemp("published") / "efficientnetb0_notop.h5"
    before = original.get_weights()
    layer = next(layer for layer in original.layers if isinstance(layer, keras.layers.Normalization))
    layer.adapt_mean.assign(np.reshape(MEAN, layer.adapt_mean.shape))
    layer.adapt_variance.assign(np.reshape(DEVIATION, layer.adapt_variance.shape))
    original.save(path)
    original.set_weights(before)
    return path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_efficientnet_equals_the_imagenet_original(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "keras.src.applications.efficientnet.file_utils.get_file"
    monkeypatch.setattr(module, lambda *_args, **_kwargs: str(published))
    original = keras.applications.EfficientNetB0(include_top=False, input_shape=(64, 64, 3), pooling="avg")
    expected = features(original)
    for weights in ("imagenet", str(published)):
        network = backbones.build_frame_backbone("efficientnet_b0", 64, weights=weights)
        np.testing.assert_allclose(features(network), expected, rtol=1e-3, atol=1e-5)
    is_one_graph_whatever_the_weights(network, tmp_path)


def is_one_graph_whatever_the_weights(trained: keras.Model, tmp_path: Path) -> None:
    """Built without weights and filled variable by variable, as a checkpoint does, it equals what was saved."""
    restored = backbones.build_frame_backbone("efficientnet_b0", 64)
    restored.set_weights(trained.get_weights())
    expected = features(trained)
    np.testing.assert_array_equal(features(restored), expected)
    path = save(trained, tmp_path / "ours.weights.h5")
    reloaded = backbones.build_frame_backbone("efficientnet_b0", 64, weights=str(path))
    np.testing.assert_array_equal(features(reloaded), expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_efficientnet_weights_for_another_input_are_refused(scratch: keras.Model, tmp_path: Path) -> None:
    scratch.save(tmp_path / "scratch.h5")
    with pytest.raises(UserError, match="another input"):
        backbones.build_frame_backbone("efficientnet_b0", 64, weights=str(tmp_path / "scratch.h5"))
