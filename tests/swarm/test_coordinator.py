"""The server's mind, with a clock and processes that the test controls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests_support import move, publication
from world import RESULT, World

from keras_actrec.swarm.coordinator import LeaveRequest, RefusedError
from keras_actrec.swarm.journal import StorageFullError
from keras_actrec.swarm.state import Command, Kind, Phase, Sign, Standing


def test_a_round_is_closed_when_all_have_published_and_never_before(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.publish(0, 1)
    swarm.later(50)
    assert swarm.others(0, 1) is None
    swarm.sign(0), swarm.sign(1)
    swarm.publish(1, 1)
    assert swarm.others(0, 1) == [0, 1]
    assert swarm.others(0, 2) is None


def test_publishing_twice_counts_once_and_the_first_one_stays(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.publish(0, 1, fitness=-1.0)
    again = publication(0, 1, fitness=-2.0)
    assert swarm.coordinator.publish(0, "process of 0", again).fitness == -1.0
    assert swarm.others(0, 1) is None


def test_a_dead_particle_is_started_again_and_the_others_wait(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.publish(0, 1)
    swarm.processes.codes[1] = -9
    swarm.later(0.1)
    assert swarm.processes.started == [0, 1, 1]
    assert swarm.row(1)["restarts"] == 1
    assert swarm.others(0, 1) is None
    events = [event.text for event in swarm.store.journal.events()]
    assert any("ended with code -9 (last words of 1)" in text for text in events)
    swarm.coordinator.join(1, "process of 1", 9, "here")
    swarm.publish(1, 1)
    assert swarm.others(0, 1) == [0, 1]


def test_a_silent_particle_is_killed_and_started_again(world: Callable[..., World]) -> None:
    swarm = world(silence_sec=60)
    swarm.join(0, 1)
    swarm.later(59)
    swarm.sign(0)
    swarm.later(2)
    assert swarm.processes.killed == [1]
    assert swarm.processes.started == [0, 1, 1]


def test_a_particle_that_starts_has_more_time(world: Callable[..., World]) -> None:
    swarm = world(silence_sec=60, start_sec=300)
    swarm.later(299)
    assert swarm.processes.killed == []
    swarm.later(2)
    assert swarm.processes.killed == [0, 1]


def test_a_particle_that_dies_again_and_again_is_given_up(world: Callable[..., World]) -> None:
    swarm = world(restarts=2)
    swarm.join(0, 1)
    for _ in range(3):
        swarm.processes.codes[1] = 1
        swarm.later(0.1)
    assert swarm.row(1)["phase"] == Phase.FAILED
    assert "3 times in a row" in swarm.row(1)["message"]
    swarm.publish(0, 1)
    assert swarm.others(0, 1) == [0], "the others go on"


def test_a_committed_round_forgives_earlier_deaths(world: Callable[..., World]) -> None:
    swarm = world(restarts=1)
    swarm.join(0, 1)
    for number in (1, 2):
        swarm.processes.codes[1] = 1
        swarm.later(0.1)
        swarm.join(1)
        swarm.publish(1, number)
    assert swarm.row(1)["phase"] != Phase.FAILED


def test_on_failure_stop_ends_the_swarm(world: Callable[..., World]) -> None:
    swarm = world(on_failure="stop")
    swarm.join(0, 1)
    swarm.coordinator.fail(1, "process of 1", "training diverged", "user")
    assert swarm.sign(0) is Command.STOP
    swarm.processes.codes |= {0: 0, 1: 1}
    swarm.later(0.1)
    assert swarm.coordinator.standing is Standing.FAILED
    assert "training diverged" in swarm.coordinator.message


def test_when_nobody_is_left_the_swarm_has_failed(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    for particle in (0, 1):
        swarm.coordinator.fail(particle, f"process of {particle}", "no such folder", "user")
    swarm.processes.codes |= {0: 1, 1: 1}
    swarm.later(0.1)
    assert swarm.coordinator.standing is Standing.FAILED
    assert "no such folder" in swarm.coordinator.message


def test_a_full_disk_of_a_particle_stops_all(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.coordinator.fail(1, "process of 1", "the disk is full", "storage")
    assert swarm.sign(0) is Command.STOP


def test_a_full_disk_of_the_server_stops_all(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.processes.codes[1] = -9

    def full(*_: object) -> None:
        raise StorageFullError("journal")

    monkeypatch.setattr(swarm.store.journal, "add_event", full)
    swarm.later(0.1)
    assert swarm.coordinator.ending
    swarm.processes.codes |= {0: 0, 1: 0}
    swarm.later(0.1)
    assert swarm.coordinator.standing is Standing.FAILED
    assert "nothing that was committed is lost" in swarm.coordinator.message


def test_a_straggler_is_left_behind_after_the_deadline_and_may_come_later(world: Callable[..., World]) -> None:
    swarm = world(particles=3, straggler="go_on", deadline_sec=10)
    swarm.join(0, 1, 2)
    swarm.publish(0, 1)
    swarm.later(6)
    swarm.publish(1, 1)
    assert swarm.others(0, 1) is None
    swarm.later(5)
    assert swarm.others(0, 1) == [0, 1]
    swarm.publish(2, 1)
    assert swarm.others(2, 1) == [0, 1, 2], "it learns from the members and itself"
    assert swarm.others(0, 1) == [0, 1], "what was committed stays"


def test_with_the_policy_wait_there_is_no_deadline(world: Callable[..., World]) -> None:
    swarm = world(straggler="wait", deadline_sec=10, silence_sec=1e9)
    swarm.join(0, 1)
    swarm.publish(0, 1)
    swarm.later(1e6)
    assert swarm.others(0, 1) is None


def test_warm_up_rounds_and_the_last_one_are_not_closed(world: Callable[..., World]) -> None:
    swarm = world(warmup_rounds=1, epochs=3)
    swarm.join(0, 1)
    for number in (1, 2, 3):
        swarm.publish(0, number), swarm.publish(1, number)
    journal = swarm.store.journal
    assert [journal.members(number) for number in (1, 2, 3)] == [None, (0, 1), None]


def test_pause_and_continue(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.coordinator.pause()
    assert swarm.sign(0) is Command.PAUSE
    swarm.publish(0, 1), swarm.publish(1, 1)
    assert swarm.others(0, 1) is None, "nobody moves in a pause"
    swarm.coordinator.resume()
    assert swarm.sign(0) is Command.RUN
    assert swarm.others(0, 1) == [0, 1]


def test_stop_waits_for_the_particles_but_not_for_ever(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.coordinator.stop()
    assert swarm.sign(0) is Command.STOP
    swarm.processes.codes[0] = 1
    swarm.later(1)
    assert swarm.coordinator.standing is Standing.STOPPING
    swarm.later(60)
    assert swarm.coordinator.standing is Standing.STOPPED
    assert 1 in swarm.processes.killed
    assert swarm.processes.started == [0, 1], "what ends while the swarm stops is not started again"


def test_an_older_process_of_a_particle_is_told_to_leave(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.coordinator.join(0, "another process", 1, "here")
    with pytest.raises(LeaveRequest):
        swarm.sign(0)
    with pytest.raises(LeaveRequest):
        swarm.publish(0, 1)
    with pytest.raises(RefusedError, match="particles 1 to 2, not 3"):
        swarm.coordinator.join(2, "somebody", 1, "here")


def test_started_by_hand_a_particle_is_played_by_one_process_and_may_come_back(world: Callable[..., World]) -> None:
    swarm = world(by_hand=True, silence_sec=60)
    swarm.join(0)
    with pytest.raises(RefusedError, match="being played by process 4000 on here"):
        swarm.coordinator.join(0, "another", 1, "there")
    swarm.later(61)
    assert swarm.row(0)["phase"] == Phase.LOST
    swarm.coordinator.join(0, "another", 1, "there")
    assert swarm.row(0)["host"] == "there"
    assert swarm.coordinator.alive(0, "another", Sign(Phase.TRAINING, 1)) is Command.RUN
    assert swarm.row(0)["phase"] == Phase.TRAINING


def test_a_resumed_server_knows_rounds_moves_results_and_who_was_by_hand(world: Callable[..., World]) -> None:
    swarm = world(by_hand=True)
    swarm.join(0, 1)
    swarm.publish(0, 1), swarm.publish(1, 1)
    swarm.coordinator.moved(0, "process of 0", move(0, 1))
    swarm.coordinator.finish(1, "process of 1", RESULT)
    swarm.resume()
    assert swarm.others(0, 1) == [0, 1], "a process that has lived on is known again"
    assert swarm.store.journal.move(0, 1) == move(0, 1)
    assert swarm.row(1)["phase"] == Phase.FINISHED
    assert swarm.coordinator.round == 2


def test_a_resumed_server_starts_the_unfinished_alone(world: Callable[..., World]) -> None:
    swarm = world()
    swarm.join(0, 1)
    swarm.coordinator.finish(1, "process of 1", RESULT)
    swarm.processes.started.clear()
    swarm.resume()
    assert swarm.processes.started == [0]


def test_the_end(world: Callable[..., World]) -> None:
    swarm = world(epochs=1)
    swarm.join(0, 1)
    swarm.publish(0, 1, best_fitness=-1.0), swarm.publish(1, 1, best_fitness=-0.5)
    assert swarm.coordinator.result() is None
    swarm.coordinator.finish(0, "process of 0", {**RESULT, "test_top1": 0.9})
    swarm.later(0.1)
    assert not swarm.coordinator.over
    swarm.coordinator.finish(1, "process of 1", RESULT)
    swarm.directory.run(1).mkdir(parents=True)
    swarm.later(0.1)
    assert swarm.coordinator.standing is Standing.FINISHED
    result = swarm.coordinator.result()
    assert result["best"] == 1, "validation chooses, not the test"
    assert [row["test_top1"] for row in result["particles"]] == [0.9, 0.25]
    assert swarm.directory.finished
    assert (swarm.directory.path / "best").readlink() == Path("particles/particle-2")
    swarm.directory.link_best(0)
    assert not (swarm.directory.path / "best").is_symlink(), "its run is on another machine"


def test_files_that_a_killed_particle_would_need_stay(world: Callable[..., World]) -> None:
    swarm = world(epochs=9)
    swarm.join(0, 1)
    for number in (1, 2, 3):
        for particle in (0, 1):
            for kind in (Kind.BEFORE, Kind.AFTER):
                swarm.store.put(particle, kind, number, [np.zeros(4, np.float32)], 4)
    for number in (1, 2):
        swarm.publish(0, number, best_round=1), swarm.publish(1, number, best_round=number)
    assert swarm.store.rounds(0, Kind.AFTER) == [2, 3]
    swarm.publish(0, 3, best_round=1)
    assert swarm.store.rounds(0, Kind.AFTER) == [2, 3], "particle 2 is still in round 3"


def test_the_snapshot_is_json_without_the_password(world: Callable[..., World]) -> None:
    swarm = world(host="0.0.0.0", token="open sesame")
    text = json.dumps(swarm.coordinator.snapshot())
    assert "sesame" not in text
    assert "sesame" not in (swarm.directory.path / "config.yaml").read_text()


def test_a_lost_node_does_not_count_against_a_particle(world: Callable[..., World]) -> None:
    swarm = world(restarts=0)
    swarm.join(0, 1)
    for _ in range(3):
        swarm.processes.lost.add(1)
        swarm.later(1)
    assert swarm.processes.started == [0, 1, 1, 1, 1]
    assert swarm.row(1)["phase"] is Phase.STARTING
    events = [event.text for event in swarm.store.journal.events() if event.particle == 1]
    assert events == ["its node was lost; started again from its last committed round"] * 3
    swarm.processes.codes[1] = 1
    swarm.later(1)
    assert swarm.row(1)["phase"] is Phase.FAILED, "a process that ends by itself does"


def test_waiting_for_a_place_is_nobodys_fault_and_ends_the_swarm_in_order(world: Callable[..., World]) -> None:
    swarm = world(start_sec=20, silence_sec=5, ray={"wait_sec": 100})
    swarm.processes.waiting = {0, 1}
    for _ in range(9):
        swarm.later(10)
    assert swarm.processes.started == [0, 1], "nothing is started again while there is no place"
    assert swarm.row(0)["message"] == "no place"
    swarm.processes.waiting = {1}
    swarm.join(0)
    assert swarm.row(0)["message"] is None
    swarm.later(4)
    assert swarm.coordinator.standing is Standing.RUNNING
    swarm.sign(0)
    swarm.later(20)
    assert swarm.coordinator.standing is Standing.STOPPING
    for particle in (0, 1):
        swarm.processes.codes[particle] = 0
    swarm.later(1)
    assert swarm.coordinator.standing is Standing.FAILED
    assert swarm.coordinator.message == "particle-2 could not be started for 100 s: no place."


def test_a_place_that_is_found_late_starts_the_clock_anew(world: Callable[..., World]) -> None:
    swarm = world(start_sec=20, ray={"wait_sec": 100})
    swarm.join(1)
    swarm.processes.waiting = {0}
    for _ in range(5):
        swarm.later(10)
        swarm.sign(1)
    swarm.processes.waiting = set()
    swarm.later(19)
    assert swarm.processes.started == [0, 1]
    swarm.later(2)
    assert swarm.processes.started == [0, 1, 0]
