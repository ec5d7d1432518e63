"""Loaders that put clips of one class side by side."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from numbered import CLASSES, PLAIN, FakeSource, clips, digest, epoch_of, loader

from keras_actrec.data.manifest import Clip
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.views import Augmentation
from keras_actrec.errors import UserError


def seen(one: Loader, epoch: int = 0) -> list[list[tuple[int, int]]]:
    """Return for each batch the numbers of its clips and of their classes."""
    batches = []
    for inputs, labels in epoch_of(one, epoch):
        numbers = [int(np.median(clip[..., 1]).round()) for clip in inputs["rgb"]]
        batches.append(list(zip(numbers, labels.argmax(axis=1).tolist(), strict=True)))
    return batches


def paired(count: int = 24, **options: object) -> Loader:
    rows = options.pop("rows", None)
    return loader(clips(count) if rows is None else rows, **{"views": (PLAIN,), "clips_per_class": 2, **options})


def test_neighbours_share_their_class_and_batches_hold_several() -> None:
    for epoch in range(3):
        batches = seen(paired(), epoch)
        assert [len(batch) for batch in batches] == [4] * 6
        for (one, a), (other, b), (third, c), (fourth, d) in batches:
            assert a == b != c == d and one != other and third != fourth
        assert sorted(number for batch in batches for number, _ in batch) == list(range(24))
        assert all(label == number % 3 for batch in batches for number, label in batch)


def test_steps_count_what_is_repeated() -> None:
    # 11 clips, 4 + 4 + 3 of a class: six runs of two.
    one = paired(11)
    batches = seen(one)
    assert one.steps == len(batches) == 3
    times = collections.Counter(number for batch in batches for number, _ in batch)
    assert set(times) == set(range(11)) and sum(times.values()) == 12
    # One clip of each class: three runs, and a fourth that keeps the third company; without pairs one batch.
    assert paired(3).steps == len(seen(paired(3))) == 2 and loader(clips(3)).steps == 1


def test_nothing_changes_without_it() -> None:
    assert digest(epoch_of(loader(clips_per_class=0), 2)) == digest(epoch_of(loader(), 2))
    calm = {"shuffle": False, "views": (PLAIN,)}
    in_order = loader(**calm, clips_per_class=2)
    assert in_order.steps == 3 and digest(epoch_of(in_order, 1)) == digest(epoch_of(loader(**calm), 1))
    first, second = (
        [indices.tolist() for _, indices in one.evaluation_dataset().as_numpy_iterator()]
        for one in (paired(), loader(clips(24)))
    )
    assert first == second


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = paired(source=FakeSource(slow=True), workers=1)
    epochs = [digest(epoch_of(first, epoch)) for epoch in range(3)]
    resumed = paired(source=FakeSource(slow=True), workers=4)
    assert digest(epoch_of(resumed, 2)) == epochs[2] and digest(epoch_of(resumed, 0)) == epochs[0]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert digest(epoch_of(paired(seed=4), 0)) != epochs[0]


def test_an_example_is_the_same_wherever_it_stands() -> None:
    """The order changes, the draws of a clip do not."""
    view = dataclasses.replace(PLAIN, selection="random_run", augmentation=Augmentation(flip=0.5))
    found = []
    for one in (paired(views=(view,)), loader(clips(24), views=(view,))):
        examples = np.concatenate([inputs["rgb"] for inputs, _ in epoch_of(one, 1)])
        found.append(examples[np.argsort(examples[:, 0, 0, 0, 1])])
    assert (found[0] == found[1]).all()


def test_several_examples_of_a_clip_are_paired_like_clips() -> None:
    view = dataclasses.replace(PLAIN, selection="random_run", augmentation=Augmentation(), instances=3)
    one = paired(8, views=(view,), batch_size=6)
    batches = seen(one)
    # 3 + 3 + 2 clips of a class: 9 + 9 + 6 examples, 5 + 5 + 3 runs, and one that keeps the last company: five batches.
    assert one.steps == len(batches) == 5
    times = collections.Counter(number for batch in batches for number, _ in batch)
    assert set(times) == set(range(8)) and min(times.values()) == 3 and sum(times.values()) == 28
    runs = [run for batch in batches for run in zip(batch[::2], batch[1::2], strict=True)]
    assert all(first[1] == second[1] for first, second in runs)
    # Two examples of one clip meet only at the borders of the rounds, of which a class of three clips has two.
    assert sum(first[0] == second[0] for first, second in runs) <= 4


def test_unreadable_clips_drop_out_and_the_rest_moves_up() -> None:
    quarantine = Quarantine()
    batches = seen(paired(rows=clips(24, n2="empty", n7="cut"), quarantine=quarantine))
    whole = [example for batch in seen(paired()) for example in batch]
    left = [example for batch in batches for example in batch]
    assert left == [(number, label) for number, label in whole if number not in (2, 7)]
    assert quarantine.count("train", 0) == 2 and [len(batch) for batch in batches] == [4] * 5 + [2]


def test_what_cannot_be_paired_is_said() -> None:
    rows = [*clips(4), Clip("clip04.avi", None, "train")]
    with pytest.raises(UserError, match="labels, and some have none"):
        paired(rows=rows)
    with pytest.raises(UserError, match="multiple of clips_per_class"):
        paired(batch_size=5)
    with pytest.raises(UserError, match="MixUp"):
        paired(mixup=0.2)
    # Two clips of a class and one of each other: three runs, and one for company.
    assert paired(rows=[clip for clip in rows if clip.label in CLASSES]).steps == 2
