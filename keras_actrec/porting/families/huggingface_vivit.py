"""Hugging Face's ViViT (`VivitForVideoClassification`): the joint space-time network of Arnab et al. 2021 ("model 1"),
as converted from google-research/scenic, trained on Kinetics-400.

One table holds the positions of all tubelets. For clips of another size or length, where the folder's config.json tells
the grid that the table was trained on, it is resampled linearly along time, height and width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_actrec.backbones import position_tables
from keras_actrec.errors import UserError
from keras_actrec.porting import layouts
from keras_actrec.porting.families import huggingface
from keras_actrec.porting.families.huggingface import LAYER
from keras_actrec.porting.family import Family, known
from keras_actrec.porting.layouts import Place
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule, dense

START = huggingface.prefix("vivit")
IN_LAYER = rf"{START}{LAYER}"
PATCHES = "patches"


def _positions(array: np.ndarray, place: Place) -> np.ndarray:
    """Resample (1, 1 + T'N, D) from the grid of the settings to that of the network."""
    table, grid = layouts.rows(array, place), _grid(place.settings)
    if table.shape == place.shape or table.ndim != 2 or grid is None or len(table) != 1 + np.prod(grid):
        return table
    extent = place.network.get_layer(PATCHES).output.shape[1:4]
    boxes = position_tables.resample(table[1:].reshape(*grid, -1), extent)
    return np.concatenate([table[:1], boxes.reshape(-1, table.shape[-1])])


def _grid(settings: Settings) -> tuple[int, int, int] | None:
    """Return the tubelets along time, height and width that the network was trained on, None if nothing tells."""
    clip, tubelet = huggingface.frames_and_size(settings), settings.get("tubelet_size")
    if not tubelet or None in clip.values():
        return None
    return tuple(length // part for length, part in zip((clip["frames"], *[clip["size"]] * 2), tubelet, strict=True))


def _rules() -> tuple[Rule, ...]:
    embeddings = rf"{START}embeddings"
    patches = rf"{embeddings}\.patch_embeddings\.projection"
    return (
        Rule(rf"{patches}\.weight", f"{PATCHES}/kernel", layouts.convolution),
        Rule(rf"{patches}\.bias", f"{PATCHES}/bias", layouts.unchanged),
        Rule(rf"{embeddings}\.cls_token", "class_token/token", layouts.flat),
        Rule(rf"{embeddings}\.position_embeddings", "position/table", _positions),
        *huggingface.separate_attention(IN_LAYER),
        *huggingface.feed_forward(IN_LAYER),
        *huggingface.layer_norm(rf"{START}layernorm", "norm"),
        *dense("classifier", "logits"),
    )


def _demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    sizes = huggingface.encoder_sizes(tensors, settings, START)
    kernel = huggingface.tensor(tensors, rf"{START}embeddings\.patch_embeddings\.projection\.weight")
    if kernel is not None and kernel.ndim != 5:
        raise UserError(
            f"the patch kernel in the file has {kernel.ndim} axes: these are the weights of an image Transformer; "
            "start from them by the model's option weights."
        )
    tubelet = None if kernel is None else kernel.shape[2]
    return known(**sizes, tubelet_frames=tubelet, encoder="joint", position="learned", pool="token")


def _suggests(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    return known(**huggingface.frames_and_size(settings))


HUGGINGFACE_VIVIT = Family(
    name="huggingface_vivit",
    publisher="Hugging Face's ViViT",
    models=("vivit",),
    rules=_rules(),
    # Their image processor also subtracts 0.5 unless told otherwise; the network was trained on x / 127.5 - 1.
    normalization="minus_one_one",
    demands=_demands,
    suggests=_suggests,
    told=("heads",),
    published={"frames": 32, "size": 224, "activation": "gelu_tanh"},
    optional=("logits",),
    ignored=huggingface.IGNORED,
)
