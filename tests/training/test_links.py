import socket
import struct
import threading
import time
from typing import Any

import numpy as np
import pytest
from linked import as_threads, differ, free_addresses, link, linked

from keras_actrec.errors import UserError
from keras_actrec.training import links as module
from keras_actrec.training import meeting
from keras_actrec.training.cluster import Place
from keras_actrec.training.meeting import meet
from keras_actrec.training.messages import read, write


def test_all_hear_what_each_says() -> None:
    with linked(3) as links:
        found = as_threads(3, lambda index: [links[index].exchange(index * 10 + turn) for turn in range(5)])
    assert found == [[[turn, 10 + turn, 20 + turn] for turn in range(5)]] * 3


def test_the_chief_s_word_counts() -> None:
    with linked(3) as links:
        assert as_threads(3, lambda index: links[index].from_chief({"said": index})) == [{"said": 0}] * 3


def test_arrays_arrive_bit_for_bit() -> None:
    arrays = {
        "a": np.array([np.nan, -0.0, 1e-45, np.pi], np.float32),
        "b": np.arange(6, dtype=np.uint32).reshape(2, 3).T,
        "scalar": np.int32(7),
        "none": np.zeros((0, 3), np.float16),
        "large": np.random.default_rng(0).normal(size=500_000),
    }
    with linked(2) as links:
        given, found = as_threads(2, lambda index: links[index].arrays_from_chief(None if index else arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == np.shape(array)
        assert found[name].tobytes() == given[name].tobytes() == np.asarray(array).tobytes()


def test_who_leaves_in_order_is_not_missed() -> None:
    links = link(3)
    links[2].close()
    time.sleep(1.5)
    with links[0].together():
        assert links[0].lost is None
    links[0].close()
    links[1].close()


def test_the_reason_of_one_reaches_all() -> None:
    """Through the chief, as it ends for that reason itself."""
    with linked(3) as links:

        def work(index: int) -> Any:
            with links[index].told(), links[index].together():
                if index == 1:
                    raise UserError("its disk is full.")
                return links[index].exchange(index)

        chief, _, other = as_threads(3, work)
        assert isinstance(chief, UserError)
        assert "worker 1" in str(chief)
        assert str(chief).endswith("ended: its disk is full.")
        assert isinstance(other, UserError)
        assert "the chief" in str(other)
        assert str(other).endswith("ended: its disk is full.")
        with pytest.raises(UserError, match="its disk is full"), links[0].together():
            pass


@pytest.fixture(autouse=True)
def no_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of these tests are threads of one, which must not end."""
    monkeypatch.setattr(module.faulthandler, "dump_traceback_later", lambda *_, **__: None)
    monkeypatch.setattr(module, "GRACE_SEC", 3600)
    yield
    module._used.clear()


def test_who_vanishes_is_named() -> None:
    with linked(2) as links:
        for connection in (*links[1]._pulse.values(), *links[1]._talk.values()):
            connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(UserError, match=r"worker 1 \(127.0.0.1:\d+\) has gone.*--resume"):
            links[0].exchange(1)


def test_silence_is_noticed() -> None:
    """A process that hangs keeps its connections, and gives no sign of life."""
    links = link(2, timeout_sec=2.0)
    links[1]._ended.set()  # its watcher stops
    with pytest.raises(UserError, match=r"worker 1 .* no sign of life for 2 s"):
        links[0].exchange(1)
    for one in links:
        one.close()


def vanish(links: module.Links) -> None:
    """End as a killed process does: without a word."""
    links._ended.set()
    links._watcher.join()
    for connection in (*links._pulse.values(), *links._talk.values()):
        connection.close()


def test_who_vanishes_while_the_chief_evaluates_does_not_take_the_others_along() -> None:
    links = link(3)
    vanish(links[1])
    assert "worker 1" in links[0].wait_for_loss(20)
    time.sleep(2 * module.BEAT_SEC)  # nothing is to happen
    assert links[0]._watcher.is_alive()
    assert links[2].lost is None
    links[0].dismiss()
    assert links[2].from_chief() is None
    for one in (links[0], links[2]):
        one.close()


def test_the_chief_needs_all_again_after_one_has_vanished() -> None:
    links = link(3)
    vanish(links[1])
    assert links[0].wait_for_loss(20)
    with pytest.raises(UserError, match="worker 1"), links[0].accounted_for(), links[0].together():
        pass
    assert "worker 1" in links[2].wait_for_loss(20)
    links[2].close()


def test_a_process_that_is_needed_just_when_it_vanishes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chief has looked for losses, and begins to need it as the loss is noticed."""
    ended = threading.Event()
    monkeypatch.setattr(module, "GRACE_SEC", 0.1)
    monkeypatch.setattr(module.os, "_exit", lambda code: ended.set())
    links = link(3)
    vanish(links[1])
    assert links[0].wait_for_loss(20)
    links[0]._needed = True
    assert ended.wait(20)
    for one in (links[0], links[2]):
        one.close()


def test_who_does_not_come_to_its_end_after_the_chief_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits in TensorFlow for another one that has gone."""
    ended = threading.Event()
    monkeypatch.setattr(module, "GRACE_SEC", 0.1)
    monkeypatch.setattr(module.os, "_exit", lambda code: ended.set())
    links = link(2, timeout_sec=2.0)
    links[0].close()
    assert ended.wait(20)
    assert "the chief" in links[1].lost
    assert "has left" in links[1].lost
    links[1].close()


def test_tensorflow_s_error_gives_way_to_the_reason() -> None:
    links = link(2)
    links[1].fail("its disk is full.")
    with pytest.raises(UserError, match="disk is full"), links[0].accounted_for():
        raise RuntimeError("Collective ops is aborted by: ...")


def test_an_error_of_its_own_is_told_to_the_others_and_kept() -> None:
    links = link(2)
    with pytest.raises(RuntimeError, match="defect"), links[0].accounted_for():
        raise RuntimeError("a defect")
    assert links[1].wait_for_loss(5).endswith("ended: RuntimeError: a defect")
    links[1].close()


def join(addresses: tuple[str, ...], index: int, facts: Any = "alike", timeout_sec: float = 10.0) -> Any:
    found = meet(Place(addresses, index), facts, differ, timeout_sec)
    for connection in found.all():
        connection.close()
    return sorted(found.talk)


def test_all_meet() -> None:
    addresses = free_addresses(3)
    assert as_threads(3, lambda index: join(addresses, index)) == [[1, 2], [0], [0]]


def test_who_was_started_otherwise_is_refused() -> None:
    addresses = free_addresses(3)
    found = as_threads(3, lambda index: join(addresses, index, "other" if index == 2 else "alike"))
    assert all(isinstance(error, UserError) for error in found)
    assert len({str(error) for error in found}) == 1
    assert "worker 2" in str(found[0])
    assert "alike there, other here. Start the same command" in str(found[0])


def test_other_addresses_are_refused() -> None:
    addresses = free_addresses(3)
    found = as_threads(2, lambda index: join(addresses[: 2 + index], index))
    assert all("it names other processes" in str(error) for error in found)


def test_who_does_not_come_is_named() -> None:
    addresses = free_addresses(3)
    found = as_threads(2, lambda index: join(addresses, index, timeout_sec=1.5))
    assert all(f"worker 2 ({addresses[2]}) did not come in time" in str(error) for error in found)


def test_a_chief_that_does_not_come_is_named() -> None:
    addresses = free_addresses(2)
    with pytest.raises(UserError, match=rf"the chief \({addresses[0]}\) cannot be reached"):
        join(addresses, 1, timeout_sec=1.0)


def test_two_processes_with_one_index() -> None:
    addresses = free_addresses(3)
    found = as_threads(3, lambda index: join(addresses, min(index, 1), timeout_sec=3.0))
    assert all(isinstance(error, UserError) for error in found)
    text = " ".join(map(str, found))
    # The second one cannot listen at the address, or is told by the chief.
    assert "same index" in text or "has the index 1" in text


def call(addresses: tuple[str, ...], index: int, purposes: Any = ("talk", "pulse")) -> list[socket.socket]:
    """Come to the chief as a worker does, and wait for its word, which is left unread."""
    who = {"process": f"{index} {time.time_ns()}", "facts": "alike", "workers": list(addresses)}
    connections = []
    for purpose in purposes:
        connections.append(meeting._connect(Place(addresses, index), time.monotonic() + 20))
        write(connections[-1], {"for": purpose, "index": index, "who": who})
    return connections


@pytest.mark.parametrize("purposes", [("talk",), ("talk", "pulse")])
def test_a_process_that_is_started_again_while_it_waits_takes_its_place(purposes: tuple[str, ...]) -> None:
    addresses = free_addresses(3)

    def work(index: int) -> Any:
        if index == 0:
            return join(addresses, 0)
        for connection in call(addresses, 1, purposes):
            connection.close()
        again, other = call(addresses, 1), call(addresses, 2)
        said = [read(connections[0])["refused"] for connections in (again, other)]
        for connection in (*again, *other):
            connection.close()
        return said

    assert as_threads(2, work) == [[1, 2], ["", ""]]


def test_who_has_gone_before_the_last_one_comes_is_missing() -> None:
    """The chief looks at all once more, and does not begin without it."""
    addresses = free_addresses(3)

    def work(index: int) -> Any:
        if index == 0:
            return join(addresses, 0, timeout_sec=3.0)
        for connection in call(addresses, 1):
            connection.close()
        talk, pulse = call(addresses, 2)
        with talk, pulse:
            return read(talk)["refused"]

    error, said = as_threads(2, work)
    assert isinstance(error, UserError)
    assert str(error) == said
    assert f"worker 1 ({addresses[1]}) did not come in time" in said


def test_all_meet_at_addresses_of_version_6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            port = server.getsockname()[1]
    except OSError:
        pytest.skip("no IPv6 on this machine")
    addresses = (f"[::1]:{port}", f"[::1]:{free_addresses(1)[0].rpartition(':')[2]}")
    assert as_threads(2, lambda index: join(addresses, index)) == [[1], [0]]


def test_an_address_in_use() -> None:
    addresses = free_addresses(2)
    port = int(addresses[0].rpartition(":")[2])
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(UserError, match=f"cannot listen at {addresses[0]}.*another run"),
    ):
        join(addresses, 0)


def test_strangers_are_not_taken_in() -> None:
    addresses = free_addresses(2)
    port = int(addresses[0].rpartition(":")[2])

    def work(index: int) -> Any:
        if index < 2:
            return join(addresses, index)
        for word in (b"GET / HTTP/1.1\r\n\r\n", struct.pack("!Q", 1 << 60), struct.pack("!Q", 2) + b"[]", b""):
            for _ in range(100):
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=1) as stranger:
                        stranger.sendall(word)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
        return None

    assert as_threads(3, work)[:2] == [[1], [0]]
