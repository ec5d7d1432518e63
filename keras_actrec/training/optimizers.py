"""Optimisers from a configuration, with the traps of Keras 3.15 removed.

- The moving average of the weights (EMA) is advanced per batch even when gradients are accumulated over several
  batches, so that its memory depends on the number of batches per update. Here it is advanced once per update.
- Under MirroredStrategy each replica clips its own share of the gradient before the shares are summed, and the loss
  scaling of float16 looks for overflows on the first replica alone. Here the shares are summed first
  (`distribution.reduced_optimizer`).
- `SwapEMAWeights` swaps by adding and subtracting, which rounds. `averaged_weights` copies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_actrec.config import OptimizerConfig

_UNDECAYED_NAMES = ("bias", "gamma", "beta", "scale")


class _AveragePerUpdate:
    """Mix-in: the moving average moves on the batches that update the weights, and stands still on the others."""

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        steps, momentum = self.gradient_accumulation_steps, self.ema_momentum
        updates = ops.equal((self._iterations + 1) % steps, 0)
        self.ema_momentum = ops.where(updates, momentum, 1.0)
        try:
            super().apply(grads, trainable_variables)
        finally:
            self.ema_momentum = momentum


def build_optimizer(
    config: OptimizerConfig, model: keras.Model, rate: Any, *, float16: bool = False, replicas: int = 1
) -> keras.optimizers.Optimizer:
    """Return the optimiser of a configuration for a model, built, so that its state can be restored.

    Args:
        config: name, momentum, decay, clipping, accumulation, average.
        model: decides which weights decay: all but biases and normalisation weights.
        rate: learning rate, a float or a schedule (counted in batches).
        float16: scale the loss, as float16 gradients underflow otherwise.
        replicas: number of devices that share a batch; call it inside of their strategy's scope.
    """
    kind = _kind(config)
    clip_norm = config.clip_norm / replicas if config.clip_norm else None
    optimizer = kind(
        learning_rate=rate,
        weight_decay=config.weight_decay or (0.0 if config.name == "adamw" else None),
        global_clipnorm=clip_norm,
        use_ema=config.ema > 0,
        ema_momentum=config.ema,
        gradient_accumulation_steps=config.accumulate if config.accumulate > 1 else None,
        **_own_arguments(config),
    )
    optimizer.exclude_from_weight_decay(var_list=undecayed(model))
    if float16:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    if replicas > 1 and (config.clip_norm or float16):
        from keras_actrec.training import distribution

        optimizer = distribution.reduced_optimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


def undecayed(model: keras.Model) -> list[keras.Variable]:
    """Return the trainable weights that weight decay leaves alone: biases and the weights of normalisations.

    Known by rank (0 or 1) or by name; the biases of attention and GRU layers have two axes.
    """
    return [
        variable
        for variable in model.trainable_variables
        if len(variable.shape) <= 1 or _last_name(variable) in _UNDECAYED_NAMES
    ]


def averages(model: keras.Model) -> dict[int, keras.Variable]:
    """Return id of trainable weight -> its moving average; empty without EMA."""
    optimizer = inner(model.optimizer)
    if not getattr(optimizer, "use_ema", False):
        return {}
    pairs = zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True)
    return {id(variable): average for variable, average in pairs if average is not None}


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the moving averages in place of the trainable weights for a while; afterwards they are exactly as before."""
    known = averages(model)
    variables = [variable for variable in model.trainable_variables if id(variable) in known]
    saved = [to_numpy(variable) for variable in variables]
    for variable in variables:
        variable.assign(to_numpy(known[id(variable)]))
    try:
        yield
    finally:
        for variable, value in zip(variables, saved, strict=True):
            variable.assign(value)


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimiser inside of the loss scaling of float16, if there is one."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def learning_rate(model: keras.Model) -> float:
    """Return the learning rate of the last batch; before the first one, that of the first."""
    optimizer = inner(model.optimizer)
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(ops.maximum(optimizer._iterations - 1, 0))
    return float(ops.convert_to_numpy(rate))


def to_numpy(variable: keras.Variable) -> np.ndarray:
    """Return a copy of a variable's value; the first replica's where there are several."""
    return np.array(ops.convert_to_numpy(variable.value))


def _kind(config: OptimizerConfig) -> type[keras.optimizers.Optimizer]:
    kinds = {
        "sgd": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
    }
    kind = kinds[config.name]
    if config.ema and config.accumulate > 1:
        return type(kind.__name__, (_AveragePerUpdate, kind), {})
    return kind


def _own_arguments(config: OptimizerConfig) -> dict[str, Any]:
    if config.name == "sgd":
        return {"momentum": config.momentum, "nesterov": config.nesterov}
    return {"momentum": config.momentum} if config.name == "rmsprop" else {}


def _last_name(variable: keras.Variable) -> str:
    return variable.path.rpartition("/")[2]
