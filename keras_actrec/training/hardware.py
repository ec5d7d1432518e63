"""What a run computes on, and what that means for batches, steps and checkpoints.

One process with one device or several; `multi_worker.SharedHardware` is what several processes share.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_actrec.config import RunConfig
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UserError
from keras_actrec.training.checkpoint import Checkpoints, Progress


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

    @property
    def writes(self) -> bool:
        """Whether this process keeps what comes out; false where it computes along with another one."""
        return True

    @property
    def company(self) -> str:
        """A phrase about the other processes that share each batch; empty where there are none."""
        return ""

    @property
    def parts_evenly(self) -> bool:
        """Whether each device takes equally many rows of each whole batch."""
        return False

    def together(self, config: RunConfig, manifest: Manifest) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a training in which all processes take part, where there are several."""
        return contextlib.nullcontext()

    def own_share(self, loader: Any, filled: bool) -> Any:
        """Return the loader of what this process reads of each batch; all of it where it is alone."""
        return loader

    def start_from(self, checkpoints: Checkpoints, model: keras.Model) -> Progress:
        """Restore the newest state of a run, and return how far it is."""
        return checkpoints.restore_state(model)

    def callbacks(self, quarantine: Quarantine | None) -> Sequence[keras.callbacks.Callback]:
        """Return what several processes do together around epochs; nothing where there is one."""
        return ()

    def alone(self, network: keras.Model, kept: Path) -> keras.Model:
        """Return a trained network, also kept as a file, such that this process can evaluate it by itself."""
        return network

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

    def forget_every_gradient(self, model: keras.Model) -> None:
        """Let PyTorch forget the gradients of all weights before each step.

        Keras 3.15 registers a model's weights with PyTorch by their paths. Of two weights of one path, such as the
        classifiers "logits" of two networks that are trained together, PyTorch knows one, and the other's gradients
        would add up from step to step.
        """
        if keras.backend.backend() == "torch":
            model.zero_grad = lambda set_to_none=True: _forget_gradients(model)

    def check(self, model: keras.Model) -> None:
        """Raise a `UserError` for a model that would drift apart on several devices."""
        layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        alone = [layer.name for layer in layers if layer.trainable and not layer.synchronized]
        if self.strategy is not None and alone:
            raise UserError(
                f"batch normalisation must be synchronised on several devices, '{alone[0]}' is not; "
                "call `backbones.synchronize(model)` after building it, or train on one device."
            )


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


def _forget_gradients(model: keras.Model) -> None:
    for variable in model.trainable_variables:
        variable._value.grad = None


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
