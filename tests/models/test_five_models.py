"""Late Fusion, LRCN, C3D and I3D on Inception: what their papers and released networks say about them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec import models
from keras_actrec.backbones import c3d
from keras_actrec.errors import UserError

FRAMES = {"frames": 4, "size": 16, "backbone": "tiny", "weights": "none", "widths": [6, 8]}
CLIPS = np.random.default_rng(0).normal(size=(3, 4, 16, 16, 3)).astype("float32")
ORDER = [2, 0, 3, 1]
SMALL_C3D = {"frames": 16, "size": 16, "widths": [2, 2, 2, 2, 2], "fc_units": 2}


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def logits(name: str, clips: np.ndarray, **options: Any) -> np.ndarray:
    keras.utils.set_random_seed(0)
    return models.build_model(name, num_classes=3, **FRAMES | options).predict({"rgb": clips}, verbose=0)


# --- Parameters -------------------------------------------------------------------------------------------------------


def test_c3d_has_the_published_number_of_parameters() -> None:
    model = models.build_model("c3d", num_classes=101)
    assert model.count_params() == 78_409_573
    assert model.get_layer("pool5").output.shape[1:] == (1, 4, 4, 512)


def test_i3d_has_the_parameters_of_its_pytorch_version() -> None:
    """Built by piergiaj/pytorch-i3d: 12,697,264 parameters for 400 classes, 14,560 moving statistics."""
    model = models.build_model("i3d_inception", num_classes=400)
    assert trainable(model) == 12_697_264
    assert model.count_params() - trainable(model) == 14_560
    assert model.get_layer("average_pool").output.shape[1:] == (7, 1, 1, 1024)


RESNET152 = 58_370_944


@pytest.mark.parametrize(
    ("name", "options", "own"),
    [
        # The released network: dense layers 2048 -> 512 -> classes.
        ("late_fusion", {"fusion": "average"}, 2049 * 512 + 513 * 101),
        ("late_fusion", {}, 2049 * 512 + (5 * 512 + 1) * 512 + 513 * 101),
        # The released LSTM has 8 gates per layer, each with two biases of 256 where Keras has one.
        ("lrcn", {}, 2049 * 512 + 8 * (512 + 256 + 1) * 256 + 8 * (512 + 256 + 1) * 256 + 513 * 101),
    ],
)
def test_heads_on_resnet152_have_the_released_sizes(name: str, options: dict[str, Any], own: int) -> None:
    model = models.build_model(name, num_classes=101, weights="none", size=64, **options)
    assert model.input_shape[1] == 5
    assert model.get_layer("frame_features").count_params() == RESNET152
    assert model.count_params() - RESNET152 == own


# --- Frame by frame ---------------------------------------------------------------------------------------------------


def test_average_fusion_cannot_see_order_and_concatenation_can() -> None:
    average, shuffled = (logits("late_fusion", clips, fusion="average") for clips in (CLIPS, CLIPS[:, ORDER]))
    np.testing.assert_allclose(shuffled, average, atol=1e-5)
    joined, shuffled = (logits("late_fusion", clips) for clips in (CLIPS, CLIPS[:, ORDER]))
    assert np.abs(shuffled - joined).max() > 1e-4


@pytest.mark.parametrize(("fusion", "stage"), [("average", ["time_pool"]), ("concatenate", ["concatenate", "fusion"])])
def test_stages_of_late_fusion(fusion: str, stage: list[str]) -> None:
    model = models.build_model("late_fusion", 3, **FRAMES, fusion=fusion)
    assert [layer.name for layer in model.layers] == ["rgb", "frame_features", "latent", *stage, "dropout", "logits"]


@pytest.mark.parametrize("readout", ["mean", "last"])
def test_lrcn_sees_order(readout: str) -> None:
    straight, shuffled = (logits("lrcn", clips, readout=readout) for clips in (CLIPS, CLIPS[:, ORDER]))
    assert np.abs(shuffled - straight).max() > 1e-4


def test_the_last_step_of_lrcn_is_that_of_the_sequence() -> None:
    """As released: forwards the state after all frames, backwards the state after the last frame alone."""
    model = models.build_model("lrcn", 3, **FRAMES, lstm_layers=1, hidden_size=5, readout="last")
    step = keras.Model(model.inputs, [model.get_layer("latent").output, model.get_layer("dropout").output])
    latent, last = step.predict({"rgb": CLIPS}, verbose=0)
    recurrence = model.get_layer("lstm1")
    forwards = recurrence.forward_layer(latent)[:, -1]
    backwards = recurrence.backward_layer(latent[:, -1:])[:, 0]
    expected = np.concatenate([keras.ops.convert_to_numpy(part) for part in (forwards, backwards)], axis=-1)
    np.testing.assert_allclose(last[:, 0], expected, atol=1e-5)


def test_the_mean_of_lrcn_is_taken_over_the_logits_of_each_step() -> None:
    model = models.build_model("lrcn", 3, **FRAMES, hidden_size=5)
    steps = keras.Model(model.inputs, model.get_layer("logits").output).predict({"rgb": CLIPS}, verbose=0)
    assert steps.shape == (3, 4, 3)
    np.testing.assert_allclose(model.predict({"rgb": CLIPS}, verbose=0), steps.mean(axis=1), atol=1e-6)


def test_own_fields_only() -> None:
    """Late Fusion and LRCN have another head than the PSO-ConvNet Transformer."""
    for name in ("late_fusion", "lrcn"):
        assert not {"noise", "head_units"} & {option.name for option in models.describe(name)}
        config = models.make_config(name, num_classes=3, **FRAMES, head_dropout=0.2)
        baseline = models.make_config_like("single_frame", config)
        assert (baseline.frames, baseline.widths, baseline.head_dropout, baseline.head_units) == (4, (6, 8), 0.2, 1024)


# --- C3D --------------------------------------------------------------------------------------------------------------


def test_stages_of_c3d() -> None:
    model = models.build_model("c3d", 3, **SMALL_C3D)
    stages = ["conv1a", "pool1", "conv2a", "pool2", "conv3a", "conv3b", "pool3", "conv4a", "conv4b", "pool4"]
    stages += ["conv5a", "conv5b", "pool5_pad", "pool5", "flatten", "fc6", "fc6_dropout", "fc7", "fc7_dropout"]
    assert [layer.name for layer in model.layers] == ["rgb", *stages, "logits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 15}, "at least 16 frames of at least 16 pixels, got 15 frames of 16 pixels"),
        ({"frames": 8}, "got 8 frames"),
        ({"widths": [2, 2, 2, 2]}, "widths: "),
        ({"widths": [2, 2, 2, 2, 0]}, "widths: input should be greater than or equal to 1"),
        ({"size": 8}, "size: input should be greater than or equal to 16"),
    ],
)
def test_clips_that_c3d_cannot_take_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        models.make_config("c3d", 3, **SMALL_C3D | options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stages_refuse_what_the_config_refuses() -> None:
    with pytest.raises(UserError, match="got 8 frames of 32 pixels"):
        c3d.c3d_stages(keras.Input((8, 32, 32, 3)))
    with pytest.raises(UserError, match="five widths"):
        c3d.c3d_stages(keras.Input((16, 32, 32, 3)), (2, 2))


def test_every_clip_that_is_not_refused_leaves_something() -> None:
    for frames, size in ((16, 16), (17, 31), (47, 33)):
        shape = c3d.c3d_stages(keras.Input((frames, size, size, 3)), (1, 1, 1, 1, 1)).shape[1:]
        assert min(shape) >= 1


def test_after_stage_is_called_before_each_pooling() -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def after(number: int, x: keras.KerasTensor) -> keras.KerasTensor:
        seen.append((number, x.shape[1:]))
        return keras.layers.Rescaling(0.0)(x) if number == 3 else x

    clip = keras.Input((16, 32, 32, 3))
    model = keras.Model(clip, c3d.c3d_stages(clip, (2, 3, 4, 5, 6), after))
    assert seen == [
        (1, (16, 32, 32, 2)),
        (2, (16, 16, 16, 3)),
        (3, (8, 8, 8, 4)),
        (4, (4, 4, 4, 5)),
        (5, (2, 2, 2, 6)),
    ]
    assert not model.predict(np.ones((1, 16, 32, 32, 3)), verbose=0).any(), "what the hook returned was not used"


def test_the_border_of_pool5_is_neutral() -> None:
    """One row and column of zeros on each side, so that 7 x 7 gives 4 x 4 with the corner alone in its window."""
    clip = keras.Input((16, 112, 112, 3))
    model = keras.Model(clip, c3d.c3d_stages(clip, (1, 1, 1, 1, 2)))
    parts = keras.Model(clip, [model.get_layer("conv5b").output, model.output])
    before, after = parts.predict(np.random.default_rng(0).normal(size=(1, 16, 112, 112, 3)), verbose=0)
    assert (before.shape, after.shape) == ((1, 2, 7, 7, 2), (1, 1, 4, 4, 2))
    np.testing.assert_array_equal(after[0, 0, 0, 0], before[0, :, 0, 0].max(axis=0))
    np.testing.assert_array_equal(after[0, 0, 3, 1], before[0, :, 5:7, 1:3].max(axis=(0, 1, 2)))


# --- I3D on Inception -------------------------------------------------------------------------------------------------

SMALL_I3D = {"frames": 16, "size": 32, "width_factor": 0.125}


def test_names_of_i3d_are_the_originals() -> None:
    names = {layer.name for layer in models.build_model("i3d_inception", 3, **SMALL_I3D).layers}
    units = [f"Mixed_4e_Branch_{part}" for part in ("0_Conv3d_0a_1x1", "1_Conv3d_0b_3x3", "3_Conv3d_0b_1x1")]
    assert {f"{unit}_{kind}" for unit in ("Conv3d_1a_7x7", *units) for kind in ("conv", "bn")} <= names
    assert sum(name.endswith("_conv") for name in names) == 3 + 9 * 6


@pytest.mark.parametrize(
    ("frames", "size", "shape"),
    [(64, 224, (7, 1, 1)), (16, 224, (1, 1, 1)), (8, 32, (1, 1, 1)), (40, 288, (4, 3, 3))],
)
def test_the_pooling_before_the_logits_fits_the_feature_map(frames: int, size: int, shape: tuple[int, ...]) -> None:
    model = models.build_model("i3d_inception", 3, **SMALL_I3D | {"frames": frames, "size": size})
    assert model.get_layer("logits").output.shape[1:] == (*shape, 3)


def test_logits_of_i3d_are_the_mean_over_positions() -> None:
    model = models.build_model("i3d_inception", 3, **SMALL_I3D | {"frames": 24})
    places = keras.Model(model.inputs, model.get_layer("logits").output)
    clips = np.random.default_rng(0).normal(size=(2, 24, 32, 32, 3)).astype("float32")
    every = places.predict({"rgb": clips}, verbose=0)
    assert every.shape == (2, 2, 1, 1, 3)
    np.testing.assert_allclose(model.predict({"rgb": clips}, verbose=0), every.mean(axis=(1, 2, 3)), atol=1e-5)


def test_narrow_i3d_has_a_channel_everywhere() -> None:
    model = models.build_model("i3d_inception", 3, **SMALL_I3D | {"width_factor": 0.001})
    assert {layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv3D)} == {1}


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_width_factor_is_checked(factor: float) -> None:
    with pytest.raises(UserError, match="width_factor"):
        models.make_config("i3d_inception", 3, **SMALL_I3D | {"width_factor": factor})


def test_inputs_are_those_of_the_published_weights() -> None:
    assert models.make_config("c3d", 3).normalization == "sports1m"
    assert models.make_config("i3d_inception", 3).normalization == "minus_one_one"
    assert models.make_config("lrcn", 3).normalization == models.make_config("late_fusion", 3).normalization == "caffe"
