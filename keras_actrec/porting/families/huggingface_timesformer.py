"""Hugging Face's TimeSformer (`TimesformerForVideoClassification`): networks of Bertasius et al. 2021, converted from
facebookresearch/TimeSformer, trained on Kinetics-400, Kinetics-600 or Something-Something v2.

The positions in space and those in time are two tables. For clips of another size or length each is resampled to the
nearest place, as the original does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_actrec.backbones import position_tables
from keras_actrec.porting import layouts
from keras_actrec.porting.families import huggingface
from keras_actrec.porting.families.huggingface import BLOCK, LAYER
from keras_actrec.porting.family import Family, known
from keras_actrec.porting.layouts import Place
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule, dense

START = huggingface.prefix("timesformer")
# `layers` is how the newer modules of other families are called; this family has but one name.
IN_LAYER = rf"{START}{LAYER}"


def _space_positions(array: np.ndarray, place: Place) -> np.ndarray:
    """Resample (1, 1 + N, D): the class token's position stays, the others are a square grid."""
    table = layouts.rows(array, place)
    if table.shape == place.shape or table.ndim != 2 or table.shape[1:] != place.shape[1:]:
        return table
    old, new = huggingface.square_side(len(table) - 1), huggingface.square_side(place.shape[0] - 1)
    if old is None or new is None:
        return table
    grid = position_tables.resample(table[1:].reshape(old, old, -1), (new, new), "nearest")
    return np.concatenate([table[:1], grid.reshape(new * new, -1)])


def _time_positions(array: np.ndarray, place: Place) -> np.ndarray:
    """Resample (1, T, D)."""
    table = layouts.rows(array, place)
    return position_tables.resample(table, place.shape[:1], "nearest") if table.ndim == 2 else table


def _rules() -> tuple[Rule, ...]:
    embeddings = rf"{START}embeddings"
    patches = rf"{embeddings}\.patch_embeddings\.projection"
    time_attention = rf"{IN_LAYER}\.temporal_attention"
    return (
        Rule(rf"{patches}\.weight", "patches/kernel", layouts.frame_convolution),
        Rule(rf"{patches}\.bias", "patches/bias", layouts.unchanged),
        Rule(rf"{embeddings}\.cls_token", "class_token/token", layouts.flat),
        Rule(rf"{embeddings}\.position_embeddings", "position/table", _space_positions),
        Rule(rf"{embeddings}\.time_embeddings", "time_position/table", _time_positions),
        *huggingface.fused_attention(rf"{IN_LAYER}\.attention\.attention", f"{BLOCK}/attention"),
        *huggingface.feed_forward(IN_LAYER),
        *huggingface.layer_norm(rf"{IN_LAYER}\.temporal_layernorm", f"{BLOCK}/time_norm"),
        *huggingface.fused_attention(rf"{time_attention}\.attention", f"{BLOCK}/time_attention"),
        *dense(rf"{time_attention}\.output\.dense", f"{BLOCK}/time_attention/output"),
        *dense(rf"{IN_LAYER}\.temporal_dense", f"{BLOCK}/time_dense"),
        *huggingface.layer_norm(rf"{START}layernorm", "norm"),
        *dense("classifier", "logits"),
    )


def _demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    sizes = huggingface.encoder_sizes(tensors, settings, START)
    return known(**sizes, attention=_attention(tensors))


def _attention(tensors: Tensors) -> str:
    if huggingface.tensor(tensors, rf"{IN_LAYER}\.temporal_dense\.weight") is not None:
        return "divided"
    timed = huggingface.tensor(tensors, rf"{START}embeddings\.time_embeddings") is not None
    return "joint" if timed else "space"


def _suggests(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    """Return frames and size, which the tables show, and the normalisation of this checkpoint."""
    settings_say = known(**huggingface.frames_and_size(settings))
    kernel = huggingface.tensor(tensors, rf"{START}embeddings\.patch_embeddings\.projection\.weight")
    space = huggingface.tensor(tensors, rf"{START}embeddings\.position_embeddings")
    time = huggingface.tensor(tensors, rf"{START}embeddings\.time_embeddings")
    side = None if space is None or space.ndim != 3 else huggingface.square_side(space.shape[1] - 1)
    shown = known(
        frames=None if time is None or time.ndim != 3 else time.shape[1],
        size=None if side is None or kernel is None else side * kernel.shape[-1],
    )
    return {**settings_say, **shown, **huggingface.normalization(settings)}


HUGGINGFACE_TIMESFORMER = Family(
    name="huggingface_timesformer",
    publisher="Hugging Face's TimeSformer",
    models=("timesformer",),
    rules=_rules(),
    normalization="slowfast",
    demands=_demands,
    suggests=_suggests,
    told=("heads",),
    published={"frames": 8, "size": 224},
    optional=("logits",),
    ignored=huggingface.IGNORED,
)
