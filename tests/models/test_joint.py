"""Networks with a shared body and heads of their own."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec import models
from keras_actrec.models import joint

TINY = {"frames": 4, "size": 16, "backbone": "tiny", "weights": "none", "widths": [6, 8], "head_units": 10}
KINDS = {
    "convnet_rnn": TINY | {"units": 5},
    "convnet_transformer": TINY | {"heads": 2, "key_dim": 3},
    "frame_average": TINY,  # an average over time follows its classifier
}


@pytest.fixture(params=KINDS)
def networks(request: pytest.FixtureRequest) -> list[keras.Model]:
    keras.utils.set_random_seed(0)
    built = [models.build_model(request.param, num_classes=classes, **KINDS[request.param]) for classes in (3, 5, 2)]
    return joint.with_shared_body(built)


def clips(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 4, 16, 16, 3)).astype("float32")


def test_all_weights_but_the_classifier_are_shared(networks: list[keras.Model]) -> None:
    first, *others = networks
    ours = {id(weight): weight.path for weight in first.weights}
    for network in others:
        apart = [weight.path for weight in network.weights if id(weight) not in ours]
        assert len(apart) == 2
        assert all("logits" in path for path in apart)
        assert len(network.weights) == len(first.weights)


def test_each_gives_logits_of_its_own_classes(networks: list[keras.Model]) -> None:
    x = {"rgb": clips(2)}
    assert [np.shape(network(x)) for network in networks] == [(2, 3), (2, 5), (2, 2)]


def test_a_head_equals_the_network_that_it_was_taken_from_on_the_same_body() -> None:
    """With the body's weights copied over, the original gives the numbers of the joined one."""
    built = [models.build_model("frame_average", num_classes=classes, **TINY) for classes in (3, 5)]
    joined = joint.with_shared_body(built)[1]
    built[1].set_weights(joined.get_weights())
    x = {"rgb": clips(2)}
    np.testing.assert_allclose(built[1](x), joined(x), atol=1e-6)


def test_a_network_of_several_heads_saves_and_loads_like_any_other(networks: list[keras.Model], tmp_path: str) -> None:
    networks[1].save(f"{tmp_path}/model.keras")
    x = {"rgb": clips(2)}
    np.testing.assert_array_equal(models.load_model(f"{tmp_path}/model.keras")(x), networks[1](x))


def test_joined_outputs_are_those_of_the_networks(networks: list[keras.Model]) -> None:
    names = ("ucf101", "stick-actions", "two")
    model = joint.join(dict(zip(names, networks, strict=True)))
    x = {f"{name}_rgb": clips(2, seed) for seed, name in enumerate(names)}
    found = model(x, training=False)
    assert list(found) == list(names)
    for name, network in zip(names, networks, strict=True):
        np.testing.assert_allclose(found[name], network({"rgb": x[f"{name}_rgb"]}, training=False), atol=1e-6)


def test_a_step_on_one_data_set_leaves_the_other_heads_alone(networks: list[keras.Model]) -> None:
    model = joint.join({"a": networks[0], "b": networks[1]})
    losses = {name: keras.losses.CategoricalCrossentropy(from_logits=True) for name in ("a", "b")}
    model.compile(keras.optimizers.SGD(0.5), loss=losses, loss_weights={"a": 1.0, "b": 0.0})
    heads = [network.get_layer("logits").kernel for network in networks[:2]]
    body = networks[0].trainable_weights[0]
    before = [np.array(weight) for weight in (*heads, body)]
    labels = {"a": np.eye(3, dtype="float32"), "b": np.eye(5, dtype="float32")[:3]}
    model.train_on_batch({"a_rgb": clips(3), "b_rgb": clips(3, seed=1)}, labels)
    moved = [not np.array_equal(old, np.array(new)) for old, new in zip(before, (*heads, body), strict=True)]
    assert moved == [True, False, True]


def test_a_network_without_classifier_is_refused() -> None:
    clip = keras.Input((4,), name="rgb")
    network = keras.Model([clip], keras.layers.Dense(2, name="other")(clip))
    with pytest.raises(ValueError, match="logits"):
        joint.with_shared_body([network, network])
