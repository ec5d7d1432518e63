import queue
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from keras_actrec.serving.batching import Batcher, ClosedError
from keras_actrec.serving.network import Scores

WAIT_SEC = 20


class Pretended:
    """A predictor that answers with the first pixel, and notes its passes."""

    most_clips = 4

    def __init__(self) -> None:
        self.passes: list[list[int]] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def scores(self, frames: list[dict[str, np.ndarray]]) -> Scores:
        assert self.may_go.wait(WAIT_SEC)
        values = frames[0]["rgb"][:, 0]
        self.passes.append(values.tolist())
        if 99 in values:
            raise ZeroDivisionError("of window 99")
        return Scores(values[:, None].astype(float))


def part(*values: int) -> list[dict[str, np.ndarray]]:
    return [{"rgb": np.array(values)[:, None]}]


def answers(future: object) -> list[float]:
    return future.result(WAIT_SEC).probabilities[:, 0].tolist()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SEC
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_those_who_wait_share_a_pass_and_each_gets_his_own() -> None:
    predictor = Pretended()
    predictor.may_go.clear()
    with Batcher(predictor, wait_sec=0.0) as batcher:
        first = batcher.submit(part(1))
        until(lambda: batcher.waiting == 0)
        others = [batcher.submit(part(*values)) for values in ((2, 3), (4,), (5,), (6, 7, 8))]
        predictor.may_go.set()
        assert answers(first) == [1]
        assert [answers(one) for one in others] == [[2, 3], [4], [5], [6, 7, 8]]
    assert predictor.passes == [[1], [2, 3, 4, 5], [6, 7, 8]]


def test_the_first_waits_for_others() -> None:
    predictor = Pretended()
    with Batcher(predictor, wait_sec=5.0) as batcher:
        begin = time.monotonic()
        futures = [batcher.submit(part(value)) for value in range(4)]
        assert [answers(one) for one in futures] == [[0], [1], [2], [3]]
        assert time.monotonic() - begin < 4.0, "a full pass waits for nobody"
    assert predictor.passes == [[0, 1, 2, 3]]


def test_nobody_waits_for_others_who_are_not_there() -> None:
    predictor = Pretended()
    with Batcher(predictor, wait_sec=WAIT_SEC) as batcher:
        batcher.others = lambda: 1
        begin = time.monotonic()
        assert answers(batcher.submit(part(1))) == [1]
        assert time.monotonic() - begin < WAIT_SEC / 2
        batcher.others = lambda: 2
        first = batcher.submit(part(2))
        time.sleep(0.1)
        second = batcher.submit(part(3))
        assert (answers(first), answers(second)) == ([2], [3])
    assert predictor.passes == [[1], [2, 3]]


def test_a_part_larger_than_a_pass_goes_alone() -> None:
    predictor = Pretended()
    with Batcher(predictor, wait_sec=0.0) as batcher:
        assert answers(batcher.submit(part(*range(9)))) == list(range(9))


def test_windows_of_another_shape_go_into_a_pass_of_their_own() -> None:
    """A whole video may be several clips (evaluation.clips), a window of a long one is one."""
    predictor = Pretended()
    predictor.may_go.clear()
    with Batcher(predictor, wait_sec=0.0) as batcher:
        first = batcher.submit(part(1))
        until(lambda: batcher.waiting == 0)
        wide = [{"rgb": np.array([[3, 3, 3], [4, 4, 4]])}]
        others = [batcher.submit(one) for one in (part(2), wide, part(5))]
        predictor.may_go.set()
        assert answers(first) == [1]
        assert [answers(one) for one in others] == [[2], [3, 4], [5]]
    assert predictor.passes == [[1], [2], [3, 4], [5]]


def test_an_error_reaches_those_who_shared_the_pass_and_nobody_else() -> None:
    predictor = Pretended()
    with Batcher(predictor, wait_sec=0.0) as batcher:
        with pytest.raises(ZeroDivisionError):
            batcher.submit(part(99)).result(WAIT_SEC)
        assert answers(batcher.submit(part(7))) == [7]


def test_work_that_wants_the_networks_for_itself_runs_between_passes() -> None:
    predictor = Pretended()
    with Batcher(predictor, wait_sec=0.05) as batcher:
        before, work, after = batcher.submit(part(1)), batcher.run_alone(lambda: len(predictor.passes)), None
        after = batcher.submit(part(2))
        assert work.result(WAIT_SEC) == 1
        assert (answers(before), answers(after)) == ([1], [2])
        with pytest.raises(ZeroDivisionError):
            batcher.run_alone(lambda: 1 / 0).result(WAIT_SEC)
    assert predictor.passes == [[1], [2]]


def test_places_are_bounded() -> None:
    predictor = Pretended()
    predictor.may_go.clear()
    with Batcher(predictor, wait_sec=0.0, most_waiting=2) as batcher:
        batcher.submit(part(1))
        until(lambda: batcher.waiting == 0)
        for value in (2, 3):
            batcher.submit(part(value))
        with pytest.raises(queue.Full):
            batcher.submit(part(4), wait_sec=0.05)
        predictor.may_go.set()
        assert answers(batcher.submit(part(5))) == [5]


def test_at_the_end_nobody_is_left_waiting() -> None:
    predictor = Pretended()
    predictor.may_go.clear()
    batcher = Batcher(predictor, wait_sec=0.0).__enter__()
    running = batcher.submit(part(1))
    until(lambda: batcher.waiting == 0)
    waiting = [batcher.submit(part(2)), batcher.run_alone(lambda: 3)]
    threading.Timer(0.2, predictor.may_go.set).start()
    batcher.close()
    assert answers(running) == [1]
    for one in waiting:
        with pytest.raises(ClosedError):
            one.result(WAIT_SEC)
    with pytest.raises(ClosedError):
        batcher.submit(part(4))


def test_who_gave_up_is_not_computed_for() -> None:
    predictor = Pretended()
    predictor.may_go.clear()
    with Batcher(predictor, wait_sec=0.0) as batcher:
        batcher.submit(part(1))
        until(lambda: batcher.waiting == 0)
        gone, stays = batcher.submit(part(2)), batcher.submit(part(3))
        assert gone.cancel()
        predictor.may_go.set()
        assert answers(stays) == [3]
    assert [2] not in predictor.passes
    assert [2, 3] not in predictor.passes
