"""No file can take more than the set time or memory, crash the caller, or spoil the next file's answer."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from keras_actrec.data.guarded import BusyError, Limits, Pool
from keras_actrec.data.guarded.pool import Request
from keras_actrec.errors import UnreadableVideoError, UserError

QUICK = Limits(seconds=0.5, memory_bytes=200_000_000)
ENOUGH = Limits(seconds=60, memory_bytes=200_000_000)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        with Pool(2, ENOUGH) as made:
            yield made


def reason(pool: Pool, name: str, limits: Limits = ENOUGH, **arguments: int) -> str:
    with pytest.raises(UnreadableVideoError) as error:
        pool.run(f"standins:{name}", "clip.mp4", arguments, limits=limits)
    assert error.value.path == "clip.mp4"
    return error.value.reason


def still_works(pool: Pool) -> bool:
    return pool.run("standins:echo", "next.mp4", {"a": 1})[0]["path"] == "next.mp4"


def test_values_and_arrays_come_back(pool: Pool) -> None:
    value, _ = pool.run("standins:echo", "a/ü \udcff.mp4", {"text": "x", "numbers": [1, 2.5, None]}, limits=QUICK)
    assert value == {**value, "path": "a/ü \udcff.mp4", "seconds": 0.5, "text": "x", "numbers": [1, 2.5, None]}
    given = [np.arange(6, dtype=np.int64).reshape(2, 3), np.zeros((0, 4)), np.full((300, 50, 50, 3), 7, np.uint8)]
    value, out = pool.run("standins:double", "p", arrays=given)
    assert value == "p"
    for array, twice in zip(given, out, strict=True):
        assert twice.dtype == array.dtype
        np.testing.assert_array_equal(twice, 2 * array)


@pytest.mark.parametrize("name", ["hang", "hang_without_python"])
def test_a_decoder_that_hangs_is_ended_in_time(pool: Pool, name: str) -> None:
    pool.warm()
    start = time.monotonic()
    assert reason(pool, name, QUICK) == "took longer than 0.5 s"
    assert time.monotonic() - start < 10
    assert still_works(pool)


def test_limits_may_be_as_large_as_somebody_likes(pool: Pool) -> None:
    beyond = Limits(seconds=1e300, memory_bytes=10**30)
    assert pool.run("standins:echo", "a.mp4", {"a": 1}, limits=beyond)[0]["path"] == "a.mp4"
    for limit in ({"seconds": float("inf")}, {"seconds": float("nan")}, {"duration_sec": float("inf")}):
        with pytest.raises(UserError, match="expected a number above 0"):
            Limits(**limit)


def test_memory_is_limited(pool: Pool) -> None:
    assert pool.run("standins:allocate", "clip.mp4", {"megabytes": 100})[0] == 100 << 20
    assert reason(pool, "allocate", megabytes=2000) == "wanted more than 0.2 GB of memory"
    assert reason(pool, "grow") == "wanted more than 0.2 GB of memory"
    assert still_works(pool)


def test_memory_is_counted_per_request(pool: Pool) -> None:
    for _ in range(8):
        assert pool.run("standins:allocate", "clip.mp4", {"megabytes": 150})[0] == 150 << 20


def test_a_crash_is_told_and_the_next_file_is_read(pool: Pool) -> None:
    assert reason(pool, "segfault") == "crashed the decoder (signal 11)"
    assert reason(pool, "end", code=3) == "crashed the decoder (exit code 3)"
    assert reason(pool, "end", code=0) == "crashed the decoder (exit code 0)"
    assert reason(pool, "closes_output").startswith("crashed the decoder")
    assert reason(pool, "defect") == "crashed the decoder (ValueError: unforeseen)"
    assert still_works(pool)


def test_what_a_function_tells_of_a_file_passes_through(pool: Pool) -> None:
    assert reason(pool, "unreadable") == "truncated: 3 of 5 frames can be decoded"
    with pytest.raises(UserError, match="expected a, got b"):
        pool.run("standins:mistake", "clip.mp4")


def test_what_a_library_prints_does_not_spoil_the_answer(pool: Pool) -> None:
    assert pool.run("standins:noise", "clip.mp4")[0] == "quiet"


def test_bad_files_among_many_cost_only_themselves(pool: Pool) -> None:
    names = ["echo", "segfault", "echo", "hang", "defect", *["echo"] * 30]
    outcomes = list(pool.each((Request(f"standins:{name}", f"{i}.mp4") for i, name in enumerate(names)), QUICK))
    assert sorted(outcome.number for outcome in outcomes) == list(range(len(names)))
    bad = {outcome.number: outcome.error.reason for outcome in outcomes if outcome.error}
    assert bad == {
        1: "crashed the decoder (signal 11)",
        3: "took longer than 0.5 s",
        4: "crashed the decoder (ValueError: unforeseen)",
    }
    assert all(outcome.value["path"] == f"{outcome.number}.mp4" for outcome in outcomes if not outcome.error)


def test_who_does_not_wait_is_told_that_all_are_busy(pool: Pool) -> None:
    slow = Limits(seconds=5)
    threads = [threading.Thread(target=reason, args=(pool, "hang", slow), daemon=True) for _ in range(pool.workers)]
    for thread in threads:
        thread.start()
    with pytest.raises(BusyError, match="all 2 decoders are busy"):
        for _ in range(30):  # until both threads have come to their decoders
            pool.run("standins:echo", "clip.mp4", wait_sec=0.1)
            time.sleep(0.1)
    for thread in threads:
        thread.join(30)
    assert still_works(pool)


def test_closing_ends_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with Pool(1) as small:
        pid = small.run("standins:echo", "clip.mp4")[0]["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="closed"):
        small.run("standins:echo", "clip.mp4")


@pytest.mark.parametrize("stopped", [False, True])
def test_busy_workers_can_be_killed_and_none_is_started_in_their_place(
    monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """A worker that was stopped has not taken its request yet; it is not asked again."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pool, found = Pool(1, ENOUGH), []
    pid = pool.run("standins:echo", "a.mp4")[0]["pid"]
    if stopped:
        os.kill(pid, signal.SIGSTOP)

    def ask() -> None:
        try:
            pool.run("standins:hang", "b.mp4")
        except (RuntimeError, UnreadableVideoError) as error:
            found.append(str(error))

    (process,) = pool._all
    asking = threading.Thread(target=ask)
    asking.start()
    end = time.monotonic() + 20
    while process.served < 2:
        assert time.monotonic() < end
        time.sleep(0.005)
    pool.kill()
    asking.join(30)
    assert not asking.is_alive()
    ended, crashed = "this worker that decodes videos has been ended", "crashed the decoder (signal 9)"
    (told,) = found
    assert ended in told or (crashed in told and not stopped)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError):
        pool.run("standins:echo", "c.mp4")
    assert process._process is None
    pool.close()


def test_a_worker_that_died_while_idle_is_replaced(pool: Pool) -> None:
    pids = {pool.run("standins:echo", "clip.mp4")[0]["pid"] for _ in range(4)}
    for pid in pids:
        os.kill(pid, 9)
    assert still_works(pool)


def test_limits_that_nothing_could_keep_are_refused() -> None:
    with pytest.raises(UserError, match="limit seconds: expected a number above 0, got 0"):
        Limits(seconds=0)
    with pytest.raises(UserError, match="1 worker or more"):
        Pool(0)
