"""The 3-D ResNets and the non-local networks: published sizes, layouts, weights, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.models import resnet3d

SMALL = {"frames": 4, "size": 16, "base_width": 4, "weights": "none"}
# Tushar Nagarajan's I3Res50, and the I3D that "Temporal Human Action Recognition" ran.
I3RES50 = {
    "stem_temporal_stride": 2,
    "stem_pool_kernel": [2, 3, 3],
    "stem_pool_stride": [2, 2, 2],
    "stem_pool_padded": False,
    "stride_on": "3x3",
    "scaled": True,
}
FULL_KERNELS = {
    "temporal_kernels": [[1], [1], [1], [1]],
    "middle_temporal_kernel": 3,
    "stem_temporal_stride": 2,
    "stem_pool_stride": [2, 2, 2],
    "temporal_pool": False,
    "stride_on": "3x3",
}
# What five blocks add to the ResNet-50: theta, phi, g, out with biases and a batch normalisation, two at 512 channels
# and three at 1024.
FIVE_BLOCKS = sum(n * (4 * w * w // 2 + 3 * w // 2 + w + 2 * w) for n, w in ((2, 512), (3, 1024)))


def trained(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def infer(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model({"rgb": x}, training=False))


@pytest.mark.parametrize(
    ("name", "options", "classes", "parameters"),
    [
        # torchvision's numbers.
        ("r3d_18", {}, 400, 33_371_472),
        ("mc3_18", {}, 400, 11_695_440),
        ("r2plus1d_18", {}, 400, 31_505_325),
        # PyTorchVideo's.
        ("r3d_50", {}, 400, 32_454_096),
        ("i3d_resnet50", {"weights": "none"}, 400, 28_043_472),
        ("i3d_resnet50", {"weights": "none"} | FULL_KERNELS, 101, 46_387_109),
        ("non_local", {"weights": "none"}, 400, 28_043_472 + FIVE_BLOCKS),
        ("non_local", {"weights": "none", "frames": 32} | I3RES50, 400, 28_043_472 + FIVE_BLOCKS),
        # C3D with 101 classes, and one block at 256 and one at 512 channels.
        (
            "non_local",
            {"weights": "none", "body": "c3d", "size": 112},
            101,
            78_409_573 + sum(2 * w * w + 3 * w // 2 + 3 * w for w in (256, 512)),
        ),
    ],
)
def test_number_of_trained_parameters(name: str, options: dict[str, Any], classes: int, parameters: int) -> None:
    assert trained(models.build_model(name, classes, **options)) == parameters


@pytest.mark.parametrize(
    ("name", "frames", "size", "shape"),
    [
        # Table 1 of Tran et al. 2018: 16 frames of 112 pixels become 2 x 7 x 7; MC3 keeps time.
        ("r3d_18", 16, 112, (2, 7, 7)),
        ("mc3_18", 16, 112, (16, 7, 7)),
        ("r2plus1d_18", 16, 112, (2, 7, 7)),
        # Table 1 of Feichtenhofer et al. 2019.
        ("r3d_50", 8, 224, (8, 7, 7)),
        ("i3d_resnet50", 16, 224, (8, 7, 7)),
        ("non_local", 16, 224, (8, 7, 7)),
    ],
)
def test_default_clip_and_last_feature_map(name: str, frames: int, size: int, shape: tuple[int, ...]) -> None:
    config = models.make_config(name, 3)
    assert (config.frames, config.size) == (frames, size)
    small = {"base_width": 2} | ({} if name.endswith("18") else {"weights": "none"})
    model = models.build_model(name, 3, **small)
    assert model.get_layer("average_pool").input.shape[1:4] == shape


def test_feature_maps_of_the_other_layouts() -> None:
    model = models.build_model("non_local", 3, weights="none", frames=32, base_width=2, **I3RES50)
    shapes = [model.get_layer(f"conv{stage}_block1_out").output.shape[1:4] for stage in (2, 3, 4, 5)]
    assert shapes == [(8, 55, 55), (4, 28, 28), (4, 14, 14), (4, 7, 7)]
    model = models.build_model("i3d_resnet50", 3, weights="none", base_width=2, **FULL_KERNELS)
    assert model.get_layer("average_pool").input.shape[1:4] == (4, 7, 7)


def test_inputs_are_normalised_as_the_weights_expect() -> None:
    def normalization(name: str, **options: Any) -> str:
        return models.make_config(name, 3, **options).normalization

    assert {normalization(name) for name in ("r3d_18", "mc3_18", "r2plus1d_18")} == {"kinetics"}
    assert normalization("r3d_50") == "slowfast"
    assert normalization("r3d_50", weights="imagenet", stride_on="1x1") == "caffe"
    for name in ("i3d_resnet50", "non_local"):
        assert normalization(name) == "caffe"
        assert normalization(name, weights="resnet50_notop.h5") == "caffe"
        assert normalization(name, weights="none") == normalization(name, weights="kinetics.keras") == "slowfast"
        assert normalization(name, input_normalization="zero_one") == "zero_one"
    assert normalization("non_local", body="c3d", weights="none") == "sports1m"
    assert normalization("non_local", body="c3d", weights="none", input_normalization="zero_one") == "zero_one"


# --- Non-local blocks -------------------------------------------------------------------------------------------------


def blocks(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if type(layer).__name__ == "NonLocalBlock"]


def test_the_five_published_blocks_are_every_other_one_of_conv3_and_conv4() -> None:
    names = blocks(models.build_model("non_local", 3, **SMALL))
    places = ("conv3_block2", "conv3_block4", "conv4_block2", "conv4_block4", "conv4_block6")
    assert names == [f"{place}_non_local" for place in places]


def test_blocks_stand_where_they_are_asked_for() -> None:
    options = SMALL | {"depths": [2, 1, 1, 1], "blocks_per_stage": [[1, 2], [], [], [1]]}
    model = models.build_model("non_local", 3, **options)
    assert blocks(model) == ["conv2_block1_non_local", "conv2_block2_non_local", "conv5_block1_non_local"]
    assert model.get_layer("average_pool").input is model.get_layer("conv5_block1_non_local").output
    body = {"body": "c3d", "frames": 16, "fc_units": 5}
    assert blocks(models.build_model("non_local", 3, **SMALL | body)) == ["conv3_non_local", "conv4_non_local"]
    body["blocks_per_stage"] = [[], [1], [], [], [1]]
    assert blocks(models.build_model("non_local", 3, **SMALL | body)) == ["conv2_non_local", "conv5_non_local"]


def test_fields_of_the_blocks_reach_them() -> None:
    fields = {"kind": "gaussian", "subsample": False, "reduction": 4, "scaled": True}
    block = models.build_model("non_local", 3, **SMALL, **fields).get_layer("conv3_block2_non_local")
    assert (block.kind, block.subsample, block.inner_width, block.scaled) == ("gaussian", False, 8, True)


@pytest.mark.parametrize("body", [{}, {"body": "c3d", "frames": 16, "fc_units": 5}])
def test_new_blocks_change_nothing(body: dict[str, Any], tmp_path: Path) -> None:
    """A network without blocks, taken by layer name into one with them, gives the same logits."""
    options = SMALL | body
    empty = [[]] * (5 if body else 4)
    plain = models.build_model("non_local", 3, **options, blocks_per_stage=empty)
    plain.save(tmp_path / "plain.keras")
    keras.utils.set_random_seed(5)
    model = models.build_model("non_local", 3, **options | {"weights": str(tmp_path / "plain.keras")})
    assert blocks(model)
    assert not blocks(plain)
    clips = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(infer(model, clips), infer(plain, clips), atol=1e-6)


# --- Weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r3d_18", "r3d_50"])
def test_a_trained_file_starts_a_network_of_other_classes(name: str, tmp_path: Path) -> None:
    trained = models.build_model(name, 5, **SMALL)
    trained.save(tmp_path / "trained.keras")
    keras.utils.set_random_seed(5)
    model = models.build_model(name, 3, **SMALL | {"weights": str(tmp_path / "trained.keras")})
    for layer in ("conv1_conv", "conv5_block1_0_conv"):
        ours, theirs = (part.get_layer(layer).get_weights()[0] for part in (model, trained))
        np.testing.assert_array_equal(ours, theirs)
    assert model.output_shape == (None, 3)


def test_another_temporal_kernel_is_refused_by_name(tmp_path: Path) -> None:
    models.build_model("r3d_50", 3, **SMALL).save(tmp_path / "slow.keras")
    with pytest.raises(UserError, match=r"layer 'conv1_conv' does not fit"):
        models.build_model("i3d_resnet50", 3, **SMALL | {"weights": str(tmp_path / "slow.keras")})


@pytest.mark.parametrize("inflation", ["mean", "centre"])
def test_imagenet_weights_are_inflated(inflation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download is replaced; what is inflated is keras.applications' network, by name."""
    asked = []

    def resnet50(weights: str | None) -> keras.Model:
        asked.append(weights)
        return keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")

    keras.utils.set_random_seed(3)
    source = resnet50(None)
    monkeypatch.setattr(resnet3d, "_resnet50", lambda weights: asked.append(weights) or source)
    model = models.build_model("i3d_resnet50", 3, frames=2, size=32, inflation=inflation)
    assert asked == [None, "imagenet"]
    kernel = model.get_layer("conv1_conv").get_weights()[0]
    expected = source.get_layer("conv1_conv").get_weights()[0]
    np.testing.assert_allclose(kernel[2] * (5 if inflation == "mean" else 1), expected, rtol=1e-5)
    assert kernel[0].any() == (inflation == "mean")


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("i3d_resnet50", {"stem_temporal_kernel": 4}, "odd sizes, got 4"),
        ("i3d_resnet50", {"depths": [3, 4, 6]}, "temporal_kernels: expected one for each of 3 stages (depths), got 4"),
        ("i3d_resnet50", {"base_width": 32}, "base_width 64; got (3, 4, 6, 3) and 32. Set weights: none"),
        ("i3d_resnet50", {"depths": [3, 4, 23, 3]}, "a ResNet-50's, depths (3, 4, 6, 3)"),
        ("i3d_resnet50", {"inflation": "center"}, "inflation: input should be 'mean', 'centre' or 'first'"),
        ("i3d_resnet50", {"temporal_padding": "repeat"}, "temporal_padding: input should be 'zeros' or 'edge'"),
        ("r3d_50", {"weights": "imagenet"}, "set stride_on: 1x1"),
        ("r3d_18", {"temporal_kernels": [[3], [3], [3], [2]]}, "odd sizes, got 2"),
        ("r3d_18", {"temporal_strides": [1]}, "temporal_strides: expected one for each of 4 stages (depths), got 1"),
        ("r2plus1d_18", {"stem_mid_width": 0}, "stem_mid_width: input should be greater than or equal to 1 (got 0)"),
        ("non_local", {"kind": "softmax"}, "kind: input should be 'embedded_gaussian', 'gaussian', 'dot_product' or"),
        ("non_local", {"blocks_per_stage": [[], [1]]}, "blocks_per_stage: expected a list for each of 4 stages, got 2"),
        ("non_local", {"blocks_per_stage": [[], [5], [], []]}, "blocks_per_stage: stage conv3 has 4 blocks, got [5]"),
        ("non_local", {"body": "c3d"}, "the body 'c3d' has no ImageNet weights"),
        ("non_local", {"body": "c3d", "weights": "none", "frames": 8}, "C3D halves the time four times"),
        (
            "non_local",
            {"body": "c3d", "weights": "none", "blocks_per_stage": [[], [], [2], [], []]},
            "stage conv3 has 1 block, got [2]",
        ),
    ],
)
def test_mistakes_in_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        models.make_config(name, 3, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_poolings_that_leave_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="the clip is too small: 'pool2'"):
        models.build_model("i3d_resnet50", 3, **SMALL | {"frames": 1})


def test_no_imagenet_weights_for_eighteen_layers() -> None:
    with pytest.raises(UserError, match="'r3d_18' has no ImageNet weights"):
        models.build_model("r3d_18", 3, **SMALL | {"weights": "imagenet"})
