"""Who rests, was lost, has failed or comes back, as the server sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from world import RESULT, World

from keras_actrec.swarm.coordinator import LEFT_BEHIND, OccupiedError, RefusedError
from keras_actrec.swarm.state import Phase, Standing


def finish(swarm: World, particle: int) -> None:
    swarm.coordinator.finish(particle, f"process of {particle}", RESULT)


def test_a_pause_is_not_counted_as_waiting(world: Callable[..., World]) -> None:
    swarm = world(straggler="go_on", deadline_sec=30)
    swarm.join(0, 1)
    swarm.publish(0, 1)
    swarm.later(20)
    swarm.coordinator.pause()
    for _ in range(5):
        swarm.sign(0, Phase.PAUSED), swarm.sign(1, Phase.PAUSED)
        swarm.later(50)
    assert swarm.store.journal.members(1) is None, "the other one only rests"
    swarm.coordinator.resume()
    swarm.later(9)
    assert swarm.store.journal.members(1) is None
    swarm.later(2)
    assert swarm.store.journal.members(1) == (0,)


def test_a_round_is_complete_whether_they_rest_or_not(world: Callable[..., World]) -> None:
    swarm = world(straggler="go_on", deadline_sec=30)
    swarm.join(0, 1)
    swarm.coordinator.pause()
    swarm.publish(0, 1), swarm.publish(1, 1)
    assert swarm.store.journal.members(1) == (0, 1)


def test_stopping_leaves_nobody_behind(world: Callable[..., World]) -> None:
    swarm = world(straggler="go_on", deadline_sec=5)
    swarm.join(0, 1)
    swarm.publish(0, 1)
    swarm.coordinator.stop()
    swarm.later(20)
    assert swarm.coordinator.standing is Standing.STOPPING
    assert swarm.store.journal.members(1) is None


def test_who_went_for_good_is_not_waited_for_when_all_others_have_finished(world: Callable[..., World]) -> None:
    swarm = world(by_hand=True, straggler="go_on", deadline_sec=30, silence_sec=60, server_sec=600, on_failure="stop")
    swarm.join(0, 1)
    swarm.publish(0, 1)
    swarm.later(61)
    for number in (2, 3):
        swarm.publish(0, number)
        swarm.later(31)
    assert swarm.row(1)["phase"] == Phase.LOST
    swarm.later(700)
    assert swarm.row(1)["phase"] == Phase.LOST, "it may come back as long as others are at work"
    finish(swarm, 0)
    swarm.later(1)
    assert swarm.coordinator.standing is Standing.FINISHED
    assert swarm.row(1)["message"] == "it has not come back, and all others have finished"
    assert swarm.directory.result.is_file()


def test_who_is_away_for_a_while_is_waited_for(world: Callable[..., World]) -> None:
    swarm = world(by_hand=True, straggler="go_on", deadline_sec=30, silence_sec=60, server_sec=600)
    swarm.join(0, 1)
    for number in (1, 2, 3):
        swarm.publish(0, number)
        swarm.later(31)
    finish(swarm, 0)
    swarm.later(500)
    assert swarm.coordinator.standing is Standing.RUNNING
    swarm.coordinator.join(1, "process of 1", 7, "there")
    swarm.later(59)
    for number in (1, 2, 3):
        swarm.publish(1, number)
    finish(swarm, 1)
    swarm.later(1)
    assert swarm.coordinator.standing is Standing.FINISHED
    assert swarm.coordinator.result()["particles"][1]["test_top1"] == RESULT["test_top1"]


def left_behind(world: Callable[..., World], *, by_hand: bool) -> World:
    """A swarm of three; the second one failed in round 1, and the others are two rounds ahead."""
    swarm = world(by_hand=by_hand, particles=3, epochs=4)
    swarm.join(0, 1, 2)
    for particle in range(3):
        swarm.publish(particle, 1)
    swarm.coordinator.fail(1, "process of 1", "its training diverged", "user")
    for number in (2, 3):
        swarm.publish(0, number), swarm.publish(2, number)
    assert swarm.store.journal.get("oldest") == 3
    return swarm


def test_who_has_failed_stays_out_when_what_he_needs_is_gone(world: Callable[..., World]) -> None:
    swarm = left_behind(world, by_hand=False)
    swarm.processes.started.clear()
    swarm.resume()
    assert swarm.processes.started == [0, 2]
    assert swarm.row(1)["phase"] == Phase.FAILED
    assert LEFT_BEHIND in swarm.row(1)["message"]
    swarm.join(0, 2)
    finish(swarm, 0), finish(swarm, 2)
    swarm.later(1)
    assert swarm.coordinator.standing is Standing.FINISHED


def test_who_has_failed_and_is_started_by_hand_is_told(world: Callable[..., World]) -> None:
    swarm = left_behind(world, by_hand=True)
    with pytest.raises(RefusedError, match="cannot take part again"):
        swarm.coordinator.join(1, "another", 8, "here")


def test_who_has_failed_is_tried_again_as_long_as_his_round_is_there(world: Callable[..., World]) -> None:
    swarm = world(particles=3)
    swarm.join(0, 1, 2)
    for particle in range(3):
        swarm.publish(particle, 1)
    swarm.coordinator.fail(1, "process of 1", "its training diverged", "user")
    swarm.processes.started.clear()
    swarm.resume()
    assert swarm.processes.started == [0, 1, 2]


def test_a_place_that_is_taken_is_told_apart_from_other_refusals(world: Callable[..., World]) -> None:
    swarm = world(by_hand=True)
    swarm.join(0)
    with pytest.raises(OccupiedError):
        swarm.coordinator.join(0, "another", 1, "there")
    with pytest.raises(RefusedError) as caught:
        swarm.coordinator.join(9, "another", 1, "there")
    assert not isinstance(caught.value, OccupiedError)
