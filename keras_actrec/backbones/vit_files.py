"""Read the weights of an image Transformer (ViT, Dosovitskiy et al. 2021), as two projects name its tensors.

Hugging Face's `ViTModel` and `ViTForImageClassification` (`vit.encoder.layer.0.attention.attention.query.weight`, or as
the newer modules have it, `vit.layers.0.attention.q_proj.weight`), and timm's `VisionTransformer`
(`blocks.0.attn.qkv.weight`). Classifiers and what serves pretraining are left out; any other tensor is refused, because
a network that has it computes something else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_actrec import files
from keras_actrec.backbones import safetensors_reader
from keras_actrec.errors import UserError

IN_FOLDER, SETTINGS = "model.safetensors", "config.json"
IGNORED = re.compile(r"(?:classifier|(?:\w+\.)?pooler\.dense|head|pre_logits\.fc|cls_classifier)\.(?:weight|bias)")
PREFIX = r"(?:vit\.|deit\.)?"
LAYER = rf"{PREFIX}(?:encoder\.layer|layers)\.(?P<block>\d+)\."
BLOCK = r"blocks\.(?P<block>\d+)\."

Change = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ImageTensor:
    """A tensor on its way: its name in the file, and its value with Keras' axes."""

    name: str
    value: np.ndarray


def read(path: Path) -> dict[str, ImageTensor]:
    """Read a file, or the one in a folder as Hugging Face writes it.

    Returns:
        Place -> tensor, float32. Places are named as in our networks: `patches/kernel` (p, p, C, D) and `patches/bias`,
        `class_token/token` (D,), `position/table` (1 + N, D), `block1/attention/query/kernel` (D, D) and so on,
        `norm/gamma` and `norm/beta`.

    Raises:
        UserError: there is no such file, it is damaged, or it holds something else than an image Transformer.
    """
    path = path / IN_FOLDER if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"there is no {path}; expected image weights of a ViT, a .safetensors file.")
    found: dict[str, ImageTensor] = {}
    for name, array in safetensors_reader.read(path).items():
        if not IGNORED.fullmatch(name):
            found.update(_places(path, name, np.asarray(array, np.float32)))
    if not any(place.startswith("block") for place in found):
        raise UserError(f"{path} holds no layers of a ViT; expected names as those of Hugging Face or timm.")
    return found


def heads(path: Path) -> int | None:
    """Return the number of heads that the config.json of a folder names; None for a lone file, which does not tell.

    Raises:
        UserError: that file is damaged.
    """
    settings = path / SETTINGS
    if not settings.is_file():
        return None
    try:
        content = files.read_json(settings)
    except ValueError:
        raise UserError(f"{settings} is no JSON; fetch the folder again, or name the file of weights itself.") from None
    return content.get("num_attention_heads") if isinstance(content, dict) else None


def _places(path: Path, name: str, array: np.ndarray) -> dict[str, ImageTensor]:
    """Return the place, or the three places, of a tensor."""
    for pattern, places in RULES:
        if match := re.fullmatch(pattern, name):
            number = int(match.groupdict().get("block") or 0) + 1
            return _changed(path, name, array, {place.format(number): change for place, change in places.items()})
    raise UserError(
        f"{path}: nothing is known of the tensor '{name}' {array.shape}; expected a plain ViT, as Hugging Face or timm "
        "have it, without a second token, scales of layers, or windows."
    )


def _changed(path: Path, name: str, array: np.ndarray, places: dict[str, Change]) -> dict[str, ImageTensor]:
    try:
        return {place: ImageTensor(name, np.ascontiguousarray(change(array))) for place, change in places.items()}
    except (ValueError, IndexError):
        raise UserError(f"{path}: the tensor '{name}' has the shape {array.shape}, which no ViT has there.") from None


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _convolution(array: np.ndarray) -> np.ndarray:
    return array.transpose(2, 3, 1, 0)


def _dense(array: np.ndarray) -> np.ndarray:
    return array.T


def _token(array: np.ndarray) -> np.ndarray:
    return array.reshape(array.shape[-1])


def _table(array: np.ndarray) -> np.ndarray:
    batch, places, width = array.shape
    return array.reshape(batch * places, width)


def _third(number: int, change: Change) -> Change:
    """Return one part of three: queries, keys, values."""
    return lambda array: change(np.split(array, 3)[number])


def _linear(pattern: str, layer: str) -> tuple[tuple[str, dict[str, Change]], ...]:
    return ((rf"{pattern}\.weight", {f"{layer}/kernel": _dense}), (rf"{pattern}\.bias", {f"{layer}/bias": _same}))


def _norm(pattern: str, layer: str) -> tuple[tuple[str, dict[str, Change]], ...]:
    return ((rf"{pattern}\.weight", {f"{layer}/gamma": _same}), (rf"{pattern}\.bias", {f"{layer}/beta": _same}))


def _fused(pattern: str, layer: str) -> tuple[tuple[str, dict[str, Change]], ...]:
    parts = tuple(enumerate(("query", "key", "value")))
    return (
        (rf"{pattern}\.weight", {f"{layer}/{part}/kernel": _third(number, _dense) for number, part in parts}),
        (rf"{pattern}\.bias", {f"{layer}/{part}/bias": _third(number, _same) for number, part in parts}),
    )


def _patches(pattern: str) -> tuple[tuple[str, dict[str, Change]], ...]:
    return ((rf"{pattern}\.weight", {"patches/kernel": _convolution}), (rf"{pattern}\.bias", {"patches/bias": _same}))


HUGGING_FACE = (
    *_patches(rf"{PREFIX}embeddings\.patch_embeddings\.projection"),
    (rf"{PREFIX}embeddings\.cls_token", {"class_token/token": _token}),
    (rf"{PREFIX}embeddings\.position_embeddings", {"position/table": _table}),
    (rf"{PREFIX}embeddings\.mask_token", {}),
    *_norm(rf"{LAYER}layernorm_before", "block{}/attention_norm"),
    *_linear(rf"{LAYER}attention\.(?:attention\.query|q_proj)", "block{}/attention/query"),
    *_linear(rf"{LAYER}attention\.(?:attention\.key|k_proj)", "block{}/attention/key"),
    *_linear(rf"{LAYER}attention\.(?:attention\.value|v_proj)", "block{}/attention/value"),
    *_linear(rf"{LAYER}attention\.(?:output\.dense|o_proj)", "block{}/attention/output"),
    *_norm(rf"{LAYER}layernorm_after", "block{}/dense_norm"),
    *_linear(rf"{LAYER}(?:intermediate\.dense|mlp\.fc1)", "block{}/expand"),
    *_linear(rf"{LAYER}(?:output\.dense|mlp\.fc2)", "block{}/project"),
    *_norm(rf"{PREFIX}layernorm", "norm"),
)
TIMM = (
    *_patches(r"patch_embed\.proj"),
    ("cls_token", {"class_token/token": _token}),
    ("pos_embed", {"position/table": _table}),
    *_norm(rf"{BLOCK}norm1", "block{}/attention_norm"),
    *_fused(rf"{BLOCK}attn\.qkv", "block{}/attention"),
    *_linear(rf"{BLOCK}attn\.proj", "block{}/attention/output"),
    *_norm(rf"{BLOCK}norm2", "block{}/dense_norm"),
    *_linear(rf"{BLOCK}mlp\.fc1", "block{}/expand"),
    *_linear(rf"{BLOCK}mlp\.fc2", "block{}/project"),
    *_norm("norm", "norm"),
)
# Pattern of a name -> the places of its tensor, and how its axes change on the way.
RULES = (*HUGGING_FACE, *TIMM)
