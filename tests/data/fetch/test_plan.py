"""Which clips of a class: the same ones whatever the order of lists, workers and interruptions."""

import random

import pytest

from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.data.fetch.plan import Candidate, ClassPlan
from keras_actrec.errors import UserError

GONE = FailureError("removed", Kind.GONE)


def candidates(count: int) -> list[Candidate]:
    return [Candidate(f"train/jump/{n:03d}.mp4", "jump", "train", f"training/{n}") for n in range(count)]


def plan(count: int = 20, most: int | None = 5, seed: int = 0, shuffle: int | None = None) -> ClassPlan:
    rows = candidates(count)
    if shuffle is not None:
        random.Random(shuffle).shuffle(rows)
    return ClassPlan("train", "jump", rows, most, f"{seed}/kinetics400")


def outcome(one: ClassPlan, dead: set[str], order: random.Random, workers: int) -> list[str]:
    """Fill a class with several downloads at a time that end in any order."""
    running: list[Candidate] = []
    while True:
        while len(running) < workers and (candidate := one.next()):
            running.append(candidate)
        if not running:
            return [row.path for row in one.chosen()]
        ended = running.pop(order.randrange(len(running)))
        one.busy.discard(ended.stem)
        if ended.stem in dead:
            one.dead[ended.stem] = GONE
        else:
            one.alive[ended.stem] = ended.path


def test_the_order_is_that_of_seed_and_names() -> None:
    assert plan(shuffle=1).order == plan(shuffle=2).order
    assert plan(seed=0).order != plan(seed=1).order
    assert plan().order != tuple(candidates(20))
    few, many = plan(most=3), plan(most=9)
    assert few.order[: few.wanted] == many.order[:3]


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("trial", range(5))
def test_the_choice_does_not_depend_on_what_came_first(workers: int, trial: int) -> None:
    dead = {one.stem for one in plan().order[1:9:3]}
    expected = [one.path for one in plan().order if one.stem not in dead][:5]
    assert outcome(plan(), dead, random.Random(trial), workers) == expected


def test_a_dead_one_is_replaced_by_the_next_and_no_more_than_needed_are_tried() -> None:
    one = plan()
    outcome(one, {one.order[0].stem}, random.Random(0), workers=4)
    assert set(one.alive) == {row.stem for row in one.order[1:6]}
    assert set(one.dead) == {one.order[0].stem}


def test_a_class_that_runs_out_lists_dead_ones_so_that_coverage_tells() -> None:
    one = plan(count=6, most=5)
    dead = {row.stem for row in one.order[2:6]}
    chosen = outcome(one, dead, random.Random(0), workers=2)
    assert len(chosen) == 5 == one.wanted
    assert one.present == 2
    assert set(chosen[:2]) == {row.path for row in one.order[:2]}
    everything = plan(count=6, most=None)
    outcome(everything, dead, random.Random(0), workers=2)
    assert (everything.wanted, everything.present, len(everything.chosen())) == (6, 2, 6)


def test_missing_is_what_would_be_chosen() -> None:
    one = plan()
    assert len(one.missing()) == 20
    for row in one.order[1:6]:
        one.alive[row.stem] = row.path
    assert one.missing() == [one.order[0]]
    one.dead[one.order[0].stem] = GONE
    assert one.missing() == []


def test_wants_the_better_ones_only() -> None:
    one = plan(most=2)
    one.alive = {one.order[3].stem: "a", one.order[5].stem: "b"}
    assert [one.wants(row) for row in one.order[:8]] == [True, True, True, False, True, False, False, False]
    assert one.last() == one.order[5].stem


@pytest.mark.parametrize("path", ["train/../../evil.mp4", "/etc/passwd.mp4", "train/.hidden/a.mp4", "train//a.mp4"])
def test_a_list_cannot_lead_out_of_the_folder(path: str) -> None:
    with pytest.raises(UserError, match="no path of a video"):
        Candidate(path, "x", "train", "g")
