"""Pseudo-labels: which class a network is confident of in clips without labels, and which of these classes to believe.

- FixMatch (Sohn et al. 2020), ActNetFormer's Eq. (1) to (5): the most probable class, where its probability reaches a
  threshold.
- Distribution alignment, ReMixMatch (Berthelot et al. 2020, Sec. 3.1): the predictions are first pulled towards the
  shares that the classes have among the labelled clips, q' = normalise(q * prior / mean of q so far).
- Class thresholds, FlexMatch (Zhang et al. 2021, Eq. 5 to 7, 11 and 12): a class that is hard to learn needs less
  confidence. sigma(c) counts the clips that were last given c with confidence, u those never given any, and

      beta(c) = sigma(c) / max(max_c sigma(c), u),   threshold(c) = threshold * beta(c) / (2 - beta(c))

  In the beginning every clip is accepted, as u alone is large then.

The order is that of FlexMatch's code: the mean of q takes a batch in before it aligns that batch, whereas the
thresholds of a batch come from the state before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_actrec.errors import UserError

Tensor = Any
_TINY = 1e-12


class PseudoLabels(keras.layers.Layer):
    """Tells the class of each row of logits and whether to believe it: (N, K) -> int32 (N,), float32 (N,).

    Everything is computed in float32 whatever the precision, and nothing has a gradient. Rows with logits that are not
    finite are refused and leave no trace. On TensorFlow with several devices the state is the same on all of them, and
    a batch is what they have together.

    Weights, none of them trainable: `mean` (K,) with alignment, the mean of q, in the beginning that of no preference;
    `last` (examples,) with class thresholds, the class that each clip was last given with confidence, or -1.

    Args:
        classes: K.
        threshold: the least probability to believe a class, 0 to 1.
        alignment: align the distribution of the predictions.
        prior: shares (K,) of the classes among the labelled clips, or their numbers; None: all the same. Used by
            alignment alone.
        alignment_momentum: share of the mean of q that a batch leaves, 0 up to below 1. ReMixMatch's is a mean of 128
            batches, which 0.99 comes near to; FlexMatch's code has 0.999, for a million batches, and its mean still
            holds two thirds of its start after 400.
        class_thresholds: let each class have a threshold of its own.
        examples: number of clips without labels; used by class thresholds alone.
        **kwargs: name and so on.

    Raises:
        UserError: a number is out of range, or the prior is no distribution over K classes.
    """

    def __init__(
        self,
        classes: int,
        threshold: float = 0.8,
        *,
        alignment: bool = False,
        prior: Sequence[float] | np.ndarray | None = None,
        alignment_momentum: float = 0.99,
        class_thresholds: bool = False,
        examples: int = 0,
        **kwargs: Any,
    ) -> None:
        # In half precision a probability of 0.8 is a rough number, and small steps of the mean are lost.
        super().__init__(**{"dtype": "float32", **kwargs}, autocast=False)
        _check(classes, threshold, alignment_momentum, class_thresholds, examples)
        self.classes, self.threshold, self.examples = classes, threshold, examples
        self.alignment, self.alignment_momentum = alignment, alignment_momentum
        self.class_thresholds = class_thresholds
        self._prior = _distribution(prior, classes)
        if alignment:
            uniform = keras.initializers.Constant(1 / classes)
            self.mean = self._state("mean", (classes,), uniform, "float32")
        if class_thresholds:
            # "int" is the integer that TensorFlow keeps on an accelerator, which int32 is not.
            self.last = self._state("last", (examples,), keras.initializers.Constant(-1), "int")
        self.built = True

    def call(
        self, logits: Tensor, indices: Tensor | None = None, training: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the classes and which of them to believe.

        Args:
            logits: (N, K) of any float type.
            indices: which of the `examples` clips each row is, int (N,); wanted by class thresholds in training. Where
                a clip stands in a batch twice, its last confident row counts; where two devices have it with different
                classes, it keeps the class it had.
            training: take the batch into the state.

        Returns:
            targets int32 (N,), the most probable classes; accepted float32 (N,), 1 for those to believe, else 0.

        Raises:
            UserError: class thresholds are trained without indices.
        """
        logits = ops.cast(ops.stop_gradient(logits), "float32")
        sound = ops.all(ops.isfinite(logits), axis=-1)
        probabilities = ops.softmax(ops.where(sound[:, None], logits, 0.0), axis=-1)
        if self.alignment:
            probabilities = self._aligned(probabilities, sound, training)
        confidence = ops.max(probabilities, axis=-1)
        targets = ops.cast(ops.argmax(probabilities, axis=-1), "int32")
        accepted = ops.logical_and(sound, confidence >= ops.take(self.thresholds(), targets))
        if self.class_thresholds and training:
            self._remember(indices, targets, ops.logical_and(sound, confidence >= self.threshold))
        return ops.stop_gradient(targets), ops.stop_gradient(ops.cast(accepted, "float32"))

    def thresholds(self) -> Tensor:
        """Return the present threshold of each class, float32 (K,)."""
        if not self.class_thresholds:
            return ops.full((self.classes,), self.threshold, dtype="float32")
        last = ops.cast(self.last, "int32")
        counts = ops.segment_sum(ops.ones_like(last, dtype="float32"), last + 1, num_segments=self.classes + 1)
        # Eq. 11: the first of the counts is that of clips which were never given a class.
        learnt = counts[1:] / ops.max(counts)
        return self.threshold * learnt / (2 - learnt)

    def _state(self, name: str, shape: tuple[int, ...], initializer: keras.Initializer, dtype: str) -> keras.Variable:
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, dtype=dtype, trainable=False, autocast=False
        )

    def _aligned(self, probabilities: Tensor, sound: Tensor, training: bool | None) -> Tensor:
        """Return q' of q (N, K), after taking q into its mean in training."""
        mean = ops.convert_to_tensor(self.mean)
        if training:
            counted = ops.cast(sound, "float32")[:, None]
            sums = ops.sum(ops.concatenate([probabilities * counted, counted], axis=1), axis=0)
            total = _mean_over_devices(sums)
            batch, number = total[:-1], total[-1]
            moved = mean + (1 - self.alignment_momentum) * (batch / ops.maximum(number, _TINY) - mean)
            mean = ops.where(number > 0, moved, mean)
            self.mean.assign(mean)
        pulled = probabilities * ops.convert_to_tensor(self._prior) / ops.maximum(mean, _TINY)
        return pulled / ops.maximum(ops.sum(pulled, axis=-1, keepdims=True), _TINY)

    def _remember(self, indices: Tensor | None, targets: Tensor, confident: Tensor) -> None:
        """Put down the classes (N,) of the confident rows as those last given to their clips."""
        if indices is None:
            raise UserError("class thresholds of pseudo-labels want the indices of the clips in training, got none.")
        given, said = _of_clips(ops.cast(indices, "int32"), targets, confident, self.examples)
        mean = _mean_over_devices(ops.stack([given, said]))
        # Both are shares of the number of devices, which drops out: how many gave the clip a class, and which.
        agreed = ops.round(mean[1] / ops.maximum(mean[0], _TINY))
        clash = _mean_over_devices(given * ops.cast(said != agreed, "float32"))
        changed = ops.logical_and(mean[0] > 0, clash == 0)
        last = ops.convert_to_tensor(self.last)
        self.last.assign(ops.where(changed, ops.cast(agreed, last.dtype), last))


