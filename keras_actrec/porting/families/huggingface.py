"""What the video Transformers of Hugging Face's `transformers` share: rules of an encoder layer, and the sizes.

Names may come as the files have them (`vivit.encoder.layer.0.attention.attention.query.weight`) or as the newer modules
(`vivit.layers.0.attention.q_proj.weight`), and without the prefix where a network was saved without its head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.porting import layouts
from keras_actrec.porting.family import COUNTERS
from keras_actrec.porting.reading import PREPROCESSOR, Settings, Tensors
from keras_actrec.porting.rules import Rule, dense

LAYER = r"(?:encoder\.layer|layers)\.(?P<block>\d+)"
BLOCK = "block{block:+1}"
ATTENTION = r"attention\.(?:attention\.{long}|{short}_proj)"
OUTPUT = r"attention\.(?:output\.dense|o_proj)"
EXPAND = r"(?:intermediate\.dense|mlp\.fc1)"
PROJECT = r"(?:output\.dense|mlp\.fc2)"
# The pooler stands behind a network without its head; nothing here uses it.
IGNORED = rf"{COUNTERS}|(?:\w+\.)?pooler\.dense\.(?:weight|bias)"

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
# Mean and standard deviation of pixels in [0, 1] -> how we call it.
NORMALIZATIONS = {
    ((0.45,) * 3, (0.225,) * 3): "slowfast",
    ((0.5,) * 3, (0.5,) * 3): "minus_one_one",
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)): "imagenet",
}


def prefix(model: str) -> str:
    """Return the regular expression of what stands before the names of a network that may have a head."""
    return rf"(?:{model}\.)?"


def layer_norm(module: str, layer: str) -> tuple[Rule, ...]:
    """Return the rules of a layer normalisation."""
    return (
        Rule(rf"{module}\.weight", f"{layer}/gamma", layouts.unchanged),
        Rule(rf"{module}\.bias", f"{layer}/beta", layouts.unchanged),
    )


def separate_attention(layer: str) -> tuple[Rule, ...]:
    """Return the rules of queries, keys and values that are three linear layers."""
    parts = (("query", "q"), ("key", "k"), ("value", "v"))
    return tuple(
        rule
        for long, short in parts
        for rule in dense(rf"{layer}\.{ATTENTION.format(long=long, short=short)}", f"{BLOCK}/attention/{long}")
    )


def fused_attention(module: str, ours: str) -> tuple[Rule, ...]:
    """Return the rules of a linear layer that gives queries, keys and values at once, one third of its rows each."""
    return tuple(
        rule
        for number, part in enumerate(("query", "key", "value"))
        for rule in _fused(rf"{module}\.qkv", f"{ours}/{part}", number)
    )


def feed_forward(layer: str) -> tuple[Rule, ...]:
    """Return the rules of a layer's normalisations, the attention's last map, and the feed-forward network."""
    return (
        *layer_norm(rf"{layer}\.layernorm_before", f"{BLOCK}/attention_norm"),
        *dense(rf"{layer}\.{OUTPUT}", f"{BLOCK}/attention/output"),
        *layer_norm(rf"{layer}\.layernorm_after", f"{BLOCK}/dense_norm"),
        *dense(rf"{layer}\.{EXPAND}", f"{BLOCK}/expand"),
        *dense(rf"{layer}\.{PROJECT}", f"{BLOCK}/project"),
    )


def encoder_sizes(tensors: Tensors, settings: Settings, start: str) -> dict[str, Any]:
    """Return the options that an encoder's tensors and settings demand, None for those that neither tells.

    Args:
        tensors: by plain name.
        settings: of the folder.
        start: regular expression of what stands before the encoder's names.

    Raises:
        UserError: the tensors and the settings contradict each other, or the activation is unknown.
    """
    kernel = tensor(tensors, rf"{start}embeddings\.patch_embeddings\.projection\.weight")
    hidden = tensor(tensors, rf"{start}{LAYER}\.{EXPAND}\.weight")
    blocks = {found["block"] for name in tensors if (found := re.fullmatch(rf"{start}{LAYER}\..*", name))}
    sizes = {
        "width": None if kernel is None else kernel.shape[0],
        "patch": None if kernel is None else kernel.shape[-1],
        "depth": len(blocks) or None,
        "dense_dim": None if hidden is None else hidden.shape[0],
    }
    names = {"width": "hidden_size", "depth": "num_hidden_layers", "dense_dim": "intermediate_size"}
    for option, name in names.items():
        check_agreement(settings, name, sizes[option])
    return {**sizes, "heads": settings.get("num_attention_heads"), **_numerics(settings)}


def frames_and_size(settings: Settings) -> dict[str, Any]:
    """Return frames and size of the clips that the network was trained on, None where the settings have none.

    Raises:
        UserError: the frames are no squares.
    """
    size = settings.get("image_size")
    if isinstance(size, list | tuple):
        if len(set(size)) != 1:
            raise UserError(f"the config.json names frames of {list(size)} pixels; only square ones can be imported.")
        size = size[0]
    return {"frames": settings.get("num_frames"), "size": size}


def normalization(settings: Settings) -> dict[str, str]:
    """Return the option that the folder's preprocessor_config.json names; nothing without it, or if we have no name."""
    preprocessor: Mapping[str, Any] = settings.get(PREPROCESSOR, {})
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if not isinstance(mean, list) or not isinstance(std, list):
        return {}
    name = NORMALIZATIONS.get((tuple(mean), tuple(std)))
    return {"input_normalization": name} if name else {}


def tensor(tensors: Tensors, pattern: str) -> np.ndarray | None:
    """Return the first tensor of a pattern's names, None where there is none."""
    return next((array for name, array in tensors.items() if re.fullmatch(pattern, name)), None)


def check_agreement(settings: Settings, name: str, found: int | None) -> None:
    """Raise a `UserError` where the settings say something else than the tensors."""
    said = settings.get(name)
    if said is not None and found is not None and said != found:
        raise UserError(
            f"the config.json says {name}={said}, but the tensors beside it have {found}; they are of two networks. "
            "Fetch the folder again, or pass the file of weights itself."
        )


def square_side(places: int) -> int | None:
    """Return the side of a square grid of so many places, None where they make no square."""
    side = round(places**0.5)
    return side if side * side == places else None


def _numerics(settings: Settings) -> dict[str, Any]:
    """Return the options that no tensor shows: the activation, and what is added to variances."""
    activation = settings.get("hidden_act")
    if activation is not None and activation not in ACTIVATIONS:
        raise UserError(
            f"the config.json names the activation '{activation}'; expected one of {', '.join(ACTIVATIONS)}."
        )
    return {"activation": ACTIVATIONS.get(activation), "epsilon": settings.get("layer_norm_eps")}


def _fused(module: str, ours: str, number: int) -> tuple[Rule, ...]:
    return (
        Rule(rf"{module}\.weight", f"{ours}/kernel", layouts.third(number)),
        Rule(rf"{module}\.bias", f"{ours}/bias", layouts.third(number)),
    )
