"""Guided backpropagation and integrated gradients: by hand, and by their axioms."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops
from small import clip_network, frame_network, noise

from keras_actrec.errors import UserError
from keras_actrec.explain import NotApplicable, explain, open_subject
from keras_actrec.explain.guided_backprop import guides
from keras_actrec.layers import MaxPooling3D

SHAPE = (1, 1, 2, 1)
FIRST = np.array([[1.0, -2.0, 0.5], [1.0, 1.0, -3.0]])
SECOND = np.array([[2.0], [-1.0], [1.0]])
X = np.array([3.0, 1.0])


def dense_network(kind: str) -> keras.Model:
    """y = SECOND . relu(FIRST . x), with the ReLU in one of the places where it can stand."""
    clip = keras.Input(SHAPE, name="rgb")
    x = layers.Flatten()(clip)
    first = layers.Dense(
        3, use_bias=False, activation="relu" if kind == "argument" else kind if kind == "relu6" else None
    )
    x = first(x)
    after = {"layer": layers.ReLU(), "activation": layers.Activation("relu"), "operation": ops.relu}
    x = after[kind](x) if kind in after else x
    second = layers.Dense(1, use_bias=False)
    model = keras.Model([clip], second(x), name="dense_network")
    first.set_weights([FIRST])
    second.set_weights([SECOND])
    return model


def by_hand(ceiling: float = np.inf) -> np.ndarray:
    """R' = (f > 0)(R > 0) R at the ReLU, then the linear map backwards; a ceiling lets nothing pass at it."""
    before = X @ FIRST
    signal = SECOND[:, 0] * (before > 0) * (before < ceiling) * (SECOND[:, 0] > 0)
    return FIRST @ signal


@pytest.mark.parametrize("kind", ["argument", "layer", "activation", "operation", "relu6"])
def test_guided_gradient_by_hand_wherever_the_relu_stands(kind: str) -> None:
    model = dense_network(kind)
    found = explain(model, X.reshape(SHAPE), "guided_backprop", 0)
    np.testing.assert_allclose(found.signed.ravel(), by_hand(6.0 if kind == "relu6" else np.inf), rtol=1e-5)
    np.testing.assert_allclose(found.heat.ravel(), np.abs(found.signed).ravel())
    assert found.facts["relus"] == 1


def test_guidance_differs_from_the_gradient_where_a_negative_signal_arrives() -> None:
    model = dense_network("layer")
    x = np.array([1.0, 4.0])  # the second unit is active here, and its weight is negative
    before = x @ FIRST
    plain = FIRST @ (SECOND[:, 0] * (before > 0))
    guided = FIRST @ (SECOND[:, 0] * (before > 0) * (SECOND[:, 0] > 0))
    assert not np.allclose(plain, guided)
    np.testing.assert_allclose(explain(model, x.reshape(SHAPE), "guided_backprop", 0).signed.ravel(), guided, rtol=1e-5)


def test_relus_within_nested_models_are_found() -> None:
    assert len(guides(frame_network())) == 1
    assert len(guides(clip_network())) == 2


def test_a_network_without_relu_says_so() -> None:
    found = explain(frame_network(activation="gelu"), noise(frame_network()), "guided_backprop")
    assert isinstance(found, NotApplicable)
    assert "has no ReLU" in found.reason


def test_a_leaky_relu_is_not_guided() -> None:
    clip = keras.Input(SHAPE, name="rgb")
    x = layers.ReLU(negative_slope=0.1)(layers.Dense(3)(layers.Flatten()(clip)))
    assert guides(keras.Model([clip], layers.LeakyReLU()(x))) == []


def test_attributions_of_a_linear_network_are_exact() -> None:
    clip = keras.Input((2, 2, 2, 3), name="rgb")
    model = keras.Model([clip], layers.Dense(2, name="logits")(layers.Flatten()(clip)))
    x, baseline = noise(model), noise(model, 1)
    found = explain(model, x, "integrated_gradients", 1, baseline=baseline, steps=1)
    weights = ops.convert_to_numpy(model.get_layer("logits").kernel)[:, 1].reshape(2, 2, 2, 3)
    np.testing.assert_allclose(found.signed, weights * (x - baseline), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [frame_network, clip_network])
def test_attributions_add_up_to_the_difference_of_the_scores(build: type) -> None:
    """Completeness; the more steps, the closer."""
    model = build()
    x = noise(model)
    scores = [open_subject(model, clip).logits[1] for clip in (x, np.full_like(x, 0.5))]
    gaps = []
    for steps in (2, 200):
        facts = explain(model, x, "integrated_gradients", 1, baseline=0.5, steps=steps).facts
        assert facts["score_difference"] == pytest.approx(scores[0] - scores[1], abs=1e-5)
        gaps.append(abs(facts["sum"] - facts["score_difference"]))
    assert gaps[1] < gaps[0]
    assert gaps[1] < 0.01 * abs(scores[0] - scores[1])


def test_wrong_options_of_integrated_gradients() -> None:
    model = clip_network()
    with pytest.raises(UserError, match="at least 1 step"):
        explain(model, noise(model), "integrated_gradients", steps=0)
    with pytest.raises(UserError, match="baseline of shape"):
        explain(model, noise(model), "integrated_gradients", baseline=np.zeros((3, 3)))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_shared_maximum_hands_its_gradient_to_one_place(padding: str) -> None:
    """TensorFlow's own 3-D pooling on CPUs hands it to each of them, the package's to one."""
    clip = keras.Input((4, 6, 6, 1), name="rgb")
    pool = MaxPooling3D((2, 3, 3), strides=2, padding=padding, name="pool")
    model = keras.Model([clip], layers.Dense(1, kernel_initializer="ones")(layers.Flatten()(pool(clip))))
    found = explain(model, np.ones((4, 6, 6, 1)), "integrated_gradients", 0, steps=1)
    assert found.signed.sum() == pytest.approx(np.prod(pool.output.shape[1:]))
    x = noise(model)
    gap = explain(model, x, "integrated_gradients", 0, steps=1).facts
    assert gap["score_difference"] == pytest.approx(open_subject(model, x).logits[0], abs=1e-4)
    assert gap["sum"] == pytest.approx(gap["score_difference"], abs=1e-4), "a maximum is linear from zero on"
    tapped = explain(model, x, "grad_cam", layer="pool")
    assert tapped.layer == "pool"
