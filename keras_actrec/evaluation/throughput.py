"""Clips per second of a network in inference, for `timing.json`; never part of `metrics.json`."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.evaluation.predict import arrange, prepare_for_inference


@dataclasses.dataclass(frozen=True)
class Throughput:
    """What was timed: forward passes alone, without reading and decoding of videos.

    Attributes:
        clips_per_sec: batch size over the median pass.
        median_sec, fastest_sec, slowest_sec: duration of one pass.
        batch_size: clips per pass.
        passes: number of timed passes.
        first_pass_sec: the very first pass, with tracing and compilation.
    """

    clips_per_sec: float
    median_sec: float
    fastest_sec: float
    slowest_sec: float
    batch_size: int
    passes: int
    first_pass_sec: float

    def to_json(self) -> dict[str, float | int]:
        """Return the fields as a dictionary."""
        return dataclasses.asdict(self)


def measure(
    model: Any,
    *,
    batch_size: int = 8,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    passes: int = 10,
    warm_up: int = 2,
    limit_sec: float = 20.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:
    """Time forward passes on random clips; each ends with the numbers in main memory.

    Args:
        model: functional Keras model.
        batch_size: clips per pass.
        shapes: input name -> shape without the batch axis, for inputs whose shape the model leaves open.
        passes: timed passes, at least 1; fewer when `limit_sec` is over.
        warm_up: untimed passes before them; the first one's time is reported on its own.
        limit_sec: no further timed pass is begun after so many seconds.
        clock: gives seconds.
    """
    if batch_size < 1 or passes < 1 or warm_up < 1:
        raise ValueError("batch_size, passes and warm_up must be at least 1")
    prepare_for_inference(model)
    inputs = arrange(model, _random_clips(model, batch_size, shapes or {}))
    warm = [_time(model, inputs, clock) for _ in range(warm_up)]
    begin, times = clock(), []
    while not times or (len(times) < passes and clock() - begin < limit_sec):
        times.append(_time(model, inputs, clock))
    median = statistics.median(times)
    return Throughput(batch_size / median, median, min(times), max(times), batch_size, len(times), warm[0])


def _time(model: Any, inputs: Any, clock: Callable[[], float]) -> float:
    begin = clock()
    np.asarray(model.predict_on_batch(inputs))
    return clock() - begin


def _random_clips(model: Any, batch_size: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    clips = {}
    for tensor in model.inputs:
        shape = tuple(shapes.get(tensor.name, tensor.shape[1:]))
        if None in shape:
            raise UserError(f"the input '{tensor.name}' has the open shape {shape}; say its size to time the model.")
        clips[tensor.name] = rng.random((batch_size, *shape), dtype=np.float32)
    return clips
