"""The input pipeline: clips to batches, with `tf.data`, for every Keras backend.

Clips are decoded and changed in parallel threads, in an order and with random draws that depend on (seed, epoch, index,
instance) alone: an epoch's bytes are the same in any process, whatever ran before it and however many threads there
are. Frames stay uint8 until they are a batch; `normalize` is the one place where they become floats. A clip that cannot
be read is put in quarantine and dropped, so that the last batches of an epoch may be smaller or missing. Only where the
clips go round (`examples`) another one stands in for it: an epoch of so many steps is to have them.

The Python functions of the graph are declared free of state, as what they return depends on their arguments and on the
loader's settings alone. It matters: where TensorFlow is asked for determinism (`training.deterministic`), `tf.data`
calls functions with state one at a time, whatever the number of threads, and makes no batch ahead in a graph that has
one anywhere. The network would wait for each clip.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from keras_actrec.data import assemble, epoch_order, loader_checks
from keras_actrec.data.epoch_order import EpochOrder
from keras_actrec.data.manifest import Clip
from keras_actrec.data.normalization import BGR_MEANS, STANDARDISED
from keras_actrec.data.quarantine import Quarantine, reason_of
from keras_actrec.data.quiesce import Workers
from keras_actrec.data.source import FrameSource
from keras_actrec.data.targets import Target
from keras_actrec.data.threads import default_workers
from keras_actrec.data.views import View
from keras_actrec.errors import UnreadableVideoError

_PREFETCH = 2
_workers = Workers()


class Share(Protocol):
    """What one of several processes reads of each batch."""

    def of_order(self, order: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the own examples of an epoch's order, whose batches are `batch_size` neighbours each."""

    def of_batch_size(self, batch_size: int) -> int:
        """Return the number of own examples in a whole batch."""


