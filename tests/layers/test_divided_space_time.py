"""Divided space-time attention against Bertasius et al. 2021, Sec. 3, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from attention_oracle import apply_dense, array, attend, feed_forward, normalized, randomize

from keras_actrec.errors import UserError
from keras_actrec.layers import DividedSpaceTimeBlock, SelfAttention

FRAMES, PLACES, WIDTH = 3, 4, 6
SHAPE = (2, 1 + FRAMES * PLACES, WIDTH)


def tokens(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, *SHAPE[1:])).astype("float32")


def block(*, random: bool = True, **options: Any) -> DividedSpaceTimeBlock:
    over_time, over_space = SelfAttention(3, name="time_attention"), SelfAttention(2, name="attention")
    layer = DividedSpaceTimeBlock(over_time, over_space, FRAMES, 7, name="block", **options)
    layer.build(SHAPE)
    if random:
        randomize(layer)
    return layer


def places_of(tokens: np.ndarray) -> np.ndarray:
    """(..., 1 + T N, D) -> (..., T, N, D)."""
    return tokens[..., 1:, :].reshape(*tokens.shape[:-2], FRAMES, PLACES, WIDTH)


def oracle(layer: DividedSpaceTimeBlock, clip: np.ndarray, time: float = 1, space: float = 1, dense: float = 1) -> Any:
    """One clip (1 + T N, D), with its three residuals scaled."""
    class_token, places = clip[0], places_of(clip).copy()
    for place in range(PLACES):
        seen = attend(layer.time_attention, normalized(layer.time_norm, places[:, place]))
        places[:, place] += time * apply_dense(layer.time_dense, seen)
    of_class_token = []
    for frame in range(FRAMES):
        rows = np.concatenate([class_token[None], places[frame]])
        seen = attend(layer.attention, normalized(layer.attention_norm, rows))
        of_class_token.append(seen[0])
        places[frame] += space * seen[1:]
    class_token = class_token + space * sum(of_class_token) / FRAMES
    z = np.concatenate([class_token[None], places.reshape(-1, WIDTH)])
    return z + dense * feed_forward(layer, normalized(layer.dense_norm, z))


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_numbers_are_those_of_the_paper(activation: str) -> None:
    layer, x = block(activation=activation, epsilon=0.01), tokens()
    expected = np.stack([oracle(layer, clip) for clip in x.astype("float64")])
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-4, atol=1e-4)


def test_a_new_block_sees_frames_one_by_one() -> None:
    layer, x = block(random=False), tokens()
    changed = x.copy()
    changed[:, 1 + 2 * PLACES :] += np.arange(WIDTH)  # the last frame
    before, after = array(layer(x)), array(layer(changed))
    np.testing.assert_allclose(places_of(after)[:, :2], places_of(before)[:, :2], atol=1e-6)
    assert np.abs(after[:, 0] - before[:, 0]).max() > 1e-4, "the class token sees all frames"
    with_time = block(random=False, without_time=False)
    moved = places_of(array(with_time(changed))) - places_of(array(with_time(x)))
    assert np.abs(moved[:, :2]).max() > 1e-4


def test_attention_over_time_keeps_to_its_place() -> None:
    """With attention over space silent, a change at one place reaches that place alone, in every frame."""
    layer, x = block(), tokens()
    layer.attention.output_projection.kernel.assign(np.zeros((WIDTH, WIDTH)))
    changed = x.copy()
    changed[:, 1 + 2] += np.arange(WIDTH)  # frame 0, place 2
    moved = np.abs(places_of(array(layer(changed))) - places_of(array(layer(x)))).max(axis=-1)
    assert (moved[:, :, 2] > 1e-5).all()
    np.testing.assert_allclose(np.delete(moved, 2, axis=2), 0, atol=1e-6)


def test_frames_and_places_may_be_permuted() -> None:
    """The block itself knows no order; positions are added before it."""
    layer, x, frames, places = block(), tokens(), [2, 0, 1], [3, 1, 0, 2]
    shuffled = places_of(x)[:, frames][:, :, places].reshape(2, -1, WIDTH)
    found, expected = array(layer(np.concatenate([x[:, :1], shuffled], axis=1))), array(layer(x))
    np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1e-4)
    np.testing.assert_allclose(places_of(found), places_of(expected)[:, frames][:, :, places], atol=1e-4)


def test_stochastic_depth_leaves_whole_sub_layers_out_of_a_clip() -> None:
    layer, x = block(drop_path=0.5), np.repeat(tokens(1), 64, axis=0)
    choices = [(t, s, d) for t in (0, 2) for s in (0, 2) for d in (0, 2)]
    outcomes = np.stack([oracle(layer, x[0].astype("float64"), *choice) for choice in choices])
    distances = np.abs(array(layer(x, training=True))[:, None] - outcomes[None]).max(axis=(2, 3))
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-3)
    assert set(distances.argmin(axis=1)) == set(range(8))


def test_rematerialised_training_equals_plain_training() -> None:
    def trained(rematerialize: bool) -> list[np.ndarray]:
        layer = block(rematerialize=rematerialize)
        inputs = keras.Input(SHAPE[1:])
        model = keras.Model(inputs, layer(inputs))
        model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
        model.fit(tokens(4), np.zeros((4, *SHAPE[1:])), batch_size=2, shuffle=False, verbose=0)
        return [array(weight) for weight in model.trainable_weights]

    for one, other in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_sublayers_have_these_names_after_loading(tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, block()(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    names = [weight.path for weight in model.weights if "seed" not in weight.path]
    assert [weight.path for weight in again.weights if "seed" not in weight.path] == names
    assert {name.split("/")[1] for name in names} == {
        *("time_norm", "time_attention", "time_dense"),
        *("attention_norm", "attention", "dense_norm", "expand", "project"),
    }
    np.testing.assert_array_equal(array(again(tokens())), array(model(tokens())))


@pytest.mark.parametrize(
    ("frames", "shape", "message"),
    [
        (0, SHAPE, "frames of a divided space-time block must be at least 1, got 0"),
        (5, SHAPE, "expected a class token and 5 frames of N tokens each, got 13 tokens"),
        (3, (2, 1, WIDTH), "expected a class token and 3 frames of N tokens each, got 1 tokens"),
    ],
)
def test_mistakes(frames: int, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DividedSpaceTimeBlock(SelfAttention(2, name="time_attention"), SelfAttention(2), frames, 7).build(shape)


def test_what_is_rematerialised_cannot_drop() -> None:
    over_time = SelfAttention(2, dropout=0.1, name="time_attention")
    with pytest.raises(UserError, match="set the dropout of time_attention to 0"):
        DividedSpaceTimeBlock(over_time, SelfAttention(2), FRAMES, 7, rematerialize=True)
