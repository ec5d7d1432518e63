"""Devices, precision and reproducible kernels: what must be decided before a model is built.

One strategy per process: a second object can fail on its first collective operation, so asking again for other devices
is an error.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_actrec.config import TrainingConfig
from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.training.hardware import Hardware

_current: tuple[tuple[Any, ...], Hardware] | None = None


def set_up(settings: TrainingConfig) -> Hardware:
    """Choose devices, precision, and reproducible kernels for this process; call it before a model is built.

    Raises:
        UserError: for a device that is not there, several devices on JAX or PyTorch, XLA on several devices, or devices
            other than those of an earlier call in this process.
    """
    global _current
    if _current is None or _current[0] != _wanted(settings):
        _current = _wanted(settings), _hardware(settings)
    return adopt(settings, _current[1])


def adopt(settings: TrainingConfig, hardware: Hardware) -> Hardware:
    """Let this process compute on some hardware, with the precision and the kernels of a configuration."""
    global _current
    _current = _wanted(settings), hardware
    keras.config.set_dtype_policy(settings.precision)
    keep_order()
    if settings.precision == "mixed_float16" and hardware.devices[0].startswith("CPU"):
        warnings.warn("mixed_float16 is very slow on a CPU; mixed_bfloat16 or float32 are faster there.", stacklevel=3)
    if settings.deterministic:
        make_deterministic()
    return hardware


def _wanted(settings: TrainingConfig) -> tuple[Any, ...]:
    return settings.devices, settings.virtual_cpus, settings.jit_compile


def current() -> Hardware:
    """Return what `set_up` chose last; plain Keras before that."""
    return Hardware(("CPU:0",)) if _current is None else _current[1]


def keep_order() -> None:
    """Let TensorFlow read all weights of a step before the step changes them.

    Its dependency optimiser takes the edge "read, then update" away where a path leads from one to the other, counting
    paths through the one node (IdentityN) that all gradients of a step pass through; then it takes that node away. A
    pass that has no gradient of its own, such as the one that gives pseudo-labels or a teacher's look at its network,
    then ran on weights of before or after the update, or some of each. Seen with TensorFlow 2.17. Steps compiled by
    XLA do not pass through that optimiser.
    """
    if keras.backend.backend() == "tensorflow":
        _tensorflow().config.optimizer.set_experimental_options({"dependency_optimization": False})


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


def _tensorflow() -> Any:
    """Import TensorFlow where it is needed: `tf.data` on each backend, all else on its own."""
    import tensorflow

    return tensorflow
