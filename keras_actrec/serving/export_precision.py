"""A network in float32, whatever precision it was trained in: the numbers that every runtime can compute."""

from __future__ import annotations

from typing import Any

import keras


def policy_of(model: keras.Model) -> str:
    """Return the dtype policy that the layers compute in: the first that is not float32, else "float32"."""
    names = (layer.dtype_policy.name for layer in model._flatten_layers(include_self=False))
    return next((name for name in names if name != "float32"), "float32")


def as_float32(model: keras.Model) -> keras.Model:
    """Return a copy of a network with the same weights, all of whose layers compute in float32."""
    copy = type(model).from_config(_in_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


def _in_float32(config: Any) -> Any:
    """Return a layer's configuration with every dtype policy in it replaced, at any depth."""
    if isinstance(config, dict) and config.get("class_name") == "DTypePolicy":
        return {**config, "config": {**config["config"], "name": "float32"}}
    if isinstance(config, dict):
        return {key: _in_float32(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_in_float32(value) for value in config)
    return config
