"""Activation maps and Grad-CAM: worked out by hand, found at any depth, laid on the right frames."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from small import clip_network, frame_network, noise, output_of

from keras_actrec import backbones
from keras_actrec.errors import UserError
from keras_actrec.explain import Explanation, NotApplicable, explain, feature_maps, open_subject
from keras_actrec.explain.grad_cam import weighted
from keras_actrec.layers import TimeDistributed


def test_resampling_keeps_constants_means_and_the_place_of_cells() -> None:
    np.testing.assert_array_equal(feature_maps.resample(np.ones((2, 3, 4)), (8, 9, 5)), np.ones((8, 9, 5)))
    ramp = feature_maps.resample(np.array([0.0, 1.0]), (8,))
    # Cell 0 covers 0 to 4 and is exact at its middle, between samples 1 and 2; beyond the middles nothing changes.
    np.testing.assert_allclose(ramp, [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    values = np.random.default_rng(0).normal(size=(2, 3, 3, 2)).astype("float32")
    assert feature_maps.resample(values, (6, 6, 6)).shape == (6, 6, 6, 2)
    np.testing.assert_array_equal(feature_maps.resample(values, (2, 3, 3)), values)


def test_grad_cam_of_a_clip_network_is_the_weighted_sum_of_its_maps() -> None:
    """After a global average the gradient of the logit is the class weight over the number of positions."""
    model = clip_network()
    clip = noise(model)
    found = explain(model, clip, "grad_cam", 1)
    maps = output_of(model, "relu", clip)
    alpha = keras.ops.convert_to_numpy(model.get_layer("logits").kernel)[:, 1] / np.prod(maps.shape[:3])
    expected = np.maximum(maps @ alpha, 0)
    assert expected.any()
    assert found.layer == "relu"
    np.testing.assert_allclose(found.heat, feature_maps.resample(expected, (4, 8, 8)), rtol=1e-3, atol=1e-7)


def test_grad_cam_of_a_frame_network_has_weights_of_each_frame() -> None:
    model = frame_network()
    clip = noise(model)
    found = explain(model, clip, "grad_cam", 0)
    assert found.layer == "frames/backbone/conv"
    conv = model.get_layer("frames").layer.get_layer("conv")
    maps = keras.ops.convert_to_numpy(conv(clip))
    alpha = keras.ops.convert_to_numpy(model.get_layer("logits").kernel)[:, 0] / maps[..., 0].size
    np.testing.assert_allclose(found.heat, np.maximum(maps @ alpha, 0), rtol=1e-3, atol=1e-7)
    slopes = np.broadcast_to(np.arange(4.0)[:, None, None, None], maps.shape)
    np.testing.assert_allclose(
        weighted(maps, slopes, per_frame=True), np.maximum(maps.sum(-1), 0) * np.arange(4.0)[:, None, None], rtol=1e-4
    )


@pytest.mark.parametrize("method", ["activation", "grad_cam", "guided_backprop", "integrated_gradients"])
def test_heat_lies_on_the_frame_that_was_picked(method: str) -> None:
    model = frame_network(pick=True)
    # Either sign of the class: for one of them Grad-CAM's ReLU may leave nothing.
    heats = [explain(model, noise(model), method, target).heat for target in (0, 1)]
    warm = np.flatnonzero(sum(heats).max(axis=(1, 2)))
    np.testing.assert_array_equal(warm, [2])


def test_the_mean_of_the_first_convolution_is_shown_unless_a_layer_is_named() -> None:
    model = clip_network()
    clip = noise(model)
    for found, name in (
        (explain(model, clip, "activation"), "conv1"),
        (explain(model, clip, "activation", layer="norm"), "norm"),
    ):
        mean = output_of(model, name, clip).mean(axis=-1)
        assert found.layer == name
        np.testing.assert_allclose(found.heat, feature_maps.resample(mean - mean.min(), (4, 8, 8)), atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        ("tiny", "block4_relu"),
        ("resnet101", "conv5_block3_out"),
        ("densenet121", "relu"),
        ("mobilenet_v2", "out_relu"),
        ("efficientnet_b0", "top_activation"),
    ],
)
def test_the_last_map_of_known_networks(backbone: str, layer: str) -> None:
    size = 64
    clip = keras.Input((1, size, size, 3), name="rgb")
    x = TimeDistributed(backbones.build_frame_backbone(backbone, size), name="frames")(clip)
    model = keras.Model([clip], layers.Dense(2, name="logits")(layers.Flatten()(x)))
    call = feature_maps.last_feature_map(open_subject(model, np.zeros((1, size, size, 3))))
    assert call.path.rpartition("/")[2] == layer


def test_maps_that_hold_no_places_are_refused_with_a_reason() -> None:
    clip = keras.Input((2, 8, 8, 3), name="rgb")
    flat = keras.Model([clip], layers.Dense(2)(layers.Flatten()(clip)), name="flat")
    patches = layers.Conv3D(4, (1, 4, 4), strides=(1, 4, 4), name="patches")(clip)
    vit = keras.Model([clip], layers.Dense(2)(layers.GlobalAveragePooling3D()(patches)), name="vit")
    single = layers.Conv3D(4, (1, 8, 8), name="whole")(clip)
    narrow = keras.Model([clip], layers.Dense(2)(layers.Flatten()(single)), name="narrow")
    for model, reason in ((flat, "no convolution"), (vit, "only cut patches"), (narrow, "single position")):
        found = explain(model, noise(model), "grad_cam")
        assert isinstance(found, NotApplicable)
        assert reason in found.reason


def test_a_layer_without_a_map_and_one_that_does_not_exist() -> None:
    model = clip_network()
    found = explain(model, noise(model), "grad_cam", layer="logits")
    assert isinstance(found, NotApplicable)
    assert "no map of frames" in found.reason
    with pytest.raises(UserError, match="Did you mean 'conv2'"):
        explain(model, noise(model), "grad_cam", layer="conv_2")


def test_mistakes_of_the_caller() -> None:
    model = clip_network()
    with pytest.raises(UserError, match="Did you mean 'grad_cam'"):
        explain(model, noise(model), "gradcam")
    with pytest.raises(UserError, match="no class 2"):
        explain(model, noise(model), "grad_cam", 2)
    with pytest.raises(UserError, match="takes a clip of shape"):
        explain(model, np.zeros((4, 9, 8, 3)), "grad_cam")
    two = keras.Model([keras.Input((2, 2, 2, 3), name="rgb"), clip := keras.Input((2, 2, 2, 1), name="depth")], clip)
    with pytest.raises(UserError, match="rgb, depth"):
        explain(two, np.zeros((2, 2, 2, 3)), "grad_cam")


def test_without_a_class_the_predicted_one_is_explained() -> None:
    model = clip_network()
    clip = noise(model)
    logits = open_subject(model, clip).logits
    found = explain(model, clip, "grad_cam")
    assert isinstance(found, Explanation)
    assert found.target == logits.argmax()
