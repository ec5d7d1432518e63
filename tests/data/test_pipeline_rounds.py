"""Epochs of a length of their own, in which the clips go round; batches that tell their clips; batches of one size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from numbered import CLASSES, PLAIN, STRONG, FakeSource, clips, digest, epoch_of, loader

from keras_actrec.data import assemble
from keras_actrec.data.manifest import Clip
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.targets import Target
from keras_actrec.data.views import View
from keras_actrec.errors import UserError

DRAWN = View(frames=4, size=16, selection="random_run", normalization="none", augmentation=STRONG)


def order(one: Loader, epoch: int = 0) -> list[int]:
    """Return the clips of an epoch, told by the batches' indices and checked against the frames' own numbers."""
    one.set_epoch(epoch)
    found = []
    for inputs, labels, indices in one.dataset(indexed=True).as_numpy_iterator():
        assert indices.dtype == np.int32 and len(indices) == len(labels) == len(inputs["rgb"])
        assert [int(clip[0, 0, 0, 1]) for clip in inputs["rgb"]] == indices.tolist()
        assert labels.argmax(axis=1).tolist() == [index % 3 for index in indices]
        found += indices.tolist()
    return found


def test_the_clips_go_round_in_fresh_permutations() -> None:
    one = loader(views=(PLAIN,), examples=30)
    whole = order(one, 2)
    assert one.steps == 8 and len(whole) == 30
    first, second, third = whole[:11], whole[11:22], whole[22:]
    assert sorted(first) == sorted(second) == list(range(11)) and len(set(third)) == 8
    assert first != second and third != first[:8] and third != second[:8]
    # The first round is the epoch without `examples`; a shorter epoch is a beginning of a longer one.
    assert first == order(loader(views=(PLAIN,)), 2)
    assert order(loader(views=(PLAIN,), examples=5), 2) == whole[:5]
    assert order(loader(views=(PLAIN,), examples=22), 2) == whole[:22]
    assert order(one, 3) != whole and order(one, 2) == whole


def test_without_shuffling_the_list_goes_round() -> None:
    assert order(loader(views=(PLAIN,), shuffle=False, examples=25), 4) == [*range(11), *range(11), 0, 1, 2]


@pytest.mark.parametrize(("examples", "steps"), [(1, 1), (4, 1), (5, 2), (12, 3), (13, 4)])
def test_steps_are_the_batches_of_an_epoch(examples: int, steps: int) -> None:
    one = loader(views=(PLAIN,), examples=examples)
    assert one.steps == steps == len(epoch_of(one, 0))


def test_the_first_round_is_todays_epoch_and_later_ones_draw_anew() -> None:
    calm = {"views": (DRAWN,), "shuffle": False, "batch_size": 11}
    ((plain, _),) = epoch_of(loader(**calm), 1)
    rounds = [inputs["rgb"] for inputs, _ in epoch_of(loader(**calm, examples=33), 1)]
    assert (rounds[0] == plain["rgb"]).all()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        changed = (rounds[one] != rounds[other]).any(axis=(1, 2, 3, 4))
        assert changed.all()
        # Another choice of frames as well: their numbers are the reds, where no colour is changed.
    still = dataclasses.replace(DRAWN, augmentation=dataclasses.replace(STRONG, brightness=0.0, hue=0.0))
    spatial = [inputs["rgb"] for inputs, _ in epoch_of(loader(**{**calm, "views": (still,)}, examples=22), 1)]
    reds = [frames[:, :, 8, 8, 0] for frames in spatial]
    assert (reds[0] != reds[1]).any(axis=1).sum() > 5


def test_an_example_of_round_k_is_instance_k_of_its_clip() -> None:
    """Each example is what `assemble` makes of (seed, epoch, index, round)."""
    one = loader(views=(DRAWN,), examples=25)
    rows = one._training_order(np.zeros(()))
    assert (rows[:, 0] == 0).all() and rows[:, 2].tolist() == [0] * 11 + [1] * 11 + [2] * 3
    found = np.concatenate([inputs["rgb"] for inputs, _ in epoch_of(one, 0)])
    for row, example in zip(rows, found, strict=True):
        (expected,) = assemble.assemble(one.clips[row[1]], (DRAWN,), FakeSource(), assemble.Key(3, *map(int, row)))
        assert (example == expected).all()


def test_validation_sees_the_same_frames_in_each_round() -> None:
    calm = dataclasses.replace(DRAWN, augmentation=None)
    first, second = epoch_of(loader(views=(calm,), shuffle=False, batch_size=11, examples=22), 3)
    assert (first[0]["rgb"] == second[0]["rgb"]).all()


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_bytes_do_not_depend_on_the_number_of_workers(mixup: float) -> None:
    first = loader(source=FakeSource(slow=True), workers=1, mixup=mixup, examples=26)
    epochs = [digest(epoch_of(first, epoch)) for epoch in range(2)]
    second = loader(source=FakeSource(slow=True), workers=4, mixup=mixup, examples=26)
    assert digest(epoch_of(second, 1)) == epochs[1] and digest(epoch_of(second, 0)) == epochs[0]
    assert epochs[0] != epochs[1]


def test_another_clip_stands_in_for_a_bad_one_which_is_reported_once() -> None:
    quarantine = Quarantine()
    one = loader(clips(n2="empty", n7="cut"), views=(PLAIN,), examples=44, quarantine=quarantine)
    whole, found = order(loader(views=(PLAIN,), examples=44), 5), order(one, 5)
    assert len(found) == 44
    assert {2, 7}.isdisjoint(found)
    stood_in = [number for number, asked in zip(found, whole, strict=True) if asked in (2, 7)]
    assert [number for number in whole if number not in (2, 7)] == [
        number for number, asked in zip(found, whole, strict=True) if asked == number
    ]
    assert len(stood_in) == 8 and len(set(stood_in)) > 2
    assert quarantine.count("train", 5) == 2 and len(quarantine) == 2


def test_which_one_stands_in_depends_on_neither_threads_nor_what_is_known_already() -> None:
    rows = clips(n0="empty0", n2="cut2", n3="cut3", n5="empty5", n7="cut7")
    known = Quarantine()
    epochs = [
        digest(epoch_of(loader(rows, source, workers=workers, examples=25, quarantine=known), 2))
        for source, workers in ((FakeSource(), 1), (FakeSource(slow=True), 4), (FakeSource(slow=True), 2))
    ]
    assert epochs[0] == epochs[1] == epochs[2]
    assert len(known) == 5


def test_a_clip_that_stands_in_is_not_shown_twice_alike() -> None:
    rows = clips(3, n0="empty", n1="cut")
    one = loader(rows, views=(DRAWN,), examples=9)
    shown = {clip.tobytes() for inputs, _ in epoch_of(one, 0) for clip in inputs["rgb"]}
    assert len(shown) == 9


def test_where_no_clip_can_be_read_an_epoch_of_any_length_is_empty() -> None:
    source, quarantine = FakeSource(), Quarantine()
    assert (
        epoch_of(loader(clips(3, n0="cut", n1="cut1", n2="cut2"), source, examples=300, quarantine=quarantine), 0) == []
    )
    assert len(quarantine) == 3
    assert len(source.reads) < 320


def test_evaluation_ignores_it() -> None:
    batches = list(loader(views=(PLAIN,), examples=30).evaluation_dataset().as_numpy_iterator())
    assert np.concatenate([indices for _, indices in batches]).tolist() == list(range(11))


def test_what_does_not_go_together_is_said() -> None:
    several = dataclasses.replace(DRAWN, instances=3)
    with pytest.raises(UserError, match=r"one example of a clip in each round.*3 examples of each clip"):
        loader(views=(several,), examples=20)
    with pytest.raises(UserError, match="clips_per_class: 2; set one of the two"):
        loader(clips(24), clips_per_class=2, examples=20)
    with pytest.raises(UserError, match=r"at least 0.*got -1"):
        loader(examples=-1)


def test_indices_come_beside_the_same_batches() -> None:
    one = loader()
    spec = one.dataset(indexed=True).element_spec[2]
    assert spec.shape.as_list() == [None] and spec.dtype.as_numpy_dtype == np.int32
    assert len(one.dataset().element_spec) == 2
    one.set_epoch(1)
    told = [(inputs, labels) for inputs, labels, _ in one.dataset(indexed=True).as_numpy_iterator()]
    assert digest(told) == digest(epoch_of(loader(), 1))


def test_indices_are_told_with_mixup_and_with_targets() -> None:
    plain = order(loader(views=(PLAIN,)), 1)
    mixed = loader(views=(PLAIN,), mixup=0.4)
    mixed.set_epoch(1)
    assert [n for *_, indices in mixed.dataset(indexed=True).as_numpy_iterator() for n in indices] == plain
    target = Target("label", CLASSES, (0, 1, 2))
    several = loader(views=(PLAIN,), targets=(target,))
    several.set_epoch(1)
    found = list(several.dataset(indexed=True).as_numpy_iterator())
    assert [n for *_, indices in found for n in indices] == plain
    for _, labels, indices in found:
        assert labels["label"].argmax(axis=1).tolist() == [index % 3 for index in indices]


@pytest.mark.parametrize(("count", "left"), [(11, 2), (12, 3), (3, 0)])
def test_the_smaller_last_batch_can_be_dropped(count: int, left: int) -> None:
    one = loader(clips(count))
    data = one.dataset(drop_remainder=True)
    inputs, labels = data.element_spec
    assert inputs["rgb"].shape.as_list() == [4, 4, 16, 16, 3] and labels.shape.as_list() == [4, 3]
    found = list(data.as_numpy_iterator())
    assert len(found) == left and digest(found) == digest(epoch_of(one, 0))[:left]


def test_whole_batches_can_be_mixed_and_indexed() -> None:
    one = loader(mixup=0.3)
    data = one.dataset(indexed=True, drop_remainder=True)
    assert [part.shape.as_list() for part in data.element_spec[1:]] == [[4, 3], [4]]
    found = [(inputs, labels) for inputs, labels, _ in data.as_numpy_iterator()]
    assert len(found) == 2 and digest(found) == digest(epoch_of(one, 0))[:2]


def test_unlabelled_clips_have_their_truth_where_it_is_known() -> None:
    rows = [
        Clip("clip01.avi", "run", "unlabelled"),
        Clip("clip02.avi", None, "unlabelled"),
        Clip("clip03.avi", "sit", "train"),
        Clip("clip04.avi", "jump", "unlabelled"),
    ]
    ((_, labels, indices),) = loader(rows, shuffle=False).dataset(indexed=True).as_numpy_iterator()
    assert labels.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert indices.tolist() == [0, 1, 2, 3]