class Loader:
    """Batches of clips, for training and for evaluation.

    `fit` asks a data set for a new iterator in each epoch; call `set_epoch` before that (in `on_epoch_begin`).

    Attributes:
        clips: the clips, in the order that indices point into.
        targets: what is told of a clip where that is more than its label.
        failure: the first error of a worker that was not an unreadable video; TensorFlow's own error only quotes it.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        classes: Sequence[str],
        views: Sequence[View],
        source: FrameSource,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        quarantine: Quarantine,
        mixup: float = 0.0,
        workers: int = 0,
        targets: Sequence[Target] = (),
        clips_per_class: int = 0,
        examples: int = 0,
    ) -> None:
        """Check the wishes; nothing is read yet.

        Args:
            clips: the clips of a split. One without a label, or of the split "unknown", has a row of zeros as label.
                One of the split "unlabelled" has its truth as label where that is known.
            classes: class names in the order of the network's outputs.
            views: what is taken of each clip.
            source: gives the frames; used by several threads at a time.
            batch_size: clips per batch.
            seed: of all randomness, at least 0.
            shuffle: a new order in each epoch, for `dataset`.
            quarantine: told of clips that cannot be read.
            mixup: alpha of MixUp's Beta distribution, for `dataset`; 0 turns it off.
            workers: threads; 0: one per core.
            targets: several things that are told of a clip, in place of its label.
            clips_per_class: how many neighbouring examples of a shuffled epoch belong to one class (see `data.pairs`),
                0: left to chance. What cannot be read is missing from the stream, so that later neighbours may lie in
                two batches.
            examples: of an epoch of `dataset`; the clips go round, in a new order and with new draws in each round
                (see `EpochOrder.training`), and others stand in for those that cannot be read. 0: each clip once.

        Raises:
            UserError: a wish that cannot be met.
        """
        loader_checks.check(clips, classes, views, batch_size)
        self.clips = tuple(clips)
        self.classes = tuple(classes)
        self.views = tuple(views)
        self.targets = tuple(targets)
        self.failure: Exception | None = None
        self._source, self._quarantine = source, quarantine
        self._batch_size, self._seed, self._mixup = batch_size, seed, mixup
        self._workers = workers or default_workers()
        self._epoch = 0
        self._share: Share | None = None
        numbers = {name: number for number, name in enumerate(self.classes)}
        self._labels = np.array([numbers.get(clip.label, -1) for clip in self.clips], np.int32)
        self._parts = {target.name: (target.numbers(self.clips), len(target.classes)) for target in self.targets}
        self._order = EpochOrder(
            self._labels,
            self.views,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            mixup=mixup,
            clips_per_class=clips_per_class,
            examples=examples,
        )

    def take_share(self, share: Share) -> None:
        """Give one share of each batch of `dataset` alone, and read nothing else; `steps` stays that of all shares."""
        self._share = share

    @property
    def steps(self) -> int:
        """Batches per epoch of training, with the smaller last one, if every clip can be read, else an upper bound."""
        return -(-self._order.length // self._batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that iterators made from now on will give (counted from 0)."""
        self._epoch = int(epoch)

    def dataset(self, indexed: bool = False, drop_remainder: bool = False) -> tf.data.Dataset:
        """Return batches for training.

        Args:
            indexed: tell of each example which clip it is of; with MixUp, the clip that has the drawn share.
            drop_remainder: leave out the last batch if it is smaller, so that all have the same shape.

        Returns:
            Data set of ({view name: float32 (B, T, H, W, C)}, one-hot float32 (B, K)), and with `indexed` int32 indices
            into `clips` (B,); with targets the labels are {name of the target: one-hot (B, K of it)}.
        """
        data = self._examples(evaluation=False)
        size = self._share.of_batch_size(self._batch_size) if self._share else self._batch_size
        data = data.batch(size, drop_remainder, num_parallel_calls=1, deterministic=True).enumerate()

        def batch(number: tf.Tensor, parts: tuple[tf.Tensor, ...]) -> tuple:
            inputs, labels = self._training_batch(number, parts)
            return (inputs, labels, tf.cast(parts[0][:, 1], tf.int32)) if indexed else (inputs, labels)

        return self._finish(data.map(batch))

    def evaluation_dataset(self) -> tf.data.Dataset:
        """Return batches for evaluation: in the order of the clips, nothing random, the last batch kept.

        Returns:
            Data set of ({view name: float32 (B, V, T, H, W, C)}, int32 indices into `clips` (B,)), where V is the
            view's clips x crops.
        """
        data = self._examples(evaluation=True)
        return self._finish(data.batch(self._batch_size).map(self._evaluation_batch))

    def _examples(self, evaluation: bool) -> tf.data.Dataset:
        """Return examples ((epoch, index, instance), frames of each view), the unreadable ones left out."""
        shapes = [_shape(view, evaluation) for view in self.views]

        def positions(start: tf.Tensor) -> tf.data.Dataset:
            # It takes an argument, lest the order of one epoch be folded into the graph as a constant.
            rows = _call(self._evaluation_order if evaluation else self._training_order, [start], tf.int64)
            rows.set_shape((None, 3))
            return tf.data.Dataset.from_tensor_slices(rows)

        def example(row: tf.Tensor) -> tuple[tf.Tensor, ...]:
            work = self._evaluation_example if evaluation else self._training_example
            readable, row, *frames = _call(work, [row], [tf.bool, tf.int64] + [tf.uint8] * len(shapes))
            readable.set_shape(())
            row.set_shape((3,))
            return (readable, row, *frames)

        def keep(readable: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return readable

        def shaped(_: tf.Tensor, row: tf.Tensor, *frames: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return (row, *(tf.ensure_shape(part, shape) for part, shape in zip(frames, shapes, strict=True)))

        data = tf.data.Dataset.from_tensors(0).flat_map(positions)
        data = data.map(example, num_parallel_calls=self._workers, deterministic=True)
        return data.filter(keep).map(shaped)

    def _finish(self, data: tf.data.Dataset) -> tf.data.Dataset:
        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        options.threading.private_threadpool_size = self._workers + 1
        # Nothing is left to tune, and the tuner's thread, which sleeps for up to 5 s within the first minute and ever
        # longer after it, is sometimes not woken when an epoch's iterator ends: the next epoch then waits for it.
        options.autotune.enabled = False
        return data.prefetch(_PREFETCH).with_options(options)

    def _training_order(self, _: np.ndarray) -> np.ndarray:
        """Return int64 (N, 3) of epoch, index and instance; read when an iterator starts."""
        order = self._order.training(self._epoch)
        return self._share.of_order(order, self._batch_size) if self._share else order

    def _evaluation_order(self, _: np.ndarray) -> np.ndarray:
        return epoch_order.in_turn(self._epoch, len(self.clips))

    def _training_example(self, row: np.ndarray) -> tuple[np.ndarray, ...]:
        key = assemble.Key(self._seed, *map(int, row))
        return self._example(itertools.chain([key], self._stand_ins(key)), assemble.assemble)

    def _evaluation_example(self, row: np.ndarray) -> tuple[np.ndarray, ...]:
        return self._example([assemble.Key(self._seed, *map(int, row))], assemble.assemble_evaluation)

    def _stand_ins(self, key: assemble.Key) -> Iterator[assemble.Key]:
        """Yield the examples that may take the place of one that cannot be read, where the clips go round.

        Which is the same in any process: clips in quarantine are passed over for speed alone.
        """
        for stand_in in self._order.stand_ins(key):
            if self.clips[stand_in.index] not in self._quarantine:
                yield stand_in

    def _example(self, keys: Iterable[assemble.Key], work: Callable[..., list[np.ndarray]]) -> tuple[np.ndarray, ...]:
        """Return whether one of some examples could be read, the row of the first such one, its frames (else empty)."""
        # RandAugment's few TensorFlow operations stay off the accelerators, which are the network's.
        with _workers.call(), tf.device("/CPU:0"):
            for key in keys:
                frames = self._read(key, work)
                if frames is not None:
                    return (np.True_, np.array([key.epoch, key.index, key.instance], np.int64), *frames)
        return (np.False_, np.zeros(3, np.int64), *(np.zeros(0, np.uint8) for _ in self.views))

    def _read(self, key: assemble.Key, work: Callable[..., list[np.ndarray]]) -> list[np.ndarray] | None:
        clip = self.clips[key.index]
        try:
            try:
                return work(clip, self.views, self._source, key)
            except UnreadableVideoError as error:
                self._quarantine.add(clip, reason_of(clip, error), key.epoch)
                return None
        except Exception as error:  # also of the quarantine, such as a full disk
            self.failure = self.failure or error
            raise RuntimeError(f"clip {clip.path}: {type(error).__name__}: {error}") from error

    def _training_batch(self, number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[dict, tf.Tensor]:
        rows, *frames = batch
        labels = self._targets(rows[:, 1])
        inputs = self._inputs(frames)
        if not self._mixup:
            return inputs, labels
        share, partner = _call(self._draw_mixup, [rows[0, 0], number, tf.shape(rows)[0]], [tf.float32, tf.int64])
        share.set_shape(())
        partner.set_shape((None,))

        def mix(value: tf.Tensor) -> tf.Tensor:
            return share * value + (1 - share) * tf.ensure_shape(tf.gather(value, partner), value.shape)

        return tf.nest.map_structure(mix, (inputs, labels))

    def _targets(self, indices: tf.Tensor) -> tf.Tensor | dict[str, tf.Tensor]:
        if not self._parts:
            return tf.one_hot(tf.gather(self._labels, indices), len(self.classes))
        return {name: tf.one_hot(tf.gather(numbers, indices), count) for name, (numbers, count) in self._parts.items()}

    def _draw_mixup(self, epoch: int, number: int, size: int) -> tuple[np.float32, np.ndarray]:
        """Draw MixUp's share and partners for one batch (Zhang et al., 2018: one share per batch)."""
        rng = assemble.Key(self._seed, int(epoch), int(number)).generator(assemble.MIX)
        return np.float32(rng.beta(self._mixup, self._mixup)), rng.permutation(int(size))

    def _evaluation_batch(self, rows: tf.Tensor, *frames: tf.Tensor) -> tuple[dict, tf.Tensor]:
        return self._inputs(frames), tf.cast(rows[:, 1], tf.int32)

    def _inputs(self, frames: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        return {view.name: normalize(part, view) for view, part in zip(self.views, frames, strict=True)}


@tf.autograph.experimental.do_not_convert
def normalize(frames_uint8: tf.Tensor, view: View) -> tf.Tensor:
    """Turn uint8 frames into what a network takes: the only place where that happens.

    With x in 0..255: "zero_one" x / 255; "minus_one_one" x / 127.5 - 1; "imagenet", "kinetics" (torchvision's video
    networks) and "slowfast" (PyTorchVideo's) (x / 255 - mean) / std of RGB; "caffe" and "sports1m" (C3D) BGR minus its
    mean; "none" x. A view of differences gives x'[t + 1] - x'[t] of the normalised frames: T of T + 1 frames, in -1..1
    for "zero_one", -2..2 for "minus_one_one", -255..255 for "none"; means cancel.

    Args:
        frames_uint8: (..., T, H, W, C), with T + 1 frames for differences.
        view: names modality and normalisation.

    Returns:
        float32 (..., T, H, W, C).
    """
    frames = tf.cast(frames_uint8, tf.float32)
    if view.modality == "difference":
        frames = frames[..., 1:, :, :, :] - frames[..., :-1, :, :, :]
    offset = 0.0 if view.modality == "difference" else 1.0
    match view.normalization:
        case "zero_one":
            return frames / 255
        case "minus_one_one":
            return frames / 127.5 - offset
        case name if name in STANDARDISED:
            mean, std = map(tf.constant, STANDARDISED[name])
            return (frames / 255 - offset * mean) / std
        case name if name in BGR_MEANS:
            return frames[..., ::-1] - offset * tf.constant(BGR_MEANS[name])
    return frames


def _call(function: Callable[..., object], arguments: Sequence[tf.Tensor], types: object) -> object:
    """Call a NumPy function from the graph, declared free of state (the module's docstring says why)."""
    return tf.numpy_function(function, arguments, types, stateful=False)


def _shape(view: View, evaluation: bool) -> tuple[int, ...]:
    shape = (assemble.frames_read(view), view.size, view.size, 1 if view.modality == "depth" else 3)
    return (view.clips * view.crops, *shape) if evaluation else shape
