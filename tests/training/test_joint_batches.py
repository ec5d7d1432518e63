"""Batches of several data sets side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import toys

from keras_actrec.training.joint_batches import JointBatches


def loader(count: int, classes: int, *, shuffle: bool = True, batch_size: int = 4, seed: int = 0) -> toys.ArrayLoader:
    """Clips whose one value is their number, so that a batch tells which clips it holds."""
    clips = np.arange(count, dtype="float32").reshape(-1, 1, 1, 1, 1)
    labels = np.eye(classes, dtype="float32")[np.arange(count) % classes]
    return toys.ArrayLoader(clips, labels, batch_size=batch_size, shuffle=shuffle, noise=0.0, seed=seed)


def numbers(inputs: Any, name: str) -> list[int]:
    return np.asarray(inputs[f"{name}_rgb"]).ravel().astype(int).tolist()


def training(first: int = 14, second: int = 5) -> JointBatches:
    return JointBatches({"long": loader(first, 3), "short": loader(second, 2, seed=1)}, training=True)


def joined(lists: list[list[int]]) -> list[int]:
    return [number for part in lists for number in part]


def seen(batches: JointBatches, epoch: int) -> dict[str, list[list[int]]]:
    batches.set_epoch(epoch)
    found: dict[str, list[list[int]]] = {"long": [], "short": []}
    for inputs, labels in batches.dataset():
        for name, lists in found.items():
            lists.append(numbers(inputs, name))
            assert len(labels[name]) == len(lists[-1])
    return found


def test_rows_are_equally_many_and_the_longest_sets_the_length() -> None:
    batches = training()
    assert batches.steps == 4
    found = seen(batches, 0)
    assert [len(rows) for rows in found["long"]] == [len(rows) for rows in found["short"]] == [4, 4, 4, 2]
    assert sorted(joined(found["long"])) == list(range(14))


def test_the_shorter_one_goes_round_in_new_orders() -> None:
    rows = joined(seen(training(), 0)["short"])
    rounds = [rows[:5], rows[5:10]]
    assert [sorted(part) for part in rounds] == [list(range(5))] * 2
    assert rounds[0] != rounds[1]
    assert len(rows) == 14


def test_an_epoch_depends_on_its_number_alone() -> None:
    one, other = training(), training()
    first = [seen(one, epoch) for epoch in range(3)]
    assert seen(other, 2) == first[2]
    assert first[0] != first[1]


def test_no_round_of_a_shorter_one_is_shown_twice() -> None:
    """Rounds of all epochs are different epochs to the loader, so their random changes differ."""
    batches = training()
    asked: list[int] = []
    short = batches._loaders["short"]
    set_epoch = short.set_epoch
    short.set_epoch = lambda epoch: (asked.append(epoch), set_epoch(epoch))
    for epoch in range(3):
        seen(batches, epoch)
    assert len(set(asked)) == len(asked) == 9  # 14 of 5 rows take three rounds


def test_labels_belong_to_their_clips() -> None:
    batches = training()
    for inputs, labels in batches.dataset():
        assert [number % 3 for number in numbers(inputs, "long")] == np.argmax(labels["long"], axis=1).tolist()
        assert [number % 2 for number in numbers(inputs, "short")] == np.argmax(labels["short"], axis=1).tolist()


def test_validation_counts_each_clip_once() -> None:
    loaders = {"long": loader(9, 3, shuffle=False), "short": loader(6, 2, shuffle=False)}
    counted: dict[str, list[int]] = {"long": [], "short": []}
    for inputs, _, weights in JointBatches(loaders, training=False).dataset():
        for name, found in counted.items():
            kept = np.asarray(weights[name]) > 0
            assert len(kept) == len(inputs[f"{name}_rgb"])
            found.extend(np.array(numbers(inputs, name))[kept].tolist())
    assert counted == {"long": list(range(9)), "short": list(range(6))}


class Unreadable(toys.ArrayLoader):
    """A loader of which no clip can be read."""

    def batches(self) -> Iterator[Any]:
        yield from ()


def test_a_data_set_without_a_readable_clip_gives_nothing() -> None:
    """`fit` then says that no clip can be read."""
    empty = Unreadable(np.zeros((3, 1, 1, 1, 1), "float32"), np.eye(2, dtype="float32")[[0, 1, 0]])
    for is_training in (True, False):
        batches = JointBatches({"long": loader(9, 3), "empty": empty}, training=is_training)
        assert list(batches.dataset()) == []


def test_a_workers_error_is_handed_on() -> None:
    broken = loader(3, 2)
    broken.failure = RuntimeError("disk")
    assert JointBatches({"long": loader(9, 3), "broken": broken}, training=True).failure is broken.failure
