"""Devices, precision and reproducible kernels: what must be decided before a model is built.

The only module of `training` that imports TensorFlow. One strategy per process: a second object can fail on its first
collective operation, so asking again for other devices is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_actrec.config import TrainingConfig
from keras_actrec.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What a run computes on.

    Attributes:
        devices: names such as "GPU:0", as asked for or as found.
        strategy: a `tf.distribute.MirroredStrategy` when there are several devices, else None.
        jit_compile: whether Keras compiles the training step with XLA.
    """

    devices: tuple[str, ...]
    strategy: Any = None
    jit_compile: bool = False

    @property
    def replicas(self) -> int:
        """Number of devices that share a batch."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which the model is built and compiled."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    def training_batches(self, dataset: Any) -> Any:
        """Cut each batch to a multiple of the number of devices.

        Keras averages the replicas' means without their sizes, so with a last batch of 3 on two devices the lonely
        clip would count twice. At most `replicas - 1` clips of an epoch are left out, others in each epoch.
        """
        if self.strategy is None:
            return dataset
        count = self.replicas
        cut = dataset.map(lambda *batch: _cut(batch, count))
        return cut.filter(lambda inputs, labels: _tensorflow().shape(_tensorflow().nest.flatten(labels)[0])[0] > 0)

    def validation_batches(self, dataset: Any) -> Any:
        """Fill each batch up to a multiple of the number of devices with rows of weight 0.

        A device that gets no row at all fails in some layers. Returns batches of (inputs, labels, weights) where there
        are several devices, else the data set as it is.
        """
        if self.strategy is None:
            return dataset
        count = self.replicas
        return dataset.map(lambda *batch: _fill(batch, count))

    def guard_end_of_data(self, model: keras.Model) -> None:
        """Let the training step of a compiled model begin only once its batch is there.

        Keras 3.15 on TensorFlow fetches the batch inside of the compiled step. Where the number of batches is not known
        beforehand (clips may be unreadable), the step after the last batch fails half way: what does not depend on the
        batch may have run by then, such as the counter of the schedule, weight decay, the moving average and the seeds
        of dropout. Which of them have is a race.
        """
        if keras.backend.backend() == "tensorflow":
            model.train_function = _guarded_step(model, self.jit_compile)

    def check(self, model: keras.Model) -> None:
        """Raise a `UserError` for a model that would drift apart on several devices."""
        layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        alone = [layer.name for layer in layers if layer.trainable and not layer.synchronized]
        if self.strategy is not None and alone:
            raise UserError(
                f"batch normalisation must be synchronised on several devices, '{alone[0]}' is not; "
                "call `backbones.synchronize(model)` after building it, or train on one device."
            )


_current: tuple[tuple[Any, ...], Hardware] | None = None


def set_up(settings: TrainingConfig) -> Hardware:
    """Choose devices, precision, and reproducible kernels for this process; call it before a model is built.

    Raises:
        UserError: for a device that is not there, several devices on JAX or PyTorch, XLA on several devices, or devices
            other than those of an earlier call in this process.
    """
    global _current
    wanted = (settings.devices, settings.virtual_cpus, settings.jit_compile)
    if _current is None or _current[0] != wanted:
        hardware = _hardware(settings)
        _current = wanted, hardware
    keras.config.set_dtype_policy(settings.precision)
    if settings.precision == "mixed_float16" and _current[1].devices[0].startswith("CPU"):
        warnings.warn("mixed_float16 is very slow on a CPU; mixed_bfloat16 or float32 are faster there.", stacklevel=2)
    if settings.deterministic:
        make_deterministic()
    return _current[1]


def current() -> Hardware:
    """Return what `set_up` chose last; plain Keras before that."""
    return Hardware(("CPU:0",)) if _current is None else _current[1]


def make_deterministic() -> None:
    """Ask the backend for kernels that give the same bits each time."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        tf = _tensorflow()
        tf.config.experimental.enable_op_determinism()
        # Without one that is seeded, TensorFlow refuses its global generator then, and KerasCV's layers ask for it.
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    elif backend == "jax":
        flag = "--xla_gpu_deterministic_ops=true"
        if flag not in os.environ.get("XLA_FLAGS", ""):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    else:
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)


def dataset_from(generate: Callable[[], Iterator[Any]], example: Any) -> Any:
    """Return a `tf.data.Dataset` that calls `generate` anew in each epoch.

    Args:
        generate: gives nested tuples and dictionaries of arrays.
        example: one of them; all others may differ in their first axis only.
    """
    tensorflow = _tensorflow()
    signature = tensorflow.nest.map_structure(
        lambda array: tensorflow.TensorSpec((None, *array.shape[1:]), array.dtype), example
    )
    options = tensorflow.data.Options()
    options.autotune.enabled = False  # its sleeping thread can hold up the end of an epoch, see data/pipeline.py
    return (
        tensorflow.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2).with_options(options)
    )


