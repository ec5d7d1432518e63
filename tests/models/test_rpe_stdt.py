"""RPE-STDT: what the thesis says about its sizes, its positions and its pooling."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.layers import RelativePositionAttention, TopStdBlock
from keras_actrec.layers.top_std_pooling import top_std

TINY = {
    "frames": 8,
    "size": 32,
    "patch": 8,
    "width": 12,
    "depth": 2,
    "heads": 3,
    "dense_dim": 16,
    "temporal_depth": 3,
    "temporal_heads": 2,
    "reach": 2,
}
CLIPS = np.random.default_rng(0).normal(size=(3, 8, 32, 32, 3)).astype("float32")
ORDER = [4, 0, 7, 2, 6, 1, 3, 5]


def build(**options: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = models.build_model("rpe_stdt", num_classes=3, **TINY | options)
    rng = np.random.default_rng(1)
    for weight in model.weights:  # so that positions and class tokens have a voice
        if weight.path.endswith(("clusters", "token", "table", "logits/kernel")):
            weight.assign(rng.normal(size=weight.shape))
    return model


def logits(model: keras.Model, clips: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(clips, training=False))


# --- Sizes ------------------------------------------------------------------------------------------------------------

LAYER = 12 * 768**2 + 13 * 768  # with biases and two normalisations, whatever the number of heads
ENDS = (16 * 16 * 3 + 1) * 768 + 768 + 2 * 768 + 769 * 101
BARE = ENDS + 12 * LAYER + 768 + 2 * 768  # eight spatial and four temporal layers without positions
SPACE_CLUSTERS, TIME_CLUSTERS = 8 * 50 * 64, 4 * 8 * 96


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, BARE + SPACE_CLUSTERS + TIME_CLUSTERS),
        ({"heads_share_positions": False}, BARE + 12 * SPACE_CLUSTERS + 8 * TIME_CLUSTERS),
        ({"position": "absolute"}, BARE + (197 + 17) * 768),
        ({"position": "none", "subsampling": "none"}, BARE),
        ({"position": "none"}, BARE),
        ({"encoders": "space", "depth": 12, "position": "absolute"}, ENDS + 12 * LAYER + 197 * 768),
    ],
)
def test_sizes_that_follow_from_the_text(options: dict[str, Any], parameters: int) -> None:
    """The module's docstring compares them with Table 3.1."""
    assert models.build_model("rpe_stdt", num_classes=101, **options).count_params() == parameters


def test_clusters_of_the_thesis() -> None:
    """50 of each frame; over time 2 * 3 + 1, and one for the class token."""
    model = models.build_model("rpe_stdt", num_classes=2, depth=1, temporal_depth=1, subsample_after=[1])
    space, time = (model.get_layer(name).attention for name in ("space_block1", "time_block1"))
    assert (space.grid, space.number_of_clusters, space.num_heads) == ((14, 14), 50, 12)
    assert (time.grid, time.number_of_clusters, time.num_heads) == ((16,), 8, 8)


# --- Positions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subsampling", ["top_std", "none"])
def test_without_positions_no_order_is_seen(subsampling: str) -> None:
    """Neither of the frames nor of the patches within them."""
    model = build(position="none", subsampling=subsampling)
    found = logits(model, CLIPS)
    np.testing.assert_allclose(logits(model, CLIPS[:, ORDER]), found, atol=1e-4)
    patches = CLIPS.reshape(3, 8, 4, 8, 4, 8, 3)[:, :, [2, 0, 3, 1]][:, :, :, :, [3, 1, 0, 2]]
    np.testing.assert_allclose(logits(model, patches.reshape(CLIPS.shape)), found, atol=1e-4)


@pytest.mark.parametrize("position", ["relative", "absolute"])
@pytest.mark.parametrize("subsampling", ["top_std", "none"])
def test_with_positions_it_is(position: str, subsampling: str) -> None:
    model = build(position=position, subsampling=subsampling)
    found = logits(model, CLIPS)
    assert np.abs(logits(model, CLIPS[:, ORDER]) - found).max() > 1e-2
    assert np.abs(logits(model, CLIPS[:, ::-1]) - found).max() > 1e-2
    patches = CLIPS.reshape(3, 8, 4, 8, 4, 8, 3)[:, :, [2, 0, 3, 1]].reshape(CLIPS.shape)
    assert np.abs(logits(model, patches) - found).max() > 1e-2


def test_frames_alone_have_no_order_however_positioned() -> None:
    model = build(encoders="space")
    np.testing.assert_allclose(logits(model, CLIPS[:, ORDER]), logits(model, CLIPS), atol=1e-4)


