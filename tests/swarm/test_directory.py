"""The directory of a swarm: who runs it, what is resumed, which processes of an earlier server are ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_actrec import files
from keras_actrec.config import parse_config, save_config
from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock
from keras_actrec.swarm import launcher
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.settings import SwarmConfig

HOLD = """
import sys, time
from keras_actrec.locking import Lock
Lock(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(600)
"""


def make_config(output: Path, **swarm: object) -> SwarmConfig:
    return parse_config({"output": str(output), "swarm": {"particles": 2, **swarm}}, kind=SwarmConfig)


def test_one_server_at_a_time(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    first = SwarmDirectory.create(config)
    with pytest.raises(UserError, match=f"process {os.getpid()}.*is running the swarm"):
        SwarmDirectory.resume("latest", config)
    first.close()
    assert SwarmDirectory.resume("latest", config).path == first.path


def test_operational_settings_may_change_what_is_learnt_may_not(tmp_path: Path) -> None:
    swarm = SwarmDirectory.create(make_config(tmp_path, c1=0.25))
    swarm.close()
    changed = make_config(tmp_path, c1=0.25, silence_sec=7, port=1234, launcher="manual")
    resumed = SwarmDirectory.resume(str(swarm.path), changed)
    assert resumed.config.swarm.silence_sec == 7
    assert SwarmDirectory.open(swarm.path).config.swarm.silence_sec == 7, "particles read them there"
    resumed.close()
    with pytest.raises(UserError, match="another configuration"):
        SwarmDirectory.resume(str(swarm.path), make_config(tmp_path, c1=0.5))
    assert SwarmDirectory.resume("latest", make_config(tmp_path, c1=0.5)) is None


def test_the_latest_unfinished_one_is_resumed(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    paths = []
    for age in (3, 2, 1):
        swarm = SwarmDirectory.create(config)
        swarm.close()
        past = time.time() - 60 * age
        os.utime(swarm.path / "config.yaml", (past, past))
        paths.append(swarm.path)
    (paths[2] / "result.json").write_text("{}")
    assert SwarmDirectory.resume("latest", config).path == paths[1]


def test_no_swarm_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a config\.yaml"):
        SwarmDirectory.open(tmp_path)


def test_a_training_of_its_own_is_never_taken_for_a_swarm(tmp_path: Path) -> None:
    run = tmp_path / "run-20250101-120000-1a2b3c"
    run.mkdir()
    save_config(parse_config({"output": str(tmp_path)}), run / "config.yaml")
    config = parse_config({"output": str(tmp_path)}, kind=SwarmConfig)
    assert SwarmDirectory.resume("latest", config) is None
    with pytest.raises(UserError, match=r"a training of its own, by train\.py"):
        SwarmDirectory.resume(str(run), config)


def test_the_token_of_the_server_is_for_its_owner(tmp_path: Path) -> None:
    swarm = SwarmDirectory.create(make_config(tmp_path))
    assert swarm.read_server() is None
    swarm.publish_server("http://127.0.0.1:1", "secret")
    assert swarm.read_server()["token"] == "secret"
    assert swarm.server_file.stat().st_mode & 0o777 == 0o600


def test_nobody_else_could_ever_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swarm, modes = SwarmDirectory.create(make_config(tmp_path)), []
    monkeypatch.setattr(
        files, "_sync", lambda _: modes.extend(path.stat().st_mode & 0o777 for path in swarm.path.glob("*server*.json"))
    )
    swarm.publish_server("http://127.0.0.1:1", "secret")
    assert set(modes) == {0o600}


@pytest.mark.parametrize("stopped", [False, True])
def test_processes_that_an_earlier_server_left_are_ended(tmp_path: Path, stopped: bool) -> None:
    swarm = SwarmDirectory.create(make_config(tmp_path))
    swarm.run(1).mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, swarm.run(1) / ".lock"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        if stopped:
            os.kill(holder.pid, signal.SIGSTOP)
        assert launcher.end_leftovers(swarm, {0: None, 1: "another machine"}) == []
        assert launcher.end_leftovers(swarm, {0: None, 1: None}) == [holder.pid]
        assert holder.wait(10) == -signal.SIGKILL
        Lock(swarm.run(1) / ".lock").acquire(timeout_sec=5)
    finally:
        holder.kill()
        holder.wait()


def test_a_lock_waits_no_longer_than_it_is_told(tmp_path: Path) -> None:
    held, other = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    held.acquire()
    held.acquire()
    began = time.monotonic()
    with pytest.raises(HeldError) as caught:
        other.acquire(timeout_sec=0.2)
    assert time.monotonic() - began >= 0.2
    assert caught.value.holder == os.getpid()
    held.release()
    other.acquire()


def test_gpus_are_dealt_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [launcher.environment(index, 3)["CUDA_VISIBLE_DEVICES"] for index in range(4)] == ["0", "1", "2", "0"]
    assert "CUDA_VISIBLE_DEVICES" not in launcher.environment(0, 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert launcher.environment(1, 3)["CUDA_VISIBLE_DEVICES"] == "7", "the user has chosen"
    assert launcher.count_gpus("auto") == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-6b,7")
    assert launcher.count_gpus("auto") == launcher.count_gpus("one_each") == 3
    dealt = [launcher.environment(index, 3)["CUDA_VISIBLE_DEVICES"] for index in range(4)]
    assert dealt == ["4", "GPU-6b", "7", "4"]
    assert launcher.environment(1, launcher.count_gpus("shared"))["CUDA_VISIBLE_DEVICES"] == "4"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launcher.count_gpus("one_each") == 0
    assert launcher.environment(1, 0)["CUDA_VISIBLE_DEVICES"] == ""


def test_a_group_is_ended_with_its_process_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swarm, ended = SwarmDirectory.create(make_config(tmp_path)), []
    real = os.killpg
    monkeypatch.setattr(launcher.os, "killpg", lambda group, number: (ended.append(group), real(group, number)))
    monkeypatch.setattr(launcher, "command", lambda swarm, particle, workers: ["sh", "-c", f"exit {particle}", "sh"])
    processes = launcher.LocalLauncher(swarm, 1, 0)
    started = [processes.start(particle) for particle in (0, 1)]
    for particle in (0, 1):
        processes._processes[particle].wait(20)
    for _ in range(2):
        processes.kill_all()
    assert ended == started[1:], "once the group of who died, whose children may live; not of who came to its end"


@pytest.mark.parametrize(
    ("found", "devices", "wanted"),
    [(0, "auto", 0), (1, "auto", 0), (4, "auto", 4), (4, "shared", 1), (1, "one_each", 1), (0, "one_each", 0)],
)
def test_how_many_gpus_are_dealt_out(monkeypatch: pytest.MonkeyPatch, found: int, devices: str, wanted: int) -> None:
    monkeypatch.setattr(launcher, "_nvidia_gpus", lambda: found)
    assert launcher.count_gpus(devices) == wanted


def test_gpus_are_counted_by_nvidias_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'; echo 'GPU 1: B (UUID: y)'; echo noise\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert launcher.count_gpus("auto") == 2


def test_the_last_words_of_a_process(tmp_path: Path) -> None:
    console = tmp_path / "console.txt"
    assert launcher.last_line(console) == ""
    console.write_bytes(b"x" * 10000 + b"\nerror: why\n\n  \n")
    assert launcher.last_line(console) == "error: why"
