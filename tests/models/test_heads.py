"""Several labels of one clip: heads of their own on the same features."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.models.joint import with_heads

OPTIONS = {
    "c3d": {"frames": 16, "size": 16, "widths": [4, 5, 6, 7, 8], "fc_units": 9, "input_normalization": "zero_one"},
    # Its classifier is not the last layer: the logits of the frames are averaged behind it.
    "frame_average": {"frames": 4, "size": 16, "backbone": "tiny", "weights": "none", "widths": [6, 8]},
}


@pytest.fixture(params=OPTIONS)
def network(request: pytest.FixtureRequest) -> keras.Model:
    keras.utils.set_random_seed(0)
    return models.build_model(request.param, num_classes=3, **OPTIONS[request.param])


def clips(network: keras.Model, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *network.inputs[0].shape[1:])).astype("float32")


def test_the_first_head_is_the_networks_own_and_the_body_is_shared(network: keras.Model) -> None:
    before, weights = network.count_params(), {id(weight) for weight in network.weights}
    two = with_heads(network, {"verb": 3, "noun": 5})
    outputs = two(clips(network), training=False)
    assert list(outputs) == ["verb", "noun"] and outputs["noun"].shape == (3, 5)
    np.testing.assert_array_equal(outputs["verb"], network(clips(network), training=False))
    width = network.get_layer("logits").kernel.shape[0]
    assert two.count_params() == before + (width + 1) * 5
    own = [weight.path for weight in two.weights if id(weight) not in weights]
    assert own == ["logits_noun/kernel", "logits_noun/bias"]
    assert two.get_layer("logits_noun").dtype_policy.name == "float32"


def test_the_second_head_does_what_the_first_would(network: keras.Model) -> None:
    """With the classifier's weights copied, both heads say the same."""
    two = with_heads(network, {"verb": 3, "noun": 3})
    outputs = two(clips(network), training=False)
    assert np.abs(np.asarray(outputs["verb"]) - np.asarray(outputs["noun"])).max() > 1e-3
    two.get_layer("logits_noun").set_weights(two.get_layer("logits").get_weights())
    outputs = two(clips(network), training=False)
    np.testing.assert_array_equal(outputs["verb"], outputs["noun"])


def test_saved_and_loaded_equal(network: keras.Model, tmp_path: Path) -> None:
    two = with_heads(network, {"verb": 3, "noun": 5})
    two.save(tmp_path / "two.keras")
    loaded = models.load_model(tmp_path / "two.keras")
    for name, logits in two(clips(network), training=False).items():
        np.testing.assert_array_equal(loaded(clips(network), training=False)[name], logits)


def test_an_architecture_gets_the_modalities_of_the_data_or_says_that_it_cannot() -> None:
    from keras_actrec.config import DataConfig

    data = DataConfig(frames=16, size=16, modalities=("rgb", "depth"))
    assert models.make_config_for("c3d", 3, data).modalities == ("rgb", "depth")
    both = models.build_model("c3d", 3, **OPTIONS["c3d"], modalities=["rgb", "depth"])
    assert [(tensor.name, tensor.shape[-1]) for tensor in both.inputs] == [("rgb", 3), ("depth", 1)]
    with pytest.raises(UserError, match="'lrcn' looks at RGB frames alone"):
        models.make_config_for("lrcn", 3, data)
    with pytest.raises(UserError, match="each once"):
        models.build_model("c3d", 3, **OPTIONS["c3d"], modalities=["rgb", "rgb"])


def test_both_modalities_reach_the_output() -> None:
    both = models.build_model("c3d", 3, **OPTIONS["c3d"], modalities=["rgb", "depth"])
    rng = np.random.default_rng(0)
    given = {tensor.name: rng.random((2, *tensor.shape[1:]), np.float32) for tensor in both.inputs}
    logits = np.asarray(both(given, training=False))
    for name in given:
        other = {**given, name: given[name][::-1]}
        assert np.abs(np.asarray(both(other, training=False)) - logits).max() > 1e-4