def test_attention_is_told_of_every_option() -> None:
    options = {"mapping": "clip", "heads_share_positions": False, "reach": 4, "partition": 0.25, "curvature": 2.0}
    model = build(**options, attention_dropout=0.1, position_stddev=0.5, temporal_position_stddev=0.4)
    names = {"heads_share_positions": "share_heads"}
    found = [model.get_layer(f"{room}_block2").attention for room in ("space", "time")]
    for attention in found:
        assert isinstance(attention, RelativePositionAttention)
        config = attention.get_config()
        assert {name: config[names.get(name, name)] for name in options} == options
        assert config["dropout"] == 0.1
    assert [attention.grid for attention in found] == [(4, 4), (4,)]
    assert [attention.initial_stddev for attention in found] == [0.5, 0.4]
    assert "space_position" not in {layer.name for layer in model.layers}


# --- Pooling ----------------------------------------------------------------------------------------------------------


def tokens(model: keras.Model) -> list[int]:
    """Frames behind each temporal layer."""
    layers = [layer for layer in model.layers if layer.name.startswith(("time_block", "time_halve"))]
    return [layer.output.shape[1] - 1 for layer in layers]


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({}, [16, 8, 8, 4, 4][1:]),
        ({"subsample_after": [0, 2]}, [8, 4, 4, 4]),
        ({"subsampling": "none"}, [16, 16, 16, 16]),
        ({"subsampling": "max"}, [16, 8, 8, 8, 4, 4]),
        ({"subsampling": "average", "subsample_after": [0, 2]}, [8, 8, 8, 4, 4, 4]),
    ],
)
def test_frames_are_halved_twice(options: dict[str, Any], frames: list[int]) -> None:
    """After the first and the third of four layers, or before the first and after the second (Table 3.4)."""
    assert tokens(build(**{"frames": 16, "temporal_depth": 4} | options)) == frames


def test_the_frames_kept_are_those_that_attend_least_evenly() -> None:
    """Behind the first layer, written out with the layer's own parts."""
    model = build(subsample_after=[1])
    block = model.get_layer("time_block1")
    assert isinstance(block, TopStdBlock)
    before = keras.Model(model.inputs, block.input)(CLIPS)
    scores = block.attention(block.attention_norm(before), return_attention_scores=True)[1]
    spread = keras.ops.convert_to_numpy(scores).std(axis=-1).mean(axis=1)
    expected = [[0, *sorted(1 + np.argsort(-row[1:])[:4])] for row in spread]
    assert keras.ops.convert_to_numpy(top_std(scores, 4)).tolist() == expected
    after = keras.ops.convert_to_numpy(keras.Model(model.inputs, block.output)(CLIPS))
    rows = before + block.attention(block.attention_norm(before))
    rows = keras.ops.convert_to_numpy(rows + block.project(block.expand(block.dense_norm(rows))))
    np.testing.assert_allclose(
        after, np.stack([row[kept] for row, kept in zip(rows, expected, strict=True)]), atol=1e-4
    )


def test_rematerialised_gradients_are_the_same() -> None:
    labels = np.eye(3, dtype="float32")
    weights = []
    for rematerialize in (False, True):
        model = build(rematerialize=rematerialize)
        model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True))
        model.train_on_batch(CLIPS, labels)
        weights.append(model.get_weights())
    for plain, again in zip(*weights, strict=True):
        np.testing.assert_allclose(again, plain, atol=1e-5)


# --- Stages and mistakes ----------------------------------------------------------------------------------------------


def test_stages() -> None:
    model = build(position="absolute", depth=1, temporal_depth=2, subsampling="max", subsample_after=[1])
    named = [
        layer.name for layer in model.layers if isinstance(layer, keras.Layer) and not layer.name.startswith("get")
    ]
    stages = ["space_class_token", "space_position", "space_position_dropout", "space_block1", "space_norm"]
    stages += ["time_class_token", "time_position", "time_position_dropout", "time_block1", "time_halve1"]
    stages += ["time_block2", "time_norm"]
    assert named == ["rgb", "patches", *stages, "dropout", "logits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 36}, "size: 36 is no multiple of patch, 8"),
        ({"heads": 5}, "width: 12 is no multiple of heads, 5"),
        ({"temporal_heads": 5}, "width: 12 is no multiple of temporal_heads, 5"),
        ({"subsample_after": [3, 1]}, "rising numbers from 0 to 3, got [3, 1]"),
        ({"subsample_after": [4]}, "rising numbers from 0 to 3, got [4]"),
        ({"frames": 6}, "frames: 6 cannot be halved 2 times; choose a multiple of 4"),
        ({"reach": 0}, "reach: input should be greater than or equal to 1"),
        ({"position": "sinusoidal"}, "position: "),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        models.make_config("rpe_stdt", 3, **TINY | options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_built_is_not_checked() -> None:
    models.make_config("rpe_stdt", 3, **TINY | {"encoders": "space", "frames": 7, "temporal_heads": 5})
    models.make_config("rpe_stdt", 3, **TINY | {"subsampling": "none", "frames": 7})
