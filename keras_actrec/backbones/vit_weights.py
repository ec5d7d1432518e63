"""Give a video Transformer the weights of an image Transformer, a ViT: what sees one frame is what saw an image.

- Patches. A kernel over several frames is inflated (`backbones.inflate`): "centre" puts the image's kernel into the
  middle frame and zeros elsewhere (central frame initialisation: Arnab et al. 2021, ViViT, Eq. 9), "mean" into all of
  them, divided by their number (Eq. 8). Depth takes the mean of the kernels of the three colours; then all kernels are
  multiplied by 3 / C, so that C equal channels give the tokens that a grey image gave. Patches of a feature map, as
  those of CTN, keep their initial weights.
- Class token, encoder layers (the first ones, where the file has more) and the last norm are copied, into the encoder
  over space where there are two. Keys without a bias, as VideoMAE's, lose the file's, which changes no attention: it
  adds the same to all scores of a query. Where queries, keys and values are separable convolutions, as CTN's, the
  file's linear maps become the point-wise ones.
- Positions are resampled bilinearly where the grid of patches is another one, and repeated for each step of time where
  one table holds all of a clip (ViViT, Sec. 3.4). A table without class token leaves its row out.
- Attention over time within the same layer, as TimeSformer's, starts from that over space, and the dense layer behind
  it from zero, as in the authors' code.

All else (temporal encoders, relative positions, classifiers) keeps its initial weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_actrec.backbones import clip_weights, position_tables, vit_files
from keras_actrec.backbones.inflate import Inflation, inflate_kernel
from keras_actrec.backbones.vit_files import ImageTensor
from keras_actrec.errors import UserError

SUFFIX = ".safetensors"
COLOURS = 3
PATCHES = "patches"
FIRST_BLOCKS = ("block1", "space_block1")
# Paths of weights here, and in them the place in an image Transformer; `time_` within a block is TimeSformer's.
SHARED = re.compile(r"(?:space_)?(?P<place>(?:patches|class_token|position|norm)/\w+)")
IN_BLOCK = re.compile(
    r"(?:space_)?(?P<block>block\d+/)(?:time_(?=norm|attention))?"
    r"(?P<place>norm/\w+|(?:attention_norm|dense_norm|expand|project)/\w+|attention/(?:query|key|value|output)/\w+)"
)
ZERO = "zero"
WITHOUT_TIME = re.compile(r"block\d+/time_dense/\w+")

Image = dict[str, ImageTensor]


def load(
    network: keras.Model, weights: str, modalities: Sequence[str] = ("rgb",), how: Inflation = "centre"
) -> tuple[str, ...]:
    """Load weights into a video Transformer, in place.

    Args:
        network: its layers are named as those of `models.vivit`, `timesformer`, `videomae`, `rpe_stdt` or `ctn`.
        weights: "none"; the path of a ViT's image weights (.safetensors, or the folder of one); or of a `.keras` file
            of a network like this one, which is copied by layer name.
        modalities: what the channels of its input are, in order: "rgb" (three of them) and "depth" (one).
        how: kernels over several frames are inflated.

    Returns:
        The paths of the weights that the file had nothing for, and that keep their initial values.

    Raises:
        UserError: naming the first tensor that is missing, unknown or does not fit. The network is then as it was.
    """
    if weights == "none":
        return ()
    if not weights.endswith(SUFFIX) and not Path(weights).is_dir():
        return clip_weights.load(network, weights)
    image = vit_files.read(Path(weights))
    _check_heads(network, vit_files.heads(Path(weights)))
    values = {
        variable.path: _value(network, variable, place, image, modalities, how)
        for variable in network.weights
        if (place := _place(network, variable, modalities))
    }
    for variable in network.weights:
        if variable.path in values:
            variable.assign(values[variable.path])
    return tuple(variable.path for variable in network.weights if variable.path not in values)


def _place(network: keras.Model, variable: keras.Variable, modalities: Sequence[str]) -> str | None:
    """Return where an image Transformer has a weight, ZERO for one that becomes zero, None for one that it lacks."""
    if WITHOUT_TIME.fullmatch(variable.path):
        return ZERO
    if found := SHARED.fullmatch(variable.path):
        of_features = variable.path.startswith(PATCHES) and not _sees_pixels(network, modalities)
        return None if of_features else found["place"]
    if found := IN_BLOCK.fullmatch(variable.path):
        place = found["place"]
        return found["block"] + (f"attention_{place}" if place.startswith("norm/") else place)
    return None


def _check_heads(network: keras.Model, theirs: int | None) -> None:
    """Refuse another number of heads, which no shape would show."""
    ours = next(layer.attention.num_heads for layer in network.layers if layer.name in FIRST_BLOCKS)
    if theirs not in (None, ours):
        raise UserError(f"the image weights are of {theirs} heads, the network has {ours}; set heads: {theirs}.")


def _sees_pixels(network: keras.Model, modalities: Sequence[str]) -> bool:
    """Whether patches are cut from the clip, rather than from a feature map."""
    kernel = network.get_layer(PATCHES).kernel
    return kernel.shape[-2] == sum(COLOURS if name == "rgb" else 1 for name in modalities)


def _value(
    network: keras.Model,
    variable: keras.Variable,
    place: str,
    image: Image,
    modalities: Sequence[str],
    how: Inflation,
) -> np.ndarray:
    """Return what a weight becomes."""
    if place == ZERO:
        return np.zeros(variable.shape, np.float32)
    if place not in image:
        layers = len({key.partition("/")[0] for key in image if key.startswith("block")})
        raise UserError(f"the image weights, of {layers} layers, have no {place}, which '{variable.path}' starts from.")
    found = image[place]
    if place == f"{PATCHES}/kernel":
        value = _patch_kernel(found, modalities, variable.shape, how)
    elif place == "position/table":
        value = _positions(network, found, variable)
    else:
        value = found.value
    if value.shape != tuple(variable.shape):
        raise UserError(
            f"the tensor '{found.name}' gives {value.shape}, but '{variable.path}' is {tuple(variable.shape)}; set the "
            "options of the network (patch, width, dense_dim) as they were for the image weights."
        )
    if not np.isfinite(value).all():
        raise UserError(f"the tensor '{found.name}' holds numbers that are not finite; fetch the file again.")
    return value


def _patch_kernel(found: ImageTensor, modalities: Sequence[str], shape: tuple[int, ...], how: Inflation) -> np.ndarray:
    """Return (t, p, p, C, D) of an image's kernel (p, p, 3, D)."""
    if found.value.ndim != 4 or found.value.shape[2] != COLOURS:
        raise UserError(f"the tensor '{found.name}' is no kernel over the {COLOURS} colours of an image.")
    of_each = {"rgb": found.value, "depth": found.value.mean(axis=2, keepdims=True)}
    kernel = np.concatenate([of_each[name] for name in modalities], axis=2)
    return inflate_kernel(kernel * (COLOURS / kernel.shape[2]), shape[0], how)


def _positions(network: keras.Model, found: ImageTensor, variable: keras.Variable) -> np.ndarray:
    """Return the table of a network, for one step of time or all of them, of an image's (1 + N, D)."""
    token, places = found.value[:1], found.value[1:]
    side = math.isqrt(len(places))
    if side * side != len(places):
        raise UserError(f"the tensor '{found.name}' holds positions of {len(places)} patches, which make no square.")
    steps, *extent = network.get_layer(PATCHES).output.shape[1:4]
    grid = position_tables.resample(places.reshape(side, side, -1), extent).reshape(math.prod(extent), -1)
    prefix = variable.path.removesuffix("position/table")
    has_token = any(layer.name == f"{prefix}class_token" for layer in network.layers)
    repeated = 1 if variable.shape[0] == has_token + len(grid) else steps
    return np.concatenate([token, *[grid] * repeated] if has_token else [grid] * repeated)
