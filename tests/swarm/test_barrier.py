"""When a round is closed, and which files somebody may still need."""

from tests_support import publication

from keras_actrec.swarm import barrier
from keras_actrec.swarm.barrier import Patience

WAITS, GOES_ON = Patience(goes_on=False, deadline_sec=5), Patience(goes_on=True, deadline_sec=5)


def test_a_round_waits_for_all_that_are_active() -> None:
    assert barrier.members({0, 1, 2}, {0, 2}, 1e9, WAITS) is None
    assert barrier.members({0, 1, 2}, {2, 1, 0}, 0, WAITS) == (0, 1, 2)
    assert barrier.members({0, 1}, set(), 1e9, GOES_ON) is None


def test_one_that_failed_is_not_waited_for_but_counts_if_it_has_published() -> None:
    assert barrier.members({0, 1}, {0, 1}, 0, WAITS) == (0, 1)
    assert barrier.members({0, 1}, {0, 1, 2}, 0, WAITS) == (0, 1, 2)


def test_a_late_one_is_left_behind_after_the_deadline_alone() -> None:
    assert barrier.members({0, 1, 2}, {0, 1}, 4.9, GOES_ON) is None
    assert barrier.members({0, 1, 2}, {0, 1}, 5.0, GOES_ON) == (0, 1)
    assert barrier.members({0, 1, 2}, {0, 1}, 1e9, Patience(goes_on=True, deadline_sec=0)) is None


def test_files_stay_as_long_as_a_killed_particle_would_have_to_move_again() -> None:
    assert barrier.oldest_needed({0, 1}, {0: 7, 1: 6}) == 6
    assert barrier.oldest_needed({0, 1}, {0: 7}) == 1
    assert barrier.oldest_needed({0}, {0: 7, 1: 2}) == 7, "a failed particle needs nothing"
    assert barrier.oldest_needed(set(), {0: 9, 1: 9}) == 9


def test_best_positions_stay_while_a_kept_publication_names_them() -> None:
    told = [publication(0, 5, best_round=2), publication(0, 6, best_round=6), publication(1, 6, best_round=3)]
    assert barrier.best_needed(told, 5) == {0: {2, 6}, 1: {3}}
    assert barrier.best_needed(told, 6) == {0: {6}, 1: {3}}
