"""The order of the examples of an epoch: which clip comes when, and which example of it.

It depends on (seed, epoch) alone. An example is told by (epoch, index of the clip, instance), which is also what its
random draws are derived from (see `assemble.Key`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_actrec.data import assemble, pairs
from keras_actrec.data.views import View
from keras_actrec.errors import UserError


class EpochOrder:
    """Orders of the epochs of one list of clips.

    Attributes:
        length: examples of a training epoch.
    """

    def __init__(
        self,
        labels: np.ndarray,
        views: Sequence[View],
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        mixup: float = 0.0,
        clips_per_class: int = 0,
        examples: int = 0,
    ) -> None:
        """Check the wishes.

        Args:
            labels: int (N,), the class of each clip, -1 where it has none.
            views: of which each clip gives `instances` examples.
            batch_size: examples per batch.
            seed: of the shuffling.
            shuffle: a new order in each epoch, else that of the list.
            mixup: whether (above 0) examples are mixed, which does not go with `clips_per_class`.
            clips_per_class: neighbouring examples of a class (see `data.pairs`), 0: left to chance.
            examples: of a training epoch; the clips go round. 0: each once.

        Raises:
            UserError: a wish that cannot be met.
        """
        self._instances = views[0].instances
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._count, self._examples = len(labels), examples
        self._clips_per_class = clips_per_class if shuffle else 0
        self._labels = self._per_example(labels)
        _check(examples, self._instances, clips_per_class)
        self.length = examples or len(self._labels)
        if self._clips_per_class:
            self.length = self._paired_length(mixup)

    def training(self, epoch: int) -> np.ndarray:
        """Return int64 (length, 3) of epoch, index and instance.

        With `examples` the clips go round: fresh permutations of all clips follow one another, and the instance is the
        number of the round. The first round is the order without `examples`.
        """
        rng = assemble.Key(self._seed, epoch, 0).generator(assemble.PERMUTE)
        if self._examples:
            return _rows(epoch, *self._rounds(rng))
        examples = np.arange(len(self._labels))
        if self._clips_per_class:
            clips = self._per_example(np.arange(self._count))
            examples = pairs.order(self._labels, self._batch_size, self._clips_per_class, rng, clips)
        elif self._shuffle:
            examples = rng.permutation(examples)
        return _rows(epoch, *np.divmod(examples, self._instances))

    def stand_ins(self, key: assemble.Key) -> Iterator[assemble.Key]:
        """Yield all other examples that may take the place of one, in a random order; none where each comes once.

        Each is of an instance of its own, so that a clip which stands in for another is not shown twice alike.
        """
        if not self._examples:
            return
        rounds = -(-self._examples // self._count)
        instance = rounds + key.instance * self._count + key.index
        for index in key.generator(assemble.STAND_IN).permutation(self._count):
            if index != key.index:
                yield assemble.Key(key.seed, key.epoch, int(index), instance)

    def _rounds(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return indices and numbers of rounds, each int64 (examples,)."""
        numbers = np.arange(self._examples) // self._count
        rounds = range(int(numbers[-1]) + 1)
        clips = np.arange(self._count)
        orders = [rng.permutation(clips) if self._shuffle else clips for _ in rounds]
        return np.concatenate(orders)[: self._examples], numbers

    def _paired_length(self, mixup: float) -> int:
        if mixup:
            raise UserError(
                "MixUp gives a clip two classes, and clips are paired by their class; set data.augmentation.mixup: 0 "
                "or train with cross entropy."
            )
        return pairs.length(self._labels, self._batch_size, self._clips_per_class)

    def _per_example(self, of_clips: np.ndarray) -> np.ndarray:
        return np.repeat(of_clips, self._instances)


def in_turn(epoch: int, clips: int) -> np.ndarray:
    """Return int64 (clips, 3) of epoch, index and instance: each clip once, in the order of the list."""
    indices = np.arange(clips)
    return _rows(epoch, indices, np.zeros_like(indices))


def _rows(epoch: int, indices: np.ndarray, instances: np.ndarray) -> np.ndarray:
    return np.stack([np.full_like(indices, epoch), indices, instances], axis=1)


def _check(examples: int, instances: int, clips_per_class: int) -> None:
    if examples < 0:
        raise UserError(f"expected a number of examples of at least 0 (0: each clip once), got {examples}.")
    if examples and instances > 1:
        raise UserError(
            f"expected one example of a clip in each round where an epoch has a length of its own ({examples} "
            f"examples), got {instances} examples of each clip; set one of the two only."
        )
    if examples and clips_per_class:
        raise UserError(
            f"expected clips in an order left to chance where an epoch has a length of its own ({examples} examples), "
            f"got clips_per_class: {clips_per_class}; set one of the two only."
        )
