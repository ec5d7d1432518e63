"""Hugging Face's VideoMAE: networks of Tong et al. 2022, as converted from MCG-NJU/VideoMAE, fine-tuned
(`VideoMAEForVideoClassification`) or from pretraining alone (`VideoMAEForPreTraining`), whose decoder is left out.

Positions are computed, so nothing is resampled: another number of frames is free, another size would give each patch
the position of another one and is refused. Keys have no bias; those of queries and values are tensors of their own in
most files.
"""

from __future__ import annotations

from typing import Any

from keras_actrec.porting import layouts
from keras_actrec.porting.families import huggingface
from keras_actrec.porting.families.huggingface import BLOCK, IGNORED, LAYER
from keras_actrec.porting.family import Family, known
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule, dense

START = huggingface.prefix("videomae")
IN_LAYER = rf"{START}{LAYER}"
MEAN_EPSILON = 1e-5
# Serves the reconstruction of masked patches.
DECODER = r"decoder\..+|encoder_to_decoder\.weight|mask_token"


def _rules() -> tuple[Rule, ...]:
    patches = rf"{START}embeddings\.patch_embeddings\.projection"
    return (
        Rule(rf"{patches}\.weight", "patches/kernel", layouts.convolution),
        Rule(rf"{patches}\.bias", "patches/bias", layouts.unchanged),
        *huggingface.separate_attention(IN_LAYER),
        Rule(rf"{IN_LAYER}\.attention\.attention\.q_bias", f"{BLOCK}/attention/query/bias", layouts.unchanged),
        Rule(rf"{IN_LAYER}\.attention\.attention\.v_bias", f"{BLOCK}/attention/value/bias", layouts.unchanged),
        *huggingface.feed_forward(IN_LAYER),
        # The first with the mean over the tokens, the second without.
        *huggingface.layer_norm("fc_norm", "norm"),
        *huggingface.layer_norm(rf"{START}layernorm", "norm"),
        *dense("classifier", "logits"),
    )


def _demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    pool = _pool(tensors, settings)
    sizes = huggingface.encoder_sizes(tensors, settings, START)
    kernel = huggingface.tensor(tensors, rf"{START}embeddings\.patch_embeddings\.projection\.weight")
    return known(
        **sizes,
        # Of the norm behind the mean, which the settings do not name.
        head_epsilon=MEAN_EPSILON if pool == "mean" else sizes["epsilon"],
        tubelet_frames=None if kernel is None or kernel.ndim != 5 else kernel.shape[2],
        size=huggingface.frames_and_size(settings)["size"],
        pool=pool,
        position="sinusoidal",
    )


def _pool(tensors: Tensors, settings: Settings) -> str:
    """Return what is classified: the mean over the tokens, or the first one."""
    if "fc_norm.weight" in tensors:
        return "mean"
    normalised = huggingface.tensor(tensors, rf"{START}layernorm\.weight") is not None
    return "token" if normalised or settings.get("use_mean_pooling") is False else "mean"


def _suggests(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    return known(frames=settings.get("num_frames"), **huggingface.normalization(settings))


HUGGINGFACE_VIDEOMAE = Family(
    name="huggingface_videomae",
    publisher="Hugging Face's VideoMAE",
    models=("videomae",),
    rules=_rules(),
    normalization="imagenet",
    demands=_demands,
    suggests=_suggests,
    told=("heads",),
    published={"frames": 16, "size": 224, "epsilon": 1e-12},
    optional=("logits", "norm"),
    ignored=rf"{IGNORED}|{DECODER}",
)
