"""The builder of 3-D ResNets: names, order, kernels, strides, padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.backbones.resnet3d import Pool, ResNet3D, Stem, resnet3d_features
from keras_actrec.backbones.resnet3d_blocks import Convolution, convolve
from keras_actrec.errors import UserError

SMALL = ResNet3D(
    depths=(1, 2), base_width=4, temporal_kernels=((3,), (1, 3)), temporal_strides=(1, 2), temporal_pool=None
)
BASIC = dataclasses.replace(SMALL, block="basic", stem=Stem(pool=None))
STEM = ["conv1_conv", "conv1_bn", "conv1_relu", "pool1_pool"]


def build(network: ResNet3D, frames: int = 4, size: int = 32, **options: Any) -> keras.Model:
    clip = keras.Input((frames, size, size, 3))
    return keras.Model(clip, resnet3d_features(clip, network, **options))


def names(model: keras.Model, *kinds: type[keras.Layer]) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, kinds or keras.Layer)]


def learned(name: str, *numbers: int) -> set[str]:
    return {f"{name}_{number}_{kind}" for number in numbers for kind in ("conv", "bn")}


def test_bottlenecks_are_named_as_in_keras_applications() -> None:
    found = names(build(SMALL))
    blocks = ("conv2_block1", "conv3_block1", "conv3_block2")
    expected = {*STEM, *(f"{block}_{part}" for block in blocks for part in ("1_relu", "2_relu", "add", "out"))}
    expected |= learned("conv2_block1", 0, 1, 2, 3) | learned("conv3_block1", 0, 1, 2, 3)
    expected |= learned("conv3_block2", 1, 2, 3)
    assert {name for name in found if not name.endswith("_pad") and not name.startswith("input")} == expected
    order = [*STEM, "conv2_block1_1_conv", "conv2_block1_out", "conv3_block1_1_conv", "conv3_block2_out"]
    assert sorted(order, key=found.index) == order


def test_the_2d_network_has_every_layer_that_can_be_inflated() -> None:
    theirs = set(names(keras.applications.ResNet50(weights=None, include_top=False, input_shape=(32, 32, 3))))
    network = ResNet3D(stride_on="1x1", temporal_pool=Pool((2, 1, 1), (2, 1, 1), padded=False))
    ours = set(names(build(network, size=64)))
    assert {name for name in ours - theirs if not name.startswith("input")} == {"pool2_pool"}
    assert {name for name in theirs - ours if not name.startswith("input")} == set()


def test_basic_blocks_have_two_convolutions() -> None:
    model = build(BASIC)
    assert {name for name in names(model) if name.startswith("conv2_block1_")} == {
        *("conv2_block1_1_conv", "conv2_block1_1_bn", "conv2_block1_1_relu"),
        *("conv2_block1_2_conv", "conv2_block1_2_bn", "conv2_block1_add", "conv2_block1_out"),
    }
    assert "pool1_pool" not in names(model)
    assert [model.get_layer(f"conv3_block2_{number}_conv").kernel_size for number in (1, 2)] == [(3, 3, 3)] * 2
    assert [model.get_layer(f"conv3_block1_{number}_conv").kernel_size for number in (1, 2)] == [(1, 3, 3)] * 2


def test_factorised_convolutions_come_in_two_halves() -> None:
    network = dataclasses.replace(BASIC, factorised=True, stem=Stem(pool=None, mid_width=5))
    model = build(network)
    halves = ["conv1_spatial_conv", "conv1_spatial_bn", "conv1_spatial_relu", "conv1_conv", "conv1_bn", "conv1_relu"]
    assert names(model)[2:8] == halves
    spatial, temporal = model.get_layer("conv1_spatial_conv"), model.get_layer("conv1_conv")
    assert (spatial.filters, spatial.kernel_size, spatial.strides) == (5, (1, 7, 7), (1, 2, 2))
    assert (temporal.filters, temporal.kernel_size, temporal.strides) == (4, (3, 1, 1), (1, 1, 1))
    inner = model.get_layer("conv3_block1_1_spatial_conv"), model.get_layer("conv3_block1_1_conv")
    assert [layer.strides for layer in inner] == [(1, 2, 2), (2, 1, 1)]


def test_inner_widths_of_r2plus1d() -> None:
    """Those of torchvision's r2plus1d_18, by the formula of Tran et al. 2018, Sec. 3.5."""
    stem, kernels, strides = Stem(pool=None, mid_width=45), ((3,),) * 4, (1, 2, 2, 2)
    network = ResNet3D("basic", (1,) * 4, 64, stem, kernels, factorised=True, temporal_strides=strides)
    model = build(network, frames=2, size=16)
    widths = [model.get_layer(f"conv{stage}_block1_1_spatial_conv").filters for stage in (2, 3, 4, 5)]
    assert widths == [144, 230, 460, 921]
    assert model.get_layer("conv3_block1_2_spatial_conv").filters == 230


@pytest.mark.parametrize(("stride_on", "strides"), [("1x1", [(2, 2, 2), (1, 1, 1)]), ("3x3", [(2, 1, 1), (1, 2, 2)])])
def test_the_stride_is_where_it_was_asked_for(stride_on: str, strides: list[tuple[int, ...]]) -> None:
    model = build(dataclasses.replace(SMALL, stride_on=stride_on))
    assert [model.get_layer(f"conv3_block1_{number}_conv").strides for number in (1, 2)] == strides
    assert model.get_layer("conv3_block1_0_conv").strides == (2, 2, 2)
    assert model.get_layer("conv3_block2_1_conv").strides == (1, 1, 1)
    assert model.output_shape == (None, 2, 4, 4, 32)


