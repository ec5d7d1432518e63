"""Bringing the processes together that train one network: what each was started with, and TensorFlow's strategy."""

from __future__ import annotations

import signal
from importlib import metadata
from typing import Any

import keras
import tensorflow as tf

from keras_actrec.config import RunConfig
from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.training import cluster_wait, distribution, links, meeting
from keras_actrec.training.cluster import Place
from keras_actrec.training.multi_worker import SharedHardware
from keras_actrec.training.run_directory import compared, difference

_ALIKE = ("keras-actrec", "keras", "tensorflow", "numpy")


def form(config: RunConfig, place: Place) -> SharedHardware:
    """Wait for all processes, and return what this one computes on together with them.

    Raises:
        UserError: the configuration asks for what several processes cannot do, a process does not come, or it was
            started otherwise than the chief, or has gone meanwhile.
    """
    _check(config)
    kind, count = _devices(config.training.devices)
    facts = {
        "configuration": compared(config),
        "devices": f"{count} {kind}",
        "versions": {name: _version(name) for name in _ALIKE},
    }
    timeout_sec = config.training.cluster.timeout_sec
    print(f"{place.name(place.index)} waits for the other {len(place.workers) - 1} of {len(place.workers)}", flush=True)
    met = meeting.meet(place, facts, _compare, timeout_sec)
    connected = links.Links(place, met, timeout_sec)
    names = tuple(f"{kind}:{index}" for index in range(count)) * len(place.workers)
    # TensorFlow waits for all processes here, and would go on waiting for one that has gone since they met.
    with connected.told(), connected.together():
        hardware = SharedHardware(names, _strategy(place), False, links=connected)
        distribution.adopt(config.training, hardware)
    return hardware


def _strategy(place: Place) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Return the strategy; TensorFlow of all processes has to be there for it."""
    cluster = tf.train.ClusterSpec({"worker": list(place.workers)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type="worker", task_id=place.index, rpc_layer="grpc"
    )
    before = signal.getsignal(signal.SIGTERM)
    try:
        with cluster_wait.threads_go_on():
            return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    finally:
        # TensorFlow takes the signal for a notice that the machine will be needed, and goes on.
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _compare(chief: dict[str, Any], other: dict[str, Any]) -> str:
    return difference(chief, other)


def _check(config: RunConfig) -> None:
    """Refuse what several processes cannot do."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UserError(
            f"training by several processes needs KERAS_BACKEND=tensorflow; this is {backend}. docs/multi-node.md "
            "tells what Keras itself offers there."
        )
    settings = config.training
    for wrong, asked in {
        "`joint`: train on one data set": bool(config.joint),
        "training.regime: set it to end_to_end": settings.regime != "end_to_end",
        "training.objective: set it to cross_entropy": settings.objective != "cross_entropy",
        "training.semi_supervised: remove it": settings.semi_supervised is not None,
        "training.virtual_cpus: remove it; each process has one CPU": settings.virtual_cpus > 1,
        "training.jit_compile: leave it at auto": settings.jit_compile is True,
    }.items():
        if asked:
            raise UserError(f"several processes cannot train together with {wrong}, or unset TF_CONFIG.")


def _devices(wanted: Any) -> tuple[str, int]:
    """Hide the GPUs that are not asked for, and return kind and number of the devices of this process."""
    gpus = tf.config.list_physical_devices("GPU")
    names = [f"GPU:{index}" for index in range(len(gpus))]
    chosen = names if wanted == "auto" else wanted
    for name in chosen:
        if name not in (*names, "CPU:0"):
            raise UserError(f"there is no device '{name}'.{did_you_mean(name, [*names, 'CPU:0'])}")
    used = [gpu for gpu, name in zip(gpus, names, strict=True) if name in chosen]
    if len(used) < len(chosen) and len(chosen) > 1:
        raise UserError(f"training.devices: expected GPUs, or the CPU alone, got {', '.join(chosen)}.")
    tf.config.set_visible_devices(used, "GPU")
    for gpu in used:
        tf.config.experimental.set_memory_growth(gpu, True)
    return ("GPU", len(used)) if used else ("CPU", 1)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
