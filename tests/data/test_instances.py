"""Several training examples per video, and training in another order of frames."""

from __future__ import annotations

import collections
import dataclasses
import itertools

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from numbered import PLAIN, STRONG, FakeSource, clips, digest, epoch_of, loader

from keras_actrec.data import sampling
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.views import Augmentation, View
from keras_actrec.errors import UserError

RUNS = View(frames=4, size=16, selection="random_run", normalization="none", augmentation=Augmentation(), instances=5)
"""Five clips of each video: frame t's red is 10 t, the clip's number is its green (see `FakeSource`)."""


def seen(one: Loader, epoch: int = 0) -> list[tuple[int, int]]:
    """Return the clip's number and the first frame of each example, in the order of the epoch."""
    batches = epoch_of(one, epoch)
    examples = np.concatenate([inputs["rgb"] for inputs, _ in batches])
    return [(int(example[0, 0, 0, 1]), int(example[0, 0, 0, 0]) // 10) for example in examples]


def test_each_video_gives_its_evenly_spread_clips_once() -> None:
    one = loader(views=(RUNS,))
    examples = seen(one)
    assert len(examples) == 55 and one.steps == 14 == len(epoch_of(one, 0))
    # 20 frames and runs of 4: the starts 0, 4, 8, 12, 16 lie side by side, as the paper wants it.
    assert sorted(examples) == [(clip, start) for clip in range(11) for start in (0, 4, 8, 12, 16)]


def test_clips_overlap_in_a_short_video() -> None:
    examples = seen(loader(clips(1), FakeSource(frames=8), views=(RUNS,)))
    assert sorted(start for _, start in examples) == [0, 1, 2, 3, 4]


def test_the_clips_are_those_that_evaluation_averages() -> None:
    evaluated = dataclasses.replace(RUNS, augmentation=None, instances=1, clips=5)
    expected = [int(sampling.select(20, evaluated, clip=clip)[0]) for clip in range(5)]
    assert sorted(start for _, start in seen(loader(clips(1), views=(RUNS,)))) == expected
    inputs, _ = next(loader(clips(1), views=(evaluated,)).evaluation_dataset().as_numpy_iterator())
    assert (inputs["rgb"][0, :, 0, 0, 0, 0] // 10).tolist() == expected


def test_all_examples_are_shuffled_together_and_anew_in_each_epoch() -> None:
    first, second = (seen(loader(views=(RUNS,)), epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) and first != second
    neighbours = [one[0] == other[0] for one, other in itertools.pairwise(first)]
    assert np.mean(neighbours) < 0.4
    plain = seen(loader(views=(RUNS,), shuffle=False))
    assert plain == [(clip, start) for clip in range(11) for start in (0, 4, 8, 12, 16)]


def test_labels_go_with_their_clips() -> None:
    for inputs, labels in epoch_of(loader(views=(RUNS,)), 3):
        assert labels.argmax(axis=1).tolist() == [int(clip[0, 0, 0, 1]) % 3 for clip in inputs["rgb"]]


def test_each_example_is_changed_by_a_draw_of_its_own() -> None:
    still = dataclasses.replace(RUNS, selection="shadow", augmentation=STRONG)
    examples = np.concatenate([inputs["rgb"] for inputs, _ in epoch_of(loader(clips(1), views=(still,)), 0)])
    assert len({example.tobytes() for example in examples}) == 5


@pytest.mark.parametrize("order", ["natural", "shuffled"])
def test_bytes_depend_on_seed_epoch_index_and_instance_alone(order: str) -> None:
    view = dataclasses.replace(RUNS, augmentation=STRONG, order=order)
    first = loader(source=FakeSource(slow=True), views=(view,), workers=1, mixup=0.3)
    epochs = [digest(epoch_of(first, epoch)) for epoch in range(3)]
    resumed = loader(source=FakeSource(slow=True), views=(view,), workers=4, mixup=0.3)
    assert digest(epoch_of(resumed, 2)) == epochs[2] and digest(epoch_of(resumed, 1)) == epochs[1]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    # With one bad clip the examples of the others stay as they were.
    whole, harmed = (
        np.concatenate([inputs["rgb"] for inputs, _ in epoch_of(loader(rows, views=(view,), shuffle=False), 1)])
        for rows in (clips(), clips(n4="empty"))
    )
    assert (np.delete(whole, range(20, 25), axis=0) == harmed).all()


def test_an_unreadable_clip_is_reported_once() -> None:
    quarantine = Quarantine()
    one = loader(clips(n2="empty", n7="cut"), views=(RUNS,), quarantine=quarantine)
    for epoch in range(2):
        left = collections.Counter(clip for clip, _ in seen(one, epoch))
        assert left == dict.fromkeys([0, 1, 3, 4, 5, 6, 8, 9, 10], 5)
        assert quarantine.count("train", epoch) == 2
    assert [entry.path for entry in quarantine.entries] == ["cut.avi", "empty.avi"]


def test_one_example_per_video_is_what_it_was_before() -> None:
    """The first example of several shares the draws of the only one."""
    one = dataclasses.replace(RUNS, selection="shadow", augmentation=STRONG, instances=1)
    several = dataclasses.replace(one, instances=3)
    only, first = (
        np.concatenate([inputs["rgb"] for inputs, _ in epoch_of(loader(views=(view,), shuffle=False), 1)])
        for view in (one, several)
    )
    assert (only == first[::3]).all()


def test_evaluation_does_not_multiply() -> None:
    batches = list(loader(views=(RUNS,)).evaluation_dataset().as_numpy_iterator())
    assert np.concatenate([indices for _, indices in batches]).tolist() == list(range(11))


def test_views_must_agree_on_the_number_of_examples() -> None:
    other = dataclasses.replace(PLAIN, name="other")
    with pytest.raises(UserError, match=r"same number of examples.*\[1, 5\]"):
        loader(views=(other, RUNS))
    with pytest.raises(UserError, match="at least 1"):
        loader(views=(dataclasses.replace(RUNS, instances=0),))


def reds(one: Loader, epoch: int) -> np.ndarray:
    """Return the numbers of the frames of each example (N, T), sorted by clip."""
    examples = np.concatenate([inputs["rgb"] for inputs, _ in epoch_of(one, epoch)])
    return examples[np.argsort(examples[:, 0, 0, 0, 1]), :, 0, 0, 0] // 10


@pytest.mark.parametrize("order", ["natural", "shuffled", "reversed", "frozen"])
def test_training_in_another_order_shows_the_same_frames(order: str) -> None:
    view = dataclasses.replace(RUNS, instances=1)
    before = reds(loader(views=(view,)), 2)
    after = reds(loader(views=(dataclasses.replace(view, order=order),)), 2)
    assert (np.diff(before) == 1).all()
    match order:
        case "natural":
            assert (after == before).all()
        case "reversed":
            assert (after == before[:, ::-1]).all()
        case "frozen":
            assert (after == before[:, 2:3]).all()
        case "shuffled":
            assert (np.sort(after) == before).all() and (after != before).any(axis=1).all()


def test_training_shuffles_frames_anew_in_each_epoch_and_alike_in_each_run() -> None:
    view = dataclasses.replace(RUNS, selection="shadow", instances=1, order="shuffled")
    first, second = reds(loader(views=(view,)), 0), reds(loader(views=(view,)), 1)
    assert len({tuple(row) for row in first}) > 3 and (first != second).any(axis=1).sum() > 5
    assert (reds(loader(views=(view,), workers=4), 1) == second).all()
    assert (reds(loader(views=(view,), seed=4), 1) != second).any()
