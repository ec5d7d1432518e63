"""CTN: Eq. (4.5) in NumPy, the published sizes, and what the network can and cannot see without position embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from case import dense, unit

from keras_actrec import models
from keras_actrec.config import load_config
from keras_actrec.errors import UserError
from keras_actrec.evaluation import flops

SMALL = {"frames": 8, "size": 16, "patch": 8, "width": 8, "depth": 2, "heads": 2, "stem_channels": 4, "stem_kernel": 3}
TUBELETS = SMALL | {"tokens": "tubelets", "patch_frames": 4}
EPIC_KITCHENS = 97 + 300


def build(**options: Any) -> keras.Model:
    """A small network with a random weight everywhere."""
    model = models.build_model("ctn", num_classes=3, **options)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        values = rng.normal(scale=0.3, size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.path.endswith(("variance", "gamma")) else values)
    return model


def clips(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, 8, 16, 16, 3)).astype("float32")


def infer(model: keras.Model, clip: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model({"rgb": clip}, training=False))


def windows(size: int, stride: int) -> list[range]:
    """The places that each output of a 'same' window of three sees: one zero more at the end where the size is even."""
    starts = range(0, size, stride)
    before = max((len(starts) - 1) * stride + 3 - size, 0) // 2
    return [range(start - before, start - before + 3) for start in starts]


def convolve(clip: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """3x3x3, stride 2, one product at a time."""
    out = np.zeros((*(size // 2 for size in clip.shape[:3]), kernel.shape[-1]))
    for place in np.ndindex(out.shape[:3]):
        for tap in np.ndindex(3, 3, 3):
            at = [windows(size, 2)[p][t] for size, p, t in zip(clip.shape[:3], place, tap, strict=True)]
            if all(0 <= a < size for a, size in zip(at, clip.shape[:3], strict=True)):
                out[place] += clip[tuple(at)] @ kernel[tap]
    return out


def pool(x: np.ndarray) -> np.ndarray:
    """The largest of 3x3x3, stride 2."""
    out = np.full((*(size // 2 for size in x.shape[:3]), x.shape[-1]), -np.inf)
    for place in np.ndindex(out.shape[:3]):
        for tap in np.ndindex(3, 3, 3):
            at = [windows(size, 2)[p][t] for size, p, t in zip(x.shape[:3], place, tap, strict=True)]
            if all(0 <= a < size for a, size in zip(at, x.shape[:3], strict=True)):
                out[place] = np.maximum(out[place], x[tuple(at)])
    return out


def test_video_to_tokens_is_equation_4_5() -> None:
    model, clip = build(**SMALL), clips(1)
    (kernel,) = model.get_layer("stem").get_weights()
    gamma, beta, mean, variance = model.get_layer("stem_norm").get_weights()
    normalised = (convolve(clip[0], kernel) - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    expected = pool(normalised)
    found = infer(keras.Model(model.input, model.get_layer("stem_pool").output), clip)[0]
    assert found.shape == (8 // 4, 16 // 4, 16 // 4, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


# --- The published sizes ----------------------------------------------------------------------------------------------

PLAIN_LAYER = 4 * dense(768, 768) + dense(768, 3072) + dense(3072, 768) + 2 * 2 * 768
MAPPINGS = 3 * (9 + 4) * 768
HEAD = 768 + dense(768, EPIC_KITCHENS)


@pytest.fixture(scope="module")
def full() -> keras.Model:
    return models.build_model("ctn", num_classes=EPIC_KITCHENS)


@pytest.fixture(scope="module")
def vivit_of_two_frames() -> keras.Model:
    """ViViT-B with as many tokens: its 16x16x2 tubelets, a position embedding, pre-norm."""
    options = {"tokens": "tubelets", "mapping": "linear", "position": "learned", "norm": "pre", "frames": 2}
    return models.build_model("ctn", num_classes=EPIC_KITCHENS, **options)


def test_number_of_parameters(full: keras.Model) -> None:
    stem = unit(343, 3, 32) + dense(4 * 4 * 2 * 32, 768)
    assert full.count_params() == 86_540_205 == stem + 12 * (PLAIN_LAYER + MAPPINGS) + HEAD
    moving = sum(int(np.prod(weight.shape)) for weight in full.non_trainable_weights if "moving" in weight.path)
    assert moving == 55_360 == 2 * (36 * 768 + 32)


def test_the_published_number_of_parameters_is_that_of_vivit_with_this_stem(full: keras.Model) -> None:
    vivit = dense(16 * 16 * 2 * 3, 768) + 3137 * 768 + 12 * PLAIN_LAYER + 2 * 768 + HEAD
    assert vivit == 88_951_693  # printed as 88.9 million
    with_stem = vivit - dense(16 * 16 * 2 * 3, 768) + unit(343, 3, 32) + dense(4 * 4 * 2 * 32, 768)
    assert round(with_stem / 1e6, 1) == 88.6
    assert with_stem - full.count_params() == 3137 * 768 + 2 * 768 - 12 * MAPPINGS


def test_flops_are_a_tenth_above_those_of_vivit_with_as_many_tokens(
    full: keras.Model, vivit_of_two_frames: keras.Model
) -> None:
    ours, theirs = flops.count(full), flops.count(vivit_of_two_frames)
    assert ours.total / theirs.total == pytest.approx(358 / 325, abs=0.01)
    assert ours.total / theirs.total == pytest.approx(1.092, abs=5e-4)
    assert ours.by_kind["Conv3D"] / ours.total == pytest.approx(0.085, abs=5e-4)
    assert ours.by_kind["DepthwiseConv2D"] == 12 * 3 * 2 * 9 * 768 * 196
    assert full.get_layer("patches").output.shape == (None, 1, 14, 14, 768)


# --- What is seen without position embedding --------------------------------------------------------------------------


def swapped_steps(clip: np.ndarray) -> np.ndarray:
    """The second half of the clip before the first: each tubelet stays what it was."""
    return np.concatenate([clip[:, 4:], clip[:, :4]], axis=1)


def swapped_places(clip: np.ndarray) -> np.ndarray:
    """The left half of each frame at the right."""
    return np.concatenate([clip[:, :, :, 8:], clip[:, :, :, :8]], axis=3)


def test_linear_mapping_without_position_sees_a_bag_of_tubelets() -> None:
    model, clip = build(**TUBELETS, mapping="linear"), clips()
    for moved in (swapped_steps(clip), swapped_places(clip)):
        np.testing.assert_allclose(infer(model, moved), infer(model, clip), rtol=1e-3, atol=1e-4)


def test_convolutional_mapping_knows_where_but_not_when() -> None:
    """Its kernels are of two dimensions: places of a step are told apart, the steps themselves are a bag."""
    model, clip = build(**TUBELETS), clips()
    np.testing.assert_allclose(infer(model, swapped_steps(clip)), infer(model, clip), rtol=1e-3, atol=1e-4)
    assert np.abs(infer(model, swapped_places(clip)) - infer(model, clip)).max() > 1e-2


@pytest.mark.parametrize("options", [TUBELETS | {"position": "learned"}, SMALL | {"stem_pool_temporal_stride": 1}])
def test_position_or_the_stem_tell_when(options: dict[str, Any]) -> None:
    model, clip = build(**options), clips()
    assert np.abs(infer(model, swapped_steps(clip)) - infer(model, clip)).max() > 1e-2


# --- Fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "tubelet", "grid"),
    [
        ({}, (2, 4, 4), (1, 14, 14)),
        ({"tokens": "tubelets"}, (2, 16, 16), (4, 14, 14)),
        ({"stem_stride": 4, "stem_pool": False}, (2, 4, 4), (1, 14, 14)),
        ({"stem_temporal_stride": 1, "stem_pool_temporal_stride": 1}, (2, 4, 4), (4, 14, 14)),
        ({"stem_temporal_stride": 1, "stem_pool_temporal_stride": 1, "patch_frames": 1}, (1, 4, 4), (8, 14, 14)),
        ({"frames": 16, "patch": 32}, (2, 8, 8), (2, 7, 7)),
    ],
)
def test_tokens_of_a_clip(options: dict[str, Any], tubelet: tuple[int, ...], grid: tuple[int, ...]) -> None:
    config = models.make_config("ctn", num_classes=3, **options)
    assert (config.tubelet, config.grid) == (tubelet, grid)


def test_layers_are_normalised_after_the_sums_unless_told() -> None:
    post, pre = build(**SMALL), build(**SMALL, norm="pre")
    assert {layer.norm for layer in (post.get_layer("block1"), post.get_layer("block2"))} == {"post"}
    assert [pre.get_layer(name).norm for name in ("block1", "block2")] == ["pre", "pre"]
    assert "norm" not in [layer.name for layer in post.layers]
    assert "norm" in [layer.name for layer in pre.layers]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 12}, "12 frames are no whole number of tokens"),
        ({"size": 232}, "232 pixels are no whole number of tokens"),
        ({"patch": 6}, "patch must be a multiple of 4"),
        ({"mapping_kernel": 4}, "mapping_kernel must be odd"),
        ({"rematerialize": True}, "cannot rematerialize layers with a batch normalisation"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.make_config("ctn", num_classes=3, **options)


# --- The rows of the tables -------------------------------------------------------------------------------------------

PAPER = Path(__file__).parent.parent.parent / "configs" / "papers" / "thesis_ctn"
WITHOUT_POOL = {"stem_stride": 4, "stem_channels": 64, "stem_pool": False, "stem_batch_norm": False}
ROWS: dict[str, tuple[str, int, dict[str, Any]]] = {
    # name: model, frames, options besides the weights
    "ctn": ("ctn", 8, {}),
    "position": ("ctn", 8, {"position": "learned"}),
    "tubelets": ("ctn", 8, {"tokens": "tubelets", "position": "learned"}),
    "vivit": ("vivit", 16, {}),
    "vivit_no_position": ("vivit", 16, {"position": "none"}),
    "stem_7_stride_4": ("ctn", 8, WITHOUT_POOL),
    "stem_5_stride_4": ("ctn", 8, WITHOUT_POOL | {"stem_kernel": 5}),
    "stem_no_batch_norm": ("ctn", 8, {"stem_batch_norm": False}),
    "linear_mapping": ("ctn", 8, {"mapping": "linear"}),
    "mapping_3_no_batch_norm": ("ctn", 8, {"mapping_batch_norm": False}),
    "mapping_5": ("ctn", 8, {"mapping_kernel": 5}),
    "mapping_5_no_batch_norm": ("ctn", 8, {"mapping_kernel": 5, "mapping_batch_norm": False}),
}
SOURCES = {"epic_kitchens": ("epic_kitchens_100", "verb_noun"), "diving48": ("diving48", "label")}


def test_every_row_of_both_data_sets_has_a_config() -> None:
    assert {path.stem for path in PAPER.glob("*.yaml")} == {f"{data}_{row}" for data in SOURCES for row in ROWS}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("data", SOURCES)
def test_settings_of_table_4_2(data: str, row: str) -> None:
    config = load_config(PAPER / f"{data}_{row}.yaml")
    name, frames, options = ROWS[row]
    weights = {"weights": "weights/vit_base_patch16_224_in21k.safetensors"}
    assert (config.model.name, config.data.frames, config.data.size) == (name, frames, 224)
    assert config.model.options == options | weights
    assert (config.data.source, config.data.targets) == SOURCES[data]
    training, optimizer = config.training, config.training.optimizer
    assert (optimizer.name, optimizer.momentum, optimizer.learning_rate) == ("sgd", 0.9, 0.005)
    assert (training.schedule.name, training.schedule.warmup_epochs) == ("cosine", 2.5)
    assert (training.batch_size, training.epochs) == (16, 100)