def _of_clips(indices: Tensor, targets: Tensor, confident: Tensor, examples: int) -> tuple[Tensor, Tensor]:
    """Return for each clip whether one of its rows is confident, 1 or 0, and the class of the last such row, or 0.

    Args:
        indices: the clip of each row, int32 (N,).
        targets: the class of each row, int32 (N,).
        confident: bool (N,).
        examples: E, the number of clips.

    Returns:
        Two float32 (E,).
    """
    position = ops.arange(ops.shape(indices)[0], dtype="int32")
    counted = ops.logical_and(indices[:, None] == indices[None, :], confident[None, :])
    final = ops.max(ops.where(counted, position[None, :], -1), axis=1)
    given = final >= 0
    said = ops.where(given, ops.take(targets, ops.maximum(final, 0)), 0)
    # All rows of one clip write the same, so it does not matter which of them a backend writes last.
    nothing = ops.zeros((examples,), dtype="float32")
    return tuple(ops.scatter_update(nothing, indices[:, None], ops.cast(values, "float32")) for values in (given, said))


def _mean_over_devices(values: Tensor) -> Tensor:
    """Return the mean of what the devices that share a batch have; only TensorFlow has several."""
    if keras.backend.backend() != "tensorflow":
        return values
    # Moments are what `keras.ops` can synchronise.
    return ops.moments(values[None], axes=[0], synchronized=True)[0]


def _distribution(prior: Sequence[float] | np.ndarray | None, classes: int) -> np.ndarray:
    """Return the shares of classes, float32 (K,), that add up to 1."""
    shares = np.ones(classes) if prior is None else np.asarray(prior, "float64")
    if shares.shape != (classes,) or not np.isfinite(shares).all() or shares.min() < 0 or not shares.sum() > 0:
        raise UserError(
            f"the prior of pseudo-labels must be {classes} shares of classes, at least 0 and not all 0, got {prior}."
        )
    return (shares / shares.sum()).astype("float32")


def _check(classes: int, threshold: float, momentum: float, class_thresholds: bool, examples: int) -> None:
    if classes < 1:
        raise UserError(f"pseudo-labels want at least 1 class, got {classes}.")
    if not 0 <= threshold <= 1:
        raise UserError(f"the threshold of pseudo-labels is a probability from 0 to 1, got {threshold}.")
    if not 0 <= momentum < 1:
        raise UserError(f"alignment_momentum of pseudo-labels must be at least 0 and below 1, got {momentum}.")
    if class_thresholds and examples < 1:
        raise UserError(f"class thresholds want the number of clips without labels as examples, got {examples}.")