def reduced_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Let an optimiser sum the replicas' gradients before it looks at them; Keras sums after clipping them one by one.

    Every replica passes the sum on divided by the number of replicas, because Keras will add them up once more. So a
    norm to clip to has to be divided by that number too.
    """
    kind = type(optimizer)
    tensorflow = _tensorflow()

    def apply(self: Any, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        context = tensorflow.distribute.get_replica_context()
        summed = context.all_reduce(tensorflow.distribute.ReduceOp.SUM, list(grads))
        shares = [gradient / context.num_replicas_in_sync for gradient in summed]
        kind.apply(self, shares, trainable_variables)

    optimizer.__class__ = type(kind.__name__, (kind,), {"apply": apply})
    return optimizer


def _hardware(settings: TrainingConfig) -> Hardware:
    if keras.backend.backend() != "tensorflow":
        return _single(settings)
    if _current is not None and _current[1].strategy is not None:
        raise UserError("this process already trains on several devices; use another process for other devices.")
    devices = _tensorflow_devices(settings)
    if len(devices) == 1:
        automatic = devices[0].startswith("GPU")
        return Hardware(devices, None, automatic if settings.jit_compile == "auto" else settings.jit_compile)
    if settings.jit_compile is True:
        raise UserError(
            "XLA does not work on several devices: leave `training.jit_compile` at auto, or name one device."
        )
    return Hardware(devices, _tensorflow().distribute.MirroredStrategy(list(devices)), False)


def _single(settings: TrainingConfig) -> Hardware:
    """JAX and PyTorch: the device that they choose themselves. JAX without XLA would run operation by operation."""
    backend = keras.backend.backend()
    if settings.virtual_cpus > 1 or (settings.devices != "auto" and len(settings.devices) > 1):
        raise UserError(f"several devices need KERAS_BACKEND=tensorflow; this is {backend}.")
    if settings.devices != "auto":
        raise UserError(
            f"naming a device needs KERAS_BACKEND=tensorflow; on {backend} leave `training.devices` at auto."
        )
    found = keras.distribution.list_devices() if backend == "jax" else _torch_devices()
    name = found[0].upper() if found else "CPU:0"
    return Hardware((name,), None, backend == "jax" or settings.jit_compile is True)


def _torch_devices() -> list[str]:
    import torch

    return ["GPU:0"] if torch.cuda.is_available() else ["CPU:0"]


def _tensorflow_devices(settings: TrainingConfig) -> tuple[str, ...]:
    """Prepare the physical devices and return the names of those to use."""
    tensorflow = _tensorflow()
    gpus = tensorflow.config.list_physical_devices("GPU")
    try:
        for gpu in gpus:
            tensorflow.config.experimental.set_memory_growth(gpu, True)
        if settings.virtual_cpus > 1:
            _split_cpu(settings.virtual_cpus)
    except RuntimeError as error:
        raise UserError(f"devices must be chosen before TensorFlow is used in the process: {error}.") from None
    cpus = [f"CPU:{index}" for index in range(max(settings.virtual_cpus, 1))]
    names = [f"GPU:{index}" for index in range(len(gpus))]
    if settings.devices == "auto":
        return tuple(names or cpus)
    for wanted in settings.devices:
        if wanted not in names + cpus:
            raise UserError(f"there is no device '{wanted}'.{did_you_mean(wanted, names + cpus)}")
    if not settings.devices or len(set(settings.devices)) < len(settings.devices):
        raise UserError(f"training.devices: expected different devices, got {list(settings.devices)}.")
    if len(settings.devices) == 1:
        _hide_others(settings.devices[0], gpus)
    return settings.devices


def _split_cpu(count: int) -> None:
    tensorflow = _tensorflow()
    cpu = tensorflow.config.list_physical_devices("CPU")[0]
    parts = [tensorflow.config.LogicalDeviceConfiguration() for _ in range(count)]
    tensorflow.config.set_logical_device_configuration(cpu, parts)


def _hide_others(name: str, gpus: list[Any]) -> None:
    """Make one device the only GPU that TensorFlow sees, or hide all of them for a CPU."""
    kind, _, index = name.partition(":")
    _tensorflow().config.set_visible_devices([gpus[int(index)]] if kind == "GPU" else [], "GPU")


def _cut(batch: Any, count: int) -> Any:
    """Cut all arrays of a batch to a multiple of `count` rows."""
    nest = _tensorflow().nest
    length = _tensorflow().shape(nest.flatten(batch)[0])[0] // count * count
    return nest.map_structure(lambda array: array[:length], batch)


def _guarded_step(model: keras.Model, jit_compile: bool) -> Callable[[Iterator[Any]], dict[str, Any]]:
    """Return what Keras calls once per batch: take the batch (or raise StopIteration), then run the compiled step."""
    tensorflow = _tensorflow()
    strategy = model.distribute_strategy

    @tensorflow.function(reduce_retracing=True, jit_compile=jit_compile)
    def step(batch: Any) -> dict[str, Any]:
        logs = strategy.run(model.train_step, args=(batch,))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

    return lambda iterator: step(next(iterator))


def _fill(batch: Any, count: int) -> Any:
    """Repeat the last row until the number of rows is a multiple of `count`; weights, if any, or 1, become 0 there."""
    tensorflow = _tensorflow()
    length = tensorflow.shape(tensorflow.nest.flatten(batch)[0])[0]
    missing = -length % count
    rows = tensorflow.concat([tensorflow.range(length), tensorflow.fill([missing], length - 1)], axis=0)
    inputs, labels, *weights = tensorflow.nest.map_structure(lambda array: tensorflow.gather(array, rows), batch)
    real = tensorflow.concat([tensorflow.ones([length]), tensorflow.zeros([missing])], axis=0)
    return inputs, labels, tensorflow.nest.map_structure(lambda own: own * real, weights[0]) if weights else real


def _tensorflow() -> Any:
    """Import TensorFlow where it is needed: `tf.data` on each backend, all else on its own."""
    import tensorflow

    return tensorflow
