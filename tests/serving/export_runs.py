"""Run directories as training leaves them, of small networks that have not learnt anything but are sure of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_actrec import config as configuration
from keras_actrec import files, models
from keras_actrec.data.manifest import Manifest
from keras_actrec.models.joint import with_heads
from keras_actrec.training import datasets, fold
from keras_actrec.training.run_directory import RunDirectory

FRAMES = {"backbone": "tiny", "weights": "none", "widths": [6, 8]}
SPREAD = 3.0
"""Standard deviation of the logits over clips and classes: probabilities from near 0 to near 1."""

FAMILIES: dict[str, dict[str, Any]] = {
    "convnet_transformer": {"model": {"name": "convnet_transformer", **FRAMES}},
    "convnet_rnn": {"model": {"name": "convnet_rnn", "units": 8, **FRAMES}},
    "r3d_18": {"model": {"name": "r3d_18", "base_width": 4, "depths": [1, 1, 1, 1]}},
    "timesformer": {"model": {"name": "timesformer", "patch": 8, "width": 16, "depth": 2, "heads": 2}},
    "depth": {
        "model": {"name": "r3d_18", "base_width": 4, "depths": [1, 1, 1, 1]},
        "data": {"modalities": ["rgb", "depth"]},
    },
    "tempos": {
        "model": {
            "name": "ms3d",
            **{"shared_filters": 8, "pathway_filters": [4, 4, 4], "blocks": [1, 2], "growth": 4, "code_size": 16},
        },
        "data": {"tempos": [3, 5, 7], "selection": "variance_rate"},
    },
    "heads": {"model": {"name": "convnet_transformer", **FRAMES}, "data": {"targets": "verb_noun"}},
}


def make(output: Path, root: Path, family: str, precision: str = "float32") -> Path:
    """Write a run directory and return it.

    Args:
        output: folder of the run directory.
        root: of a rendered stick-actions.
        family: of `FAMILIES`.
        precision: dtype policy of the network.
    """
    kind = FAMILIES[family]
    data = {"root": str(root), "stick_actions": {"clips_per_class": 12, "difficulty": "easy", "seed": 1}}
    document = {
        "name": family,
        "output": str(output),
        "data": {**data, "frames": 4, "size": 32, **kind.get("data", {})},
        "model": kind["model"],
    }
    config = configuration.parse_config(document)
    manifest = datasets.load(config)
    with RunDirectory.create(config, manifest) as run:
        network(config, manifest, precision).save(run.path / "model.keras")
        files.write_json(run.metrics, {"test": {"top1": 0.5, "coverage": 1.0, "clips": 1, "crops": 1}})
    return run.path


def network(config: configuration.RunConfig, manifest: Manifest, precision: str) -> keras.Model:
    """Build the network of a configuration, and spread its logits."""
    keras.utils.set_random_seed(1)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = models.build_from_config(config.model.name, fold.model_config_for(config, manifest))
        heads = fold.heads_of(config, manifest)
        model = with_heads(model, heads) if heads else model
    finally:
        keras.config.set_dtype_policy(before)
    for layer in [layer for layer in model.layers if layer.name.startswith("logits")]:
        _spread(model, layer)
    return model


def _spread(model: keras.Model, layer: keras.Layer) -> None:
    """Scale a classifier so that its logits differ by clip; clips are random noise, normalised as floats may be."""
    rng = np.random.default_rng(0)
    clips = {
        tensor.name: rng.normal(scale=rng.uniform(0.2, 2, (6, 1, 1, 1, 1)), size=(6, *tensor.shape[1:])).astype("f4")
        for tensor in model.inputs
    }
    seen = keras.Model(model.inputs, layer.input)
    features = np.asarray(seen.predict_on_batch(clips if len(clips) > 1 else next(iter(clips.values()))), np.float32)
    kernel, bias = layer.get_weights()[0], np.zeros(layer.units, np.float32)
    logits = features @ kernel
    kernel = kernel * SPREAD / logits.std(axis=0)
    layer.set_weights([kernel, bias - (features @ kernel).mean(axis=0)])
