"""Several processes that train one network: TensorFlow's MultiWorkerMirroredStrategy under Keras' own `fit`.

Each process runs `fit` with the same callbacks on its share of each batch, and all compute the same numbers; what
the callbacks of others than the chief would write goes nowhere. With Keras 3.15 `fit` needs help under this strategy:

- It makes the model ready by taking the mean of the devices' batches, which fails. The model is made ready from the
  shapes alone (`_make_ready`).
- Its own steps expect TensorFlow's distributed data sets, which part data by files or not at all. Here each process
  reads its own share (`shares.Share`), and before each step the processes agree on how many rows they take: where
  clips cannot be read, not all have equally many. `_step` gives the steps of training and validation.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_actrec.config import RunConfig
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.training import checkpoint
from keras_actrec.training.callbacks import Batches
from keras_actrec.training.checkpoint import Checkpoints, Progress
from keras_actrec.training.hardware import Hardware
from keras_actrec.training.links import Links
from keras_actrec.training.share_quarantine import ShareQuarantine
from keras_actrec.training.shares import Share


@dataclasses.dataclass(frozen=True)
class SharedHardware(Hardware):
    """What one of several processes computes on; they share each batch.

    Attributes:
        links: to the other processes.
    """

    links: Links = dataclasses.field(kw_only=True)

    @property
    def writes(self) -> bool:
        """Whether this process is the chief."""
        return self.links.place.is_chief

    @property
    def company(self) -> str:
        """A phrase about the other processes that share each batch."""
        workers = self.links.place.workers
        return f"\n{len(workers)} processes with {self.replicas} devices share each batch: {', '.join(workers)}"

    @property
    def parts_evenly(self) -> bool:
        """True: each process reads the same number of clips of each whole batch."""
        return True

    @contextlib.contextmanager
    def together(self, config: RunConfig, manifest: Manifest) -> Iterator[None]:
        """As the chief, tell the others what is trained next, and need all of them while it is."""
        with self.links.together():
            if self.writes:
                self.links.from_chief({"config": config.model_dump(mode="json"), "manifest": manifest.hash})
            yield

    def own_share(self, loader: Batches, filled: bool) -> Batches:
        """Let a loader give this process' rows of each batch alone, reading no others where it can."""
        place = self.links.place
        share = Share(place.index, len(place.workers), self.replicas, filled)
        if hasattr(loader, "take_share"):
            loader.take_share(share)
            return loader
        return _Sliced(loader, share)

    def training_batches(self, dataset: tf.data.Dataset) -> Iterable[Any]:
        """Cut each batch to as many rows as the process with the fewest has; an epoch ends where one has none left."""
        return _distributed(dataset, dataset.element_spec, lambda: self._cut_alike(dataset))

    def validation_batches(self, dataset: tf.data.Dataset) -> Iterable[Any]:
        """Fill each batch with rows of weight 0 up to as many as the process with the most has."""
        inputs, labels, *weights = dataset.element_spec
        weights = weights or [tf.TensorSpec((None,), tf.float32)]
        return _distributed(dataset, (inputs, labels, *weights), lambda: self._filled_alike(dataset))

    def guard_end_of_data(self, model: keras.Model) -> None:
        """Give the model steps that work under this strategy; the module's docstring says why."""
        model.train_function = _step(model, model.train_step)
        model.test_function = _step(model, model.test_step)
        model._maybe_symbolic_build = lambda iterator: _make_ready(model, iterator._distributed_dataset.element_spec)

    def start_from(self, checkpoints: Checkpoints, model: keras.Model) -> Progress:
        """Put the chief's state, first or restored, into the model of each process."""
        progress = checkpoints.restore_state(model) if self.writes else Progress()
        known = self.links.from_chief(dataclasses.asdict(progress))
        for prefix, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
            own = checkpoint.collect(prefix, variables) if self.writes else None
            arrays = self.links.arrays_from_chief(own)
            if not self.writes:
                checkpoint.restore(arrays, prefix, variables)
        return Progress(**{**known, "rows": tuple(known["rows"])})

    def callbacks(self, quarantine: Quarantine | None) -> Sequence[keras.callbacks.Callback]:
        """Return what the processes do together around epochs."""
        return () if quarantine is None else (ShareQuarantine(self.links, quarantine),)

    def alone(self, network: keras.Model, kept: Path) -> keras.Model:
        """Return the kept network: the trained one computes with all processes, or not at all."""
        return keras.saving.load_model(kept)

    @property
    def _local(self) -> int:
        """Number of devices of this process."""
        return self.replicas // len(self.links.place.workers)

    def _cut_alike(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        for batch, counts in self._in_step(dataset):
            rows = min(counts) // self._local * self._local
            if not rows:
                return
            yield self._per_device(_part(batch, 0, rows), rows)

    def _filled_alike(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        # An example of this process' own fills up; zeros, which a network might not like, where it never had one.
        spare = tf.nest.map_structure(lambda spec: tf.zeros((1, *spec.shape[1:]), spec.dtype), dataset.element_spec)
        for batch, counts in self._in_step(dataset):
            rows = -(-max(counts) // self._local) * self._local
            if not rows:
                return
            if batch is not None:
                spare = tf.nest.map_structure(lambda array: array[-1:], batch)
            yield self._per_device(_fill(batch, spare, rows), rows)

    def _in_step(self, dataset: tf.data.Dataset) -> Iterator[tuple[Any, list[int]]]:
        """Give each own batch, None after the last one, and how many rows each process has."""
        own = iter(dataset)
        while True:
            batch = next(own, None)
            yield batch, self.links.exchange(0 if batch is None else len(tf.nest.flatten(batch)[0]))

    def _per_device(self, batch: Any, rows: int) -> Any:
        """Split the rows over the devices of this process."""
        if self._local == 1:
            return batch
        size = rows // self._local
        parts = [_part(batch, start, start + size) for start in range(0, rows, size)]
        numbers = iter(range(self._local))
        return self.strategy.experimental_distribute_values_from_function(lambda _: parts[next(numbers)])


class _Sliced:
    """A loader that cannot read one share alone: it reads whole batches, of which the own rows are taken."""

    def __init__(self, loader: Batches, share: Share) -> None:
        self._loader, self._share = loader, share

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def dataset(self) -> tf.data.Dataset:
        """Return the own rows of each batch; perhaps none of the last one."""
        share = self._share

        def own(*batch: Any) -> Any:
            part = share.part(tf.shape(tf.nest.flatten(batch)[0])[0])
            return tf.nest.map_structure(lambda array: array[part], batch)

        return self._loader.dataset().map(own).filter(lambda *batch: tf.shape(tf.nest.flatten(batch)[0])[0] > 0)


def _distributed(dataset: tf.data.Dataset, spec: Any, batches: Callable[[], Iterator[Any]]) -> Iterable[Any]:
    """Return what Keras takes for a data set that is distributed already, and leaves alone."""

    class Batches(tf.distribute.DistributedDataset):
        cardinality = tf.data.UNKNOWN_CARDINALITY
        element_spec = spec

        def __iter__(self) -> Iterator[Any]:
            return batches()

    # Keras 3.15 knows such a data set by the name of its class.
    Batches.__name__, Batches.__module__ = "DistributedDataset", "tensorflow.python.distribute.keras_actrec"
    return Batches()


def _step(model: keras.Model, one: Callable[[Any], dict[str, Any]]) -> Callable[[Iterator[Any]], dict[str, Any]]:
    """Return what Keras calls once per batch: take it (or raise StopIteration), then run the compiled step on all."""
    strategy = model.distribute_strategy
    names: list[str] = []

    def measured(batch: Any) -> tf.Tensor:
        logs = one(batch)
        names[:] = sorted(logs)
        return tf.stack([tf.cast(logs[name], tf.float32) for name in names])

    @tf.function(reduce_retracing=True, jit_compile=False)
    def step(batch: Any) -> tf.Tensor:
        return strategy.reduce("MEAN", strategy.run(measured, args=(batch,)), axis=None)

    def run(iterator: Iterator[Any]) -> dict[str, Any]:
        numbers = step(next(iterator))
        return {name: numbers[index] for index, name in enumerate(names)}

    return run


def _make_ready(model: keras.Model, spec: Any) -> None:
    """Let Keras make what it lacks for batches of these shapes, such as the variables of metrics."""
    example = tf.nest.map_structure(lambda part: keras.KerasTensor((1, *part.shape[1:]), part.dtype.name), spec)
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=example)


def _part(batch: Any, start: int, stop: int) -> Any:
    return tf.nest.map_structure(lambda array: array[start:stop], batch)


def _fill(batch: Any, spare: Any, rows: int) -> Any:
    """Append `spare` (1, ...) until a batch, or none, has so many rows; weights, if any, or 1, become 0 there."""
    own = 0 if batch is None else len(tf.nest.flatten(batch)[0])
    more = tf.nest.map_structure(lambda array: tf.repeat(array, rows - own, axis=0), spare)
    joined = more if batch is None else tf.nest.map_structure(lambda *both: tf.concat(both, axis=0), batch, more)
    inputs, labels, *weights = joined
    real = tf.concat([tf.ones([own]), tf.zeros([rows - own])], axis=0)
    return inputs, labels, tf.nest.map_structure(lambda array: array * real, weights[0]) if weights else real
