"""The order of an epoch that has several clips of a class side by side."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_actrec.data import pairs
from keras_actrec.errors import UserError


@st.composite
def wishes(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int]:
    """Labels in any order, of balanced and of unbalanced classes; batch size; clips per class; seed."""
    counts = draw(st.lists(st.integers(1, draw(st.sampled_from([2, 5, 40]))), min_size=1, max_size=8))
    clips_per_class = draw(st.integers(2, 4))
    seed = draw(st.integers(0, 2**16))
    # Numbers of classes with gaps: not every class of the list of classes has clips.
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 3, counts))
    return labels, clips_per_class * draw(st.integers(2, 6)), clips_per_class, seed


def ordered(wish: tuple[np.ndarray, int, int, int]) -> np.ndarray:
    labels, batch_size, clips_per_class, seed = wish
    return pairs.order(labels, batch_size, clips_per_class, np.random.default_rng(seed))


def classes_of_runs(wish: tuple[np.ndarray, int, int, int]) -> list[list[int]]:
    """Return for each batch the classes of its runs."""
    labels, batch_size, clips_per_class, _ = wish
    per_batch = batch_size // clips_per_class
    runs = labels[ordered(wish)][::clips_per_class].tolist()
    return [runs[start : start + per_batch] for start in range(0, len(runs), per_batch)]


def most_kinds(runs: list[int], rooms: list[int]) -> int:
    """Return the largest sum over batches of the number of its classes: the min cut of the flow from classes to them.

    Any dealing is a flow of at most one unit from each class to each batch; Gale and Ryser's theorem.
    """
    runs = sorted(runs, reverse=True)
    return min(sum(min(room, cut) for room in rooms) + sum(runs[cut:]) for cut in range(len(runs) + 1))


@settings(deadline=None, max_examples=200)
@given(wishes())
def test_runs_are_whole_and_hold_one_class(wish: tuple[np.ndarray, int, int, int]) -> None:
    labels, _, clips_per_class, _ = wish
    found = ordered(wish)
    assert found.dtype == np.int64 and len(found) % clips_per_class == 0
    runs = found.reshape(-1, clips_per_class)
    assert (labels[runs] == labels[runs][:, :1]).all()
    for run in runs:
        enough = (labels == labels[run[0]]).sum() >= clips_per_class
        assert len(set(run.tolist())) == clips_per_class or not enough


@settings(deadline=None, max_examples=200)
@given(wishes())
def test_every_example_occurs_about_once(wish: tuple[np.ndarray, int, int, int]) -> None:
    labels, batch_size, clips_per_class, _ = wish
    found = ordered(wish)
    assert len(found) == pairs.length(labels, batch_size, clips_per_class)
    times = np.bincount(found, minlength=len(labels))
    assert times.min() >= 1
    _, counts = np.unique(labels, return_counts=True)
    runs = -(-counts // clips_per_class)
    extra = len(found) - int(runs.sum()) * clips_per_class
    alone = len(runs) > 1 and runs.sum() % (batch_size // clips_per_class) == 1
    assert extra == (clips_per_class if alone else 0)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        of_class = times[labels == label]
        if not extra:
            assert of_class.sum() == -(-count // clips_per_class) * clips_per_class
        # Repeats go round: no example occurs twice more often than another of its class.
        assert of_class.max() - of_class.min() <= 1
        assert extra or of_class.max() <= 2 or count < clips_per_class


@settings(deadline=None, max_examples=300)
@given(wishes())
def test_batches_hold_as_many_classes_as_can_be(wish: tuple[np.ndarray, int, int, int]) -> None:
    batches = classes_of_runs(wish)
    _, runs = np.unique(np.concatenate(batches), return_counts=True)
    assert sum(len(set(batch)) for batch in batches) == most_kinds(runs.tolist(), [len(batch) for batch in batches])


@settings(deadline=None, max_examples=300)
@given(wishes())
def test_as_few_batches_as_can_be_hold_one_class(wish: tuple[np.ndarray, int, int, int]) -> None:
    batches = classes_of_runs(wish)
    _, runs = np.unique(np.concatenate(batches), return_counts=True)
    alone = sum(len(set(batch)) == 1 for batch in batches)
    others = int(runs.sum() - runs.max())
    assert alone == max(0, len(batches) - others)


def test_dealing_is_the_best_for_all_small_sets() -> None:
    for count in (2, 3, 4):
        for runs in itertools.combinations_with_replacement(range(1, 7), count):
            for per_batch in (2, 3, 4):
                given_runs = pairs._with_company(np.array(runs), per_batch)
                dealt = pairs._deal(given_runs, per_batch, np.random.default_rng(0))
                rooms = dealt.sum(axis=0)
                assert (dealt.sum(axis=1) == given_runs).all()
                assert (rooms[:-1] == per_batch).all() and 2 <= rooms[-1] <= per_batch
                assert (dealt > 0).sum() == most_kinds(given_runs.tolist(), rooms.tolist())
                others = int(given_runs.sum() - given_runs.max())
                assert ((dealt > 0).sum(axis=0) == 1).sum() == max(0, len(rooms) - others)


def test_balanced_classes_by_hand() -> None:
    """Eight classes of four clips, batches of four classes with two each: no class twice in a batch, no clip twice."""
    labels = np.tile(np.arange(8), 4)
    found = pairs.order(labels, 8, 2, np.random.default_rng(0))
    assert sorted(found.tolist()) == list(range(32))
    for batch in labels[found].reshape(4, 4, 2):
        assert len(set(batch[:, 0].tolist())) == 4 and (batch[:, 0] == batch[:, 1]).all()


def test_a_rare_class_is_spread_over_the_epoch() -> None:
    """100 runs of one class and 6 of two others: six batches of 27 hold two classes, and they lie anywhere."""
    labels = np.repeat([0, 1, 2], [200, 6, 6])
    places = []
    for seed in range(30):
        batches = classes_of_runs((labels, 8, 2, seed))
        mixed = [number for number, batch in enumerate(batches) if len(set(batch)) > 1]
        assert len(batches) == 27 and len(mixed) == 6
        places += mixed
    assert min(places) < 3 and max(places) > 23 and 9 < np.mean(places) < 17


def test_one_class_alone_is_ordered_all_the_same() -> None:
    found = pairs.order(np.zeros(5, int), 4, 2, np.random.default_rng(0))
    assert len(found) == 6 and set(found.tolist()) == set(range(5))
    assert pairs.order(np.zeros(1, int), 4, 2, np.random.default_rng(0)).tolist() == [0, 0]


def test_the_last_batch_is_given_company() -> None:
    """Nine runs in batches of four leave one: the rarer class gives another, so that there is something to compare."""
    labels = np.repeat([0, 1], [12, 6])
    for seed in range(20):
        wish = (labels, 8, 2, seed)
        batches = classes_of_runs(wish)
        assert [len(batch) for batch in batches] == [4, 4, 2] and set(batches[-1]) == {0, 1}
        times = np.bincount(ordered(wish))
        assert (times[labels == 0] == 1).all() and sorted(times[labels == 1].tolist()) == [1, 1, 1, 1, 2, 2]


def test_chance_decides_everything_else() -> None:
    labels = np.repeat(np.arange(6), 8)
    first, again, other = (pairs.order(labels, 8, 2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    partners, classmates, leaders = set(), set(), set()
    for seed in range(60):
        found = pairs.order(labels, 8, 2, np.random.default_rng(seed))
        partners |= {tuple(sorted(run)) for run in found.reshape(-1, 2).tolist()}
        for batch in labels[found].reshape(-1, 8):
            classmates |= set(itertools.combinations(sorted(set(batch.tolist())), 2))
        leaders.add(int(labels[found[0]]))
    assert len(partners) == 6 * 28 and len(classmates) == 15 and len(leaders) == 6


@pytest.mark.parametrize(("batch_size", "clips_per_class"), [(8, 3), (2, 2), (4, 1), (4, 0), (3, 2)])
def test_a_batch_must_hold_whole_runs_of_two_classes(batch_size: int, clips_per_class: int) -> None:
    with pytest.raises(UserError, match="clips"):
        pairs.order(np.arange(8), batch_size, clips_per_class, np.random.default_rng(0))


def test_clips_without_label_cannot_be_paired() -> None:
    for labels in (np.array([0, -1, 1]), np.zeros(0, int)):
        with pytest.raises(UserError, match="labels"):
            pairs.length(labels, 4, 2)


@settings(deadline=None, max_examples=150)
@given(wishes(), st.integers(1, 4))
def test_examples_of_one_clip_seldom_meet(wish: tuple[np.ndarray, int, int, int], instances: int) -> None:
    of_clips, batch_size, clips_per_class, seed = wish
    labels, clips = np.repeat(of_clips, instances), np.repeat(np.arange(len(of_clips)), instances)
    found = pairs.order(labels, batch_size, clips_per_class, np.random.default_rng(seed), clips)
    assert len(found) == pairs.length(labels, batch_size, clips_per_class)
    assert set(found.tolist()) == set(range(len(labels)))
    runs = clips[found].reshape(-1, clips_per_class)
    twice = np.array([len(set(run.tolist())) < clips_per_class for run in runs])
    for label, count in zip(*np.unique(of_clips, return_counts=True), strict=True):
        if count >= clips_per_class:
            # Only in a run that lies across the border of two rounds; filling up may begin two rounds more.
            borders = instances + 1 if count % clips_per_class else 0
            assert twice[labels[found[::clips_per_class]] == label].sum() <= borders


def test_one_example_of_each_clip_is_the_plain_order() -> None:
    labels = np.repeat(np.arange(5), 7)
    plain, named = (pairs.order(labels, 8, 2, np.random.default_rng(3), clips) for clips in (None, np.arange(35)))
    assert (plain == named).all()