def test_temporal_kernels_are_repeated_until_the_stage_is_full() -> None:
    network = ResNet3D(depths=(5,), base_width=2, temporal_kernels=((3, 1),), temporal_strides=(1,))
    network = dataclasses.replace(network, middle_temporal_kernel=5)
    model = build(network)
    kernels = [model.get_layer(f"conv2_block{number}_1_conv").kernel_size for number in range(1, 6)]
    assert kernels == [(3, 1, 1), (1, 1, 1), (3, 1, 1), (1, 1, 1), (3, 1, 1)]
    assert model.get_layer("conv2_block1_2_conv").kernel_size == (5, 3, 3)


@pytest.mark.parametrize("size", [(4, 6, 6), (5, 7, 6), (5, 7, 7)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 1, 1), (3, 5, 5)])
@pytest.mark.parametrize("padding", ["zeros", "edge"])
def test_padding_is_half_the_kernel_on_either_side(
    size: tuple[int, ...], stride: tuple[int, ...], kernel: tuple[int, ...], padding: str
) -> None:
    """A kernel that is 1 in its middle picks every n-th place, beginning with the first, of odd and even sizes."""
    clip = keras.Input((*size, 1))
    model = keras.Model(clip, convolve(clip, "x", Convolution(1, kernel, stride, temporal_padding=padding)))
    weights = np.zeros((*kernel, 1, 1))
    weights[tuple(number // 2 for number in kernel)] = 1
    model.get_layer("x_conv").set_weights([weights])
    x = np.random.default_rng(0).normal(size=(2, *size, 1)).astype("float32")
    picked = x[:, :: stride[0], :: stride[1], :: stride[2]]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x, training=False)), picked, rtol=1e-4)


def test_padding_layers_stand_only_where_they_are_needed() -> None:
    pads = names(build(dataclasses.replace(SMALL, stride_on="1x1")), keras.layers.ZeroPadding3D)
    assert pads == ["conv1_pad", "pool1_pad"]
    pads = names(build(dataclasses.replace(SMALL, stride_on="3x3")), keras.layers.ZeroPadding3D)
    assert pads == ["conv1_pad", "pool1_pad", "conv3_block1_2_pad"]


def test_edge_padding_keeps_a_standing_clip_standing() -> None:
    frame = np.random.default_rng(0).normal(size=(2, 1, 32, 32, 3)).astype("float32")
    clip = np.repeat(frame, 5, axis=1)
    network = dataclasses.replace(SMALL, stem=Stem(kernel=(5, 7, 7)), temporal_strides=(1, 1))
    spread = {}
    for padding in ("zeros", "edge"):
        keras.utils.set_random_seed(0)
        model = build(dataclasses.replace(network, temporal_padding=padding), frames=5)
        spread[padding] = np.ptp(keras.ops.convert_to_numpy(model(clip, training=False)), axis=1).max()
    assert spread["edge"] < 1e-4 < spread["zeros"]


def test_the_hook_sees_every_block_and_the_next_gets_what_it_returns() -> None:
    seen = []

    def after_block(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        seen.append(name)
        return keras.layers.Identity(name=f"{name}_hook")(x)

    model = build(SMALL, after_block=after_block)
    assert seen == ["conv2_block1", "conv3_block1", "conv3_block2"]
    assert model.get_layer("conv3_block1_1_conv").input.name == model.get_layer("conv2_block1_hook").output.name
    assert model.layers[-1].name == "conv3_block2_hook"


def test_time_is_halved_after_stage_two() -> None:
    pool = Pool((2, 1, 1), (2, 1, 1), padded=False)
    model = build(dataclasses.replace(SMALL, temporal_pool=pool), frames=8)
    assert model.get_layer("conv2_block1_out").output.shape[1] == 8
    assert model.get_layer("pool2_pool").output.shape[1] == 4
    assert model.output_shape[1] == 2


def test_a_pooling_without_padding_drops_the_rest() -> None:
    stem = Stem((5, 7, 7), (2, 2, 2), Pool((2, 3, 3), (2, 2, 2), padded=False))
    model = build(dataclasses.replace(SMALL, stem=stem), frames=10, size=64)
    assert model.get_layer("pool1_pool").output.shape == (None, 2, 15, 15, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temporal_kernels": ((3,),)}, "temporal_kernels: expected one for each of 2 stages (depths), got 1"),
        ({"temporal_strides": (1, 1, 1)}, "temporal_strides: expected one for each of 2 stages (depths), got 3"),
        ({"temporal_kernels": ((3,), (2,))}, "odd sizes, got 2"),
        ({"temporal_kernels": ((3,), ())}, "at least one number"),
        ({"middle_temporal_kernel": 4}, "odd sizes, got 4"),
        ({"stem": Stem(kernel=(2, 7, 7))}, "odd sizes, got 2"),
    ],
)
def test_numbers_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        dataclasses.replace(SMALL, **changes)
    assert message in str(caught.value)


def test_a_clip_of_which_nothing_is_left() -> None:
    pool = Pool((2, 1, 1), (2, 1, 1), padded=False)
    with pytest.raises(UserError, match="too small: 'pool2' pools"):
        build(dataclasses.replace(SMALL, temporal_pool=pool), frames=1)
