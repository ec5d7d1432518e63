"""Frame backbones by name: (B, H, W, 3) -> (B, D), with the weights and the normalisation that belong to each.

The eight ConvNets of the PSO-ConvNet Transformer (Sec. 3.4 and Fig. 5), two MobileNets and a tiny network of our own.
A network's graph never depends on where its weights come from, so that a checkpoint fits however a model was built.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, get_args

import keras

from keras_actrec.backbones import efficientnet, pretrained
from keras_actrec.backbones.tiny import DEFAULT_WIDTHS, build_tiny, check_tiny
from keras_actrec.errors import UserError, did_you_mean

FrameBackboneName = Literal[
    "inception_v3",
    "resnet101",
    "resnet152",
    "densenet121",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b4",
    "efficientnet_b7",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "tiny",
]
NAMES: tuple[str, ...] = get_args(FrameBackboneName)


@dataclasses.dataclass(frozen=True)
class Application:
    """A network of keras.applications.

    Attributes:
        constructor: its name there.
        normalization: what its ImageNet weights expect: "minus_one_one" (keras' mode "tf"), "imagenet" (mode "torch"),
            "caffe", or "none" where the network itself takes values from 0 to 255.
        min_size: smallest height and width, in pixels.
    """

    constructor: str
    normalization: str
    min_size: int = 32


APPLICATIONS = {
    "inception_v3": Application("InceptionV3", "minus_one_one", min_size=75),
    "resnet101": Application("ResNet101", "caffe"),
    "resnet152": Application("ResNet152", "caffe"),
    "densenet121": Application("DenseNet121", "imagenet"),
    "densenet201": Application("DenseNet201", "imagenet"),
    "efficientnet_b0": Application("EfficientNetB0", "none"),
    "efficientnet_b4": Application("EfficientNetB4", "none"),
    "efficientnet_b7": Application("EfficientNetB7", "none"),
    "mobilenet_v2": Application("MobileNetV2", "minus_one_one"),
    "mobilenet_v3_small": Application("MobileNetV3Small", "none"),
}


def normalization(name: str) -> str:
    """Return the named normalisation (`keras_actrec.data.views.Normalization`) that a backbone expects."""
    _check_name(name)
    return APPLICATIONS[name].normalization if name in APPLICATIONS else "minus_one_one"


def build_frame_backbone(
    name: str, size: int, *, weights: str = "none", widths: Sequence[int] | None = None
) -> keras.Model:
    """Build a network that turns frames into globally averaged features.

    Args:
        name: one of `NAMES`.
        size: height and width of the frames, in pixels.
        weights: "imagenet" (downloaded by keras.applications once), "none" (random), or the path of a `.weights.h5`,
            `.h5` or `.keras` file of the same network without its top.
        widths: channels of the blocks, for `tiny` only.

    Returns:
        A functional model (B, size, size, 3) -> (B, D), named like the backbone.

    Raises:
        UserError: unknown name, size too small, weights that cannot be had or do not fit.
    """
    check(name, size, widths)
    if name == "tiny":
        network = build_tiny(size, DEFAULT_WIDTHS if widths is None else widths)
        pretrained.load(network, weights)
        return network
    original = functools.partial(_original, APPLICATIONS[name], name, size)
    if name.startswith("efficientnet"):
        network = efficientnet.with_constant_input(original())
        pretrained.load(network, weights, original, efficientnet.copy_weights)
    else:
        network = original()
        pretrained.load(network, weights, original)
    return network


def check(name: str, size: int, widths: Sequence[int] | None = None) -> None:
    """Refuse a backbone that cannot be built: unknown name, size too small, or widths that are not for it."""
    _check_name(name)
    if name == "tiny":
        check_tiny(size, DEFAULT_WIDTHS if widths is None else widths)
    elif widths is not None:
        raise UserError(f"only the backbone 'tiny' takes widths; remove them or choose it in place of '{name}'.")
    elif size < APPLICATIONS[name].min_size:
        raise UserError(f"'{name}' takes frames of at least {APPLICATIONS[name].min_size} pixels, got size {size}.")


def _original(application: Application, name: str, size: int, weights: str | None = None) -> keras.Model:
    """Build the network as keras.applications has it."""
    constructor = getattr(keras.applications, application.constructor)
    shape = (size, size, 3)
    return constructor(include_top=False, weights=weights, input_shape=shape, pooling="avg", name=name)


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise UserError(f"there is no backbone '{name}'.{did_you_mean(name, NAMES)}")
