"""Attention maps, rollout and non-local maps: their scores are the layers' own, and lie where the tokens lie."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops
from small import clip_network, noise

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.explain import NotApplicable, Options, explain, explain_subject, feature_maps, open_subject
from keras_actrec.explain.attention_rollout import rollout
from keras_actrec.layers import NonLocalBlock

TINY = {
    "frames": 4,
    "size": 16,
    "backbone": "tiny",
    "weights": "none",
    "widths": [6, 8],
    "encoder_layers": 2,
    "heads": 2,
}


@keras.saving.register_keras_serializable(package="tests")
class ClassToken(layers.Layer):
    """Puts one more token before the others: (B, N, D) -> (B, N + 1, D)."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.concatenate([ops.ones_like(x[:, :1]), x], axis=1)


def vision_transformer(class_token: bool) -> keras.Model:
    keras.utils.set_random_seed(3)
    clip = keras.Input((2, 8, 12, 3), name="rgb")
    x = layers.Conv3D(8, (1, 4, 4), strides=(1, 4, 4), name="patches")(clip)
    x = layers.Reshape((-1, 8), name="tokens")(x)
    x = ClassToken(name="class_token")(x) if class_token else x
    for number in (1, 2):
        x = x + layers.MultiHeadAttention(2, 4, name=f"attention{number}")(x, x)
    x = x[:, 0] if class_token else ops.mean(x, axis=1)
    return keras.Model([clip], layers.Dense(3, name="logits")(x), name="vision_transformer")


def scores_of(model: keras.Model, clip: np.ndarray, number: int) -> np.ndarray:
    """What Keras itself returns for an attention layer's input: (N, N), mean over the heads."""
    layer = model.get_layer(f"attention{number}")
    x = keras.Model(model.inputs, layer.input[0] if isinstance(layer.input, list) else layer.input)([clip[None]])
    return ops.convert_to_numpy(layer(x, x, return_attention_scores=True)[1])[0].mean(axis=0)


def test_rollout_by_hand() -> None:
    first, second = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    expected = np.array([[0.5, 0.5], [0.0, 1.0]]) @ np.array([[1.0, 0.0], [0.25, 0.75]])
    np.testing.assert_allclose(rollout([first[None], np.stack([second, second])]), expected)
    np.testing.assert_allclose(expected.sum(axis=1), 1)


@pytest.mark.parametrize("class_token", [True, False])
def test_tokens_on_a_grid(class_token: bool) -> None:
    model = vision_transformer(class_token)
    clip = noise(model)
    matrices = [scores_of(model, clip, number) for number in (1, 2)]
    for method, matrix in (("attention", matrices[1]), ("attention_rollout", rollout([one[None] for one in matrices]))):
        found = explain(model, clip, method)
        tokens = matrix[0, 1:] if class_token else matrix.mean(axis=0)
        assert found.frame_weights is None
        np.testing.assert_allclose(found.heat, feature_maps.resample(tokens.reshape(2, 2, 3), (2, 8, 12)), rtol=1e-3)
    chosen = explain(model, clip, "attention", layer="attention1")
    assert chosen.layer == "attention1"
    assert not np.allclose(chosen.heat, explain(model, clip, "attention").heat)


def test_tokens_that_are_frames_give_one_weight_each() -> None:
    model = models.build_model("convnet_transformer", 3, **TINY)
    for method in ("attention", "attention_rollout"):
        found = explain(model, noise(model), method)
        assert found.frame_weights.shape == (4,)
        assert found.frame_weights.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(found.heat, np.broadcast_to(found.frame_weights[:, None, None], (4, 16, 16)))
    assert explain(model, noise(model), "attention").layer == "encoder2/attention"


def test_attention_does_not_care_for_the_class() -> None:
    model = vision_transformer(True)
    one, other = (explain(model, noise(model), "attention_rollout", target) for target in (0, 1))
    np.testing.assert_array_equal(one.heat, other.heat)


def test_networks_that_do_not_attend_say_so() -> None:
    model = clip_network()
    for method in ("attention", "attention_rollout", "non_local"):
        assert isinstance(explain(model, noise(model), method), NotApplicable)
    wrong = explain(vision_transformer(True), noise(vision_transformer(True)), "attention", layer="patches")
    assert "does not attend; these do: attention1, attention2" in wrong.reason


def non_local_network(**options: object) -> keras.Model:
    keras.utils.set_random_seed(4)
    clip = keras.Input((4, 8, 8, 3), name="rgb")
    x = layers.Conv3D(6, 3, padding="same", strides=(2, 2, 2), activation="relu", name="conv")(clip)
    x = NonLocalBlock(initial_gamma=1.0, name="block", **options)(x)
    x = layers.GlobalAveragePooling3D(name="pool")(x)
    return keras.Model([clip], layers.Dense(2, name="logits")(x), name="non_local_network")


@pytest.mark.parametrize("kind", ["embedded_gaussian", "dot_product"])
@pytest.mark.parametrize("subsample", [True, False])
def test_the_row_of_the_query(kind: str, subsample: bool) -> None:
    model = non_local_network(kind=kind, subsample=subsample)
    clip = noise(model)
    found = explain(model, clip, "non_local", query=(3, 7, 2))
    block = model.get_layer("block")
    _, scores = block(keras.Model(model.inputs, block.input)([clip[None]]), return_attention_scores=True)
    row = ops.convert_to_numpy(scores)[0, (1 * 4 + 3) * 4 + 1]  # cell (1, 3, 1) of 2 x 4 x 4
    grid = (2, 2, 2) if subsample else (2, 4, 4)
    np.testing.assert_allclose(
        found.heat, feature_maps.resample(np.maximum(row, 0).reshape(grid), (4, 8, 8)), rtol=1e-4, atol=1e-8
    )
    assert found.facts["query_cell"] == [1, 3, 1]


def test_the_query_is_where_grad_cam_is_warmest() -> None:
    model = non_local_network()
    clip = noise(model)
    for target in (0, 1):
        heat = explain(model, clip, "grad_cam", target).heat
        query = explain(model, clip, "non_local", target).facts["query"]
        assert query == ([2, 4, 4] if not heat.any() else list(np.unravel_index(heat.argmax(), heat.shape)))


def test_a_query_outside_of_the_clip_is_refused() -> None:
    model = non_local_network()
    with pytest.raises(UserError, match="outside of the clip"):
        explain(model, noise(model), "non_local", query=(4, 0, 0))


def test_a_named_layer_is_for_the_methods_that_look_at_such_a_layer() -> None:
    model = non_local_network()
    subject = open_subject(model, noise(model))
    for name, users in (("conv", {"grad_cam"}), ("block", {"non_local"})):
        results = explain_subject(subject, ["activation", "grad_cam", "non_local"], options=Options(layer=name))
        default = {"activation": "conv", "grad_cam": "block", "non_local": "block"}
        assert {one.method: one.layer for one in results} == default | dict.fromkeys(users, name)
