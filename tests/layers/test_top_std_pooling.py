"""Top-K pooling by standard deviation against RPE-STDT, Eq. 3.12 to 3.14, row by row."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import LearnedPosition, RelativePositionAttention, SelfAttention, TopStdBlock, TransformerBlock
from keras_actrec.layers.top_std_pooling import deviation, keep, top_std

WIDTH, FRAMES = 6, 8
SHAPE = (3, 1 + FRAMES, WIDTH)


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def clip(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def random_scores(batch: int = 3, heads: int = 2, tokens: int = 9) -> np.ndarray:
    scores = np.exp(np.random.default_rng(1).normal(scale=2, size=(batch, heads, tokens, tokens)))
    return (scores / scores.sum(axis=-1, keepdims=True)).astype("float32")


def test_deviation_by_hand() -> None:
    """Rows (1, 0), mean 1/2: deviation 1/2; (1/2, 1/2): none; (3/4, 1/4): 1/4. Two heads are averaged."""
    scores = np.array([[[[1, 0], [0.5, 0.5]], [[0.5, 0.5], [0.25, 0.75]]]], "float32")
    np.testing.assert_allclose(array(deviation(scores)), [[(0.5 + 0) / 2, (0 + 0.25) / 2]])


def test_deviation_of_every_row_ranks_as_the_equation_does() -> None:
    scores = random_scores(heads=1)
    found = array(deviation(scores))
    for b, i in np.ndindex(3, 9):
        row = scores[b, 0, i].astype("float64")
        mu = sum(row) / 9
        equation = sum((value - mu) ** 2 for value in row) ** 0.5 / 9
        np.testing.assert_allclose(found[b, i] / 9**0.5, equation, rtol=1e-5)


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("kept", [1, 3, 8])
def test_the_tokens_with_the_largest_deviation_in_their_order(class_token: bool, kept: int) -> None:
    scores = random_scores()
    chosen = array(top_std(scores, kept, class_token))
    spread = scores.std(axis=-1).mean(axis=1)
    for found, values in zip(chosen, spread, strict=True):
        frames = range(1, 9) if class_token else range(9)
        best = sorted(sorted(frames, key=lambda frame, values=values: -values[frame])[:kept])
        assert found.tolist() == [0] * class_token + best


def test_the_class_token_stays_though_it_attends_evenly() -> None:
    scores = random_scores()
    scores[:, :, 0] = 1 / 9
    assert (array(top_std(scores, 2))[:, 0] == 0).all()


def test_keep_takes_what_was_chosen() -> None:
    x, chosen = clip(), np.array([[0, 3, 8], [0, 1, 2], [0, 5, 7]], "int32")
    kept = array(keep(x, chosen))
    for b, k in np.ndindex(3, 3):
        np.testing.assert_array_equal(kept[b, k], x[b, chosen[b, k]])


def block(kind: type[TransformerBlock] = TopStdBlock, norm: str = "pre", **options: Any) -> TransformerBlock:
    """A built block with a random weight everywhere."""
    attention = SelfAttention(2, name="attention")
    made = kind(attention, 7, norm=norm, **options)
    made.build(SHAPE)
    rng = np.random.default_rng(2)
    for weight in made.weights:
        if "drop" not in weight.path and "skip" not in weight.path:
            weight.assign(rng.normal(scale=0.6, size=weight.shape))
    return made


def normalised(made: TransformerBlock, x: np.ndarray) -> Any:
    return made.attention_norm(x) if made.norm == "pre" else x


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_keeping_after_is_the_whole_block_and_then_fewer_tokens(norm: str) -> None:
    x, pooled, plain = clip(), block(norm=norm, keep_after=3), block(TransformerBlock, norm=norm)
    scores = plain.attention(normalised(plain, x), return_attention_scores=True)[1]
    expected = array(keep(plain(x), top_std(scores, 3)))
    assert expected.shape == (3, 4, WIDTH)
    np.testing.assert_allclose(array(pooled(x)), expected, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_keeping_before_is_the_whole_block_on_fewer_tokens(norm: str) -> None:
    x, pooled, plain = clip(), block(norm=norm, keep_before=5), block(TransformerBlock, norm=norm)
    scores = plain.attention(normalised(plain, x), return_attention_scores=True)[1]
    np.testing.assert_allclose(array(pooled(x)), array(plain(keep(x, top_std(scores, 5)))), atol=1e-5)


def test_keeping_before_and_after() -> None:
    x, both = clip(), block(keep_before=5, keep_after=2)
    before, after = block(keep_before=5), block(keep_after=2)
    fewer = keep(x, top_std(before.attention(before.attention_norm(x), return_attention_scores=True)[1], 5))
    np.testing.assert_allclose(array(both(x)), array(after(fewer)), atol=1e-5)
    assert both.compute_output_shape((None, 9, 6)) == (None, 3, 6)


def test_keeping_all_changes_nothing() -> None:
    x = clip()
    np.testing.assert_allclose(array(block(keep_after=FRAMES)(x)), array(block(TransformerBlock)(x)), atol=1e-5)
    np.testing.assert_allclose(array(block()(x)), array(block(TransformerBlock)(x)), atol=1e-6)


def test_it_takes_relative_positions_counted_anew() -> None:
    made = TopStdBlock(RelativePositionAttention(2, (FRAMES,), name="attention"), 7, keep_before=4, keep_after=2)
    assert made(clip()).shape == (3, 3, WIDTH)


def test_gradients_reach_the_tokens_that_were_kept_and_no_others() -> None:
    """With equal values in every token a row of the output depends on its own token alone."""
    made, x = block(keep_after=3), clip((1, 9, WIDTH))
    made.attention.value.kernel.assign(np.zeros((WIDTH, WIDTH)))
    scores = made.attention(made.attention_norm(x), return_attention_scores=True)[1]
    kept = array(top_std(scores, 3))[0].tolist()
    position = LearnedPosition(9)
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, made(position(inputs)))
    position.table.assign(np.zeros((9, WIDTH)))
    model.compile(keras.optimizers.SGD(1.0), loss="mse")
    model.train_on_batch(x, np.ones((1, 4, WIDTH), "float32"))
    assert np.flatnonzero(np.abs(array(position.table)).max(axis=1) > 1e-5).tolist() == kept


def test_gradients_of_training_are_finite_and_not_zero() -> None:
    inputs = keras.Input(SHAPE[1:])
    made = block(keep_before=6, keep_after=2)
    model = keras.Model(inputs, made(inputs))
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    before = [array(weight) for weight in made.trainable_weights]
    loss = model.train_on_batch(clip(), np.ones((3, 3, WIDTH), "float32"))
    assert np.isfinite(loss)
    for old, weight in zip(before, made.trainable_weights, strict=True):
        assert np.isfinite(array(weight)).all()
        assert weight.path.endswith("key/bias") or np.abs(array(weight) - old).max() > 0


@pytest.mark.parametrize("options", [{"keep_after": 9}, {"keep_before": 0}, {"keep_before": 3, "keep_after": 4}])
def test_more_than_there_are(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="can be kept, not"):
        block(**options)
