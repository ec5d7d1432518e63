"""The order of an epoch of which every batch holds several clips of each of its classes, for losses that compare clips.

The clips of each class are cut into runs of `clips_per_class`, and the runs are dealt to the batches: different classes
in a batch as far as there are enough of them, and never a batch of one class only as long as another class has a run
for it. Where a class has more runs than there are batches, the rest fills the places that are left: no clip is dropped
to balance classes. Then every order is shuffled that does not matter: of batches, of runs in a batch, of clips in a
class.

When one class has so many runs that the others cannot give one to each batch, as many batches as can be hold two
classes, and the rest hold that class alone. A loss that needs negatives, such as the N-pair loss, is 0 there. They lie
anywhere in the epoch, not at its end.
"""

from __future__ import annotations

import numpy as np

from keras_actrec.errors import UserError


def check(batch_size: int, clips_per_class: int) -> None:
    """Raise a UserError unless a batch can hold whole runs of two classes."""
    if clips_per_class < 2:
        raise UserError(f"expected at least 2 clips of a class in a batch, got clips_per_class: {clips_per_class}.")
    if batch_size % clips_per_class or batch_size < 2 * clips_per_class:
        raise UserError(
            f"the batch size must be a multiple of clips_per_class and at least twice as large, for two classes; got "
            f"a batch size of {batch_size} and {clips_per_class} clips per class."
        )


def length(labels: np.ndarray, batch_size: int, clips_per_class: int) -> int:
    """Return how many examples `order` gives: the same for every generator."""
    _, runs = _runs_of_classes(labels, batch_size, clips_per_class)
    return int(_with_company(runs, batch_size // clips_per_class).sum()) * clips_per_class


def order(
    labels: np.ndarray,
    batch_size: int,
    clips_per_class: int,
    rng: np.random.Generator,
    clips: np.ndarray | None = None,
) -> np.ndarray:
    """Return the order of the training examples of an epoch.

    Every example occurs once, but for these, which occur once more: some of a class whose number of examples is not a
    multiple of `clips_per_class` (as many as its last run lacks); the few of a class with fewer examples than that
    (again and again until its only run is full); and one run of a class other than the largest if the last batch would
    hold a single run.

    Args:
        labels: int (N,), the class of each example, at least 0.
        batch_size: examples per batch, a multiple of `clips_per_class`.
        clips_per_class: neighbouring examples of a class, at least 2.
        rng: where chance comes from.
        clips: int (N,), the clip that each example is of, where a clip makes several; None: each its own. Two examples
            of one clip look alike and teach little as a pair: all clips of a class have their turn, in an order drawn
            anew for each round, before one has its second. They meet only where one round ends and the next begins, or
            where the class has too few clips.

    Returns:
        int64 (M,), numbers of examples; positions c n to c n + c - 1 belong to one class, where c is `clips_per_class`.

    Raises:
        UserError: a label is negative, or the batch size does not fit.
    """
    classes, runs = _runs_of_classes(labels, batch_size, clips_per_class)
    per_batch = batch_size // clips_per_class
    runs = _with_company(runs, per_batch)
    dealt = _deal(runs, per_batch, rng)
    # The last batch, which may be smaller, stays the last.
    batches = np.append(rng.permutation(dealt.shape[1] - 1), dealt.shape[1] - 1)
    sequence = np.concatenate([rng.permutation(np.repeat(np.arange(len(runs)), dealt[:, batch])) for batch in batches])
    result = np.empty((len(sequence), clips_per_class), np.int64)
    for number, of_class in enumerate(classes):
        # Cyclically: as long as a class has enough examples, none occurs twice in a run.
        examples = rng.permutation(np.flatnonzero(labels == of_class))
        if clips is not None:
            examples = examples[np.argsort(_turns(clips[examples]), kind="stable")]
        result[sequence == number] = np.resize(examples, (runs[number], clips_per_class))
    return result.reshape(-1)


def _runs_of_classes(labels: np.ndarray, batch_size: int, clips_per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that occur, and how many runs hold all examples of each."""
    check(batch_size, clips_per_class)
    if len(labels) == 0 or labels.min() < 0:
        raise UserError("clips can only be paired by their labels, and some have none; leave them out of the training.")
    classes, counts = np.unique(labels, return_counts=True)
    return classes, -(-counts // clips_per_class)


def _turns(clips: np.ndarray) -> np.ndarray:
    """Return for each place how many places before it hold the same clip."""
    by_clip = np.argsort(clips, kind="stable")
    _, first, count = np.unique(clips[by_clip], return_index=True, return_counts=True)
    turns = np.empty(len(clips), np.int64)
    turns[by_clip] = np.arange(len(clips)) - np.repeat(first, count)
    return turns


def _with_company(runs: np.ndarray, per_batch: int) -> np.ndarray:
    """Add a run where the last batch would hold a single one: the class with the fewest runs gives it."""
    if len(runs) > 1 and runs.sum() % per_batch == 1:
        runs = runs.copy()
        runs[np.argmin(runs)] += 1
    return runs


def _deal(runs: np.ndarray, per_batch: int, rng: np.random.Generator) -> np.ndarray:
    """Deal the runs of each class (K,) to batches (M,): int (K, M), how many runs of a class a batch holds.

    The largest class first, one run per batch, to the batches with the most room: the canonical construction of a 0-1
    matrix with given sums (Gale and Ryser), which leaves over as few runs as can be. A batch with but one class so far
    goes before, lest it stays alone. What is left over fills the room that is left.
    """
    total = int(runs.sum())
    room = np.full(-(-total // per_batch), per_batch)
    room[-1] = total - per_batch * (len(room) - 1)
    kinds = np.zeros_like(room)
    dealt = np.zeros((len(runs), len(room)), np.int64)
    largest_first = rng.permutation(len(runs))
    largest_first = largest_first[np.argsort(-runs[largest_first], kind="stable")]
    for number in largest_first:
        candidates = np.flatnonzero(room)
        best = np.lexsort((rng.random(len(candidates)), -room[candidates], kinds[candidates] >= 2))
        chosen = candidates[best[: runs[number]]]
        dealt[number, chosen] = 1
        room[chosen] -= 1
        kinds[chosen] += 1
    for number in largest_first:
        while left := int(runs[number] - dealt[number].sum()):
            candidates = np.flatnonzero(room)
            best = np.lexsort((rng.random(len(candidates)), dealt[number, candidates]))
            chosen = candidates[best[:left]]
            dealt[number, chosen] += 1
            room[chosen] -= 1
    return dealt
