"""Architectures: clips in, logits out. This is the one registry; a module is imported when its name is asked for.

An architecture is a frozen config, `FooConfig`, and a function, `build_foo(config) -> keras.Model`, in one file. To add
one: the file, a line in `REGISTRY`, a row in `tests/models/model_cases.py`, a config under `configs/`, a row in the
README's table.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.models import options as _options
from keras_actrec.models.options import Option

if TYPE_CHECKING:
    import keras

    from keras_actrec.config import DataConfig

__all__ = [
    "REGISTRY",
    "ModelConfig",
    "Option",
    "build_from_config",
    "build_model",
    "describe",
    "list_models",
    "load_model",
    "make_config",
    "make_config_for",
    "make_config_like",
    "split_at_features",
    "summary",
]

REGISTRY = {
    "c3d": "keras_actrec.models.c3d:C3DConfig",
    "convnet_rnn": "keras_actrec.models.convnet_rnn:ConvNetRNNConfig",
    "convnet_transformer": "keras_actrec.models.convnet_transformer:ConvNetTransformerConfig",
    "ctn": "keras_actrec.models.ctn:CTNConfig",
    "frame_average": "keras_actrec.models.frame_average:FrameAverageConfig",
    "i3d_inception": "keras_actrec.models.i3d_inception:I3DInceptionConfig",
    "i3d_resnet50": "keras_actrec.models.i3d_resnet50:I3DResNet50Config",
    "late_fusion": "keras_actrec.models.late_fusion:LateFusionConfig",
    "lrcn": "keras_actrec.models.lrcn:LRCNConfig",
    "mc3_18": "keras_actrec.models.r3d:MC318Config",
    "mfst": "keras_actrec.models.mfst:MFSTConfig",
    "ms3d": "keras_actrec.models.ms3d:MS3DConfig",
    "non_local": "keras_actrec.models.non_local:NonLocalConfig",
    "r2plus1d_18": "keras_actrec.models.r3d:R2Plus1D18Config",
    "r3d_18": "keras_actrec.models.r3d:R3D18Config",
    "r3d_50": "keras_actrec.models.slow:R3D50Config",
    "rpe_stdt": "keras_actrec.models.rpe_stdt:RPESTDTConfig",
    "single_frame": "keras_actrec.models.single_frame:SingleFrameConfig",
    "timesformer": "keras_actrec.models.timesformer:TimeSformerConfig",
    "videomae": "keras_actrec.models.videomae:VideoMAEConfig",
    "vivit": "keras_actrec.models.vivit:ViViTConfig",
}


class ModelConfig(Protocol):
    """What every architecture's config has, beside its own fields."""

    num_classes: int
    frames: int
    size: int

    @property
    def normalization(self) -> str:
        """How the input must be normalised (`keras_actrec.data.views.Normalization`)."""


def list_models() -> list[str]:
    """Return the names of all architectures, sorted. Imports none of them."""
    return sorted(REGISTRY)


def make_config(name: str, num_classes: int, **options: Any) -> ModelConfig:
    """Return the validated config of an architecture; options that are not given keep the paper's values.

    Lists stand for tuples, as in YAML; nothing else is converted.

    Raises:
        UserError: unknown name or option (names the nearest valid one), or a value that is not allowed (says what is).
    """
    return _options.validate(_config_type(name), f"model '{name}'", {"num_classes": num_classes, **options})


def make_config_for(
    name: str, num_classes: int, data: DataConfig, options: Mapping[str, Any] = MappingProxyType({})
) -> ModelConfig:
    """Return the config of an architecture with the frames, the size and the modalities that a data set is read with.

    Raises:
        UserError: as `make_config`, and when the architecture cannot see what is asked for.
    """
    seen: dict[str, Any] = {"frames": data.frames, "size": data.size}
    takes_tempos = "tempos" in [option.name for option in describe(name)]
    if takes_tempos != bool(data.tempos):
        what = "wants data.tempos, such as [7, 17, 25]" if takes_tempos else "has one input: remove data.tempos"
        raise UserError(f"'{name}' {what}.")
    if takes_tempos:
        seen["tempos"] = data.tempos
    if data.modalities != ("rgb",):
        if "modalities" not in [option.name for option in describe(name)]:
            asked = ", ".join(data.modalities)
            raise UserError(f"'{name}' looks at RGB frames alone, data.modalities is {asked}; choose another model.")
        seen["modalities"] = data.modalities
    return make_config(name, num_classes, **seen, **options)


def make_config_like(name: str, config: ModelConfig) -> ModelConfig:
    """Return the config of an architecture with every field that it shares with another's.

    A baseline is made this way: same frames, backbone, weights and head as the network it is compared with.
    """
    names = {option.name for option in describe(name)}
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.name in names}
    return make_config(name, **shared)


def build_model(name: str, num_classes: int, **options: Any) -> keras.Model:
    """Build an architecture: clips, float (B, T, H, W, 3), in; logits, float32 (B, num_classes), out.

    Raises:
        UserError: as `make_config`, and when weights that were asked for cannot be had.
    """
    return build_from_config(name, make_config(name, num_classes, **options))


def build_from_config(name: str, config: ModelConfig) -> keras.Model:
    """Build an architecture from a config that `make_config` gave."""
    return _builder(name)(config)


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Load a `.keras` file of any architecture of the package, ready for inference."""
    import keras

    for room in ("layers", "backbones"):  # registers what such a file may hold
        importlib.import_module(f"keras_actrec.{room}")
    return keras.saving.load_model(path, compile=False)


def describe(name: str) -> tuple[Option, ...]:
    """Return name, type, default and explanation of each field of an architecture's config."""
    return _options.describe(_config_type(name))


def summary(name: str) -> str:
    """Return the one line that says what an architecture is."""
    return (_config_type(name).__doc__ or "").strip().splitlines()[0]


def split_at_features(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a frame-wise model in two that share its layers: clip -> features (B, T, D), and features -> logits.

    Raises:
        UserError: if the model is not frame-wise, that is, has no layer named "frame_features".
    """
    from keras_actrec.models import features

    return features.split_at_features(model)


def _config_type(name: str) -> type[Any]:
    if name not in REGISTRY:
        raise UserError(f"there is no model '{name}'.{did_you_mean(name, REGISTRY)}")
    module, _, attribute = REGISTRY[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _builder(name: str) -> Callable[[ModelConfig], keras.Model]:
    module = importlib.import_module(_config_type(name).__module__)
    return getattr(module, f"build_{name}")
