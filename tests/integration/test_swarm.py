"""A swarm as a user runs it: the command, its pages, its directory, and what it says about mistakes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parent.parent / "swarm"))

import chaos

from keras_actrec.config import load_config
from keras_actrec.swarm.dashboard import security
from keras_actrec.swarm.directory import SwarmDirectory

pytestmark = pytest.mark.integration
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def swarm_config(tmp_path: Path, tiny_config: Path) -> Path:
    """Two particles that learn in seconds."""
    path = tmp_path / "swarm.yaml"
    path.write_text(
        tiny_config.read_text().replace("ema: 0.9", "momentum: 0.9")
        + "swarm: {particles: 2, learning_rates: [0.003, [0.0005, 0.01]], heartbeat_sec: 0.2, port: 0}\n"
    )
    return path


def wait_for(condition: Callable[[], object], seconds: float = 120) -> object:
    """Wait until a condition holds, and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.mark.slow
@pytest.mark.ci
def test_a_swarm_from_the_command_to_the_table(swarm_config: Path, command: Command, answer: Command) -> None:
    done = command("swarm_server.py", "--config", swarm_config, "--particles", "2")
    assert done.returncode == 0, done.stderr
    swarm = SwarmDirectory.open(done.stdout.strip().splitlines()[-1].removeprefix("swarm: "))
    result = json.loads(swarm.result.read_text())
    assert [row["rounds"] for row in result["particles"]] == [3, 3]
    assert done.stdout.count("  best") >= 1
    assert "round 3/3" in done.stdout

    assert (swarm.path / "best").resolve() == swarm.run(result["best"]).resolve()
    again = answer("evaluate", "--run", swarm.path / "best")
    assert again.returncode == 0, "the best model is an ordinary run directory"
    metrics = json.loads((swarm.path / "best" / "metrics.json").read_text())
    assert metrics["test"]["top1"] == result["particles"][result["best"]]["test_top1"]

    position = load_file(swarm.path / "weights" / "particle-1" / "after-000003.safetensors")["position"]
    assert position.ndim == 1 and np.isfinite(position).all()
    for page in ("report.html", "hiplot.html"):
        assert "particle" in (swarm.path / page).read_text()
    wild = load_config(swarm.run(1) / "config.yaml").training.schedule
    history = (swarm.run(1) / "history.csv").read_text().splitlines()
    column = history[0].split(",").index("learning_rate")
    np.testing.assert_allclose([float(line.split(",")[column]) for line in history[1:]], wild.rates, rtol=1e-6)
    assert not swarm.server_file.exists()

    repeated = command("swarm_server.py", "--config", swarm_config, "--resume", swarm.path)
    assert repeated.returncode == 0 and "already finished" in repeated.stdout


@pytest.mark.slow
def test_a_swarm_of_one_without_pulls_is_plain_training_bit_for_bit(
    swarm_config: Path, tiny_config: Path, tmp_path: Path, command: Command
) -> None:
    rate = "training.optimizer.learning_rate=0.003"
    tiny_config.write_text(tiny_config.read_text().replace("ema: 0.9", "momentum: 0.9"))
    plain = command(
        *("train.py", "--config", tiny_config, rate, "evaluation.baseline=false", "training.select_by=val_loss"),
        f"output={tmp_path / 'plain'}",
    )
    alone = command(
        *("swarm_server.py", "--config", swarm_config, "--particles", "1", "swarm.learning_rates=[0.003]"),
        *("swarm.c1=0", "swarm.c2=0", "training.schedule.name=cosine", f"output={tmp_path / 'alone'}"),
    )
    assert (plain.returncode, alone.returncode) == (0, 0), plain.stderr + alone.stdout + alone.stderr
    (run,) = (tmp_path / "plain").glob("*/")
    (particle,) = (tmp_path / "alone").glob("*/particles/particle-1/")
    for name in ("history.csv", "metrics.json", "manifest.lock"):
        assert (particle / name).read_bytes() == (run / name).read_bytes(), name
    theirs, ours = (load_file(path / "checkpoints" / "state-0003.safetensors") for path in (run, particle))
    assert theirs.keys() == ours.keys()
    assert [name for name in theirs if theirs[name].tobytes() != ours[name].tobytes()] == []


@pytest.mark.slow
def test_stop_from_the_page_then_resume_and_a_particle_that_diverges(
    swarm_config: Path, tmp_path: Path, command: Command
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    options = ("training.epochs=6", "swarm.learning_rates=[0.003, 3.0e+38]", "swarm.dynamic=none")
    server = chaos.start(swarm_config, output, *options)
    known = wait_for(lambda: (chaos.state(output) or {}).get("round", 0) >= 2 and chaos.state(output))
    assert wait_for(lambda: chaos.state(output)["particles"][1]["phase"] == "failed"), "the other one goes on"
    (file,) = output.glob("*/server.json")
    assert file.stat().st_mode & 0o077 == 0, "the token is for its owner"
    url = json.loads(file.read_text())["url"]
    stop = urllib.request.Request(f"{url}/api/stop", method="POST", headers={security.HEADER: "1", "Origin": url})
    urllib.request.urlopen(stop, timeout=10).close()
    assert server.wait(60) == 130
    text = output.with_suffix(".txt").read_text()
    assert "--resume goes on" in text
    assert Path(known["directory"]).exists()

    resumed = command("swarm_server.py", "--config", swarm_config, *options, f"output={output}", "--resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "diverged" in resumed.stdout
    result = json.loads(next(output.glob("*/result.json")).read_text())
    assert result["particles"][0]["rounds"] == 6
    assert result["particles"][1]["test_top1"] is None
    assert result["best"] == 0


@pytest.mark.slow
def test_a_full_disk_stops_the_swarm_and_loses_nothing(swarm_config: Path, tmp_path: Path, command: Command) -> None:
    output = tmp_path / "small"
    output.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", output], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        epochs = "training.epochs=4"
        done = command("swarm_server.py", "--config", swarm_config, epochs, f"output={output}")
        assert done.returncode == 1
        assert "space" in done.stderr and "--resume" in done.stderr and "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,size=200m", output], check=True)
        again = command(
            "swarm_server.py", "--config", swarm_config, "training.epochs=4", f"output={output}", "--resume"
        )
        assert again.returncode == 0, again.stdout + again.stderr
        saved = tmp_path / "saved"
        shutil.copytree(next(output.glob("*/")), saved, symlinks=True)
    finally:
        subprocess.run(["umount", "-l", output], check=False)
    assert chaos.outcome(saved) == chaos.undisturbed(swarm_config, tmp_path, epochs)


@pytest.mark.slow
@pytest.mark.ci
def test_particles_started_by_hand(swarm_config: Path, tmp_path: Path) -> None:
    output = tmp_path / "hand"
    output.mkdir()
    server = chaos.start(swarm_config, output, "swarm.launcher=manual")
    text = output.with_suffix(".txt")
    lines = wait_for(lambda: [line for line in text.read_text().splitlines() if line.startswith("start ")])
    wait_for(lambda: len(text.read_text().split("start ")) == 3)
    lines = [line for line in text.read_text().splitlines() if line.startswith("start ")]
    commands = [line.removeprefix("start ").split() for line in lines]
    processes = [subprocess.Popen(words, cwd=chaos.ROOT, stdout=subprocess.DEVNULL) for words in commands]
    assert [process.wait(300) for process in processes] == [0, 0]
    assert json.loads((chaos.finish(server, output) / "result.json").read_text())["particles"][1]["rounds"] == 3


def test_ctrl_c_stops_in_order(swarm_config: Path, tmp_path: Path) -> None:
    output = tmp_path / "ctrl-c"
    output.mkdir()
    server = chaos.start(swarm_config, output)
    known = wait_for(lambda: chaos.state(output))
    pids = [row["pid"] for row in known["particles"]]
    os.kill(server.pid, signal.SIGINT)
    assert server.wait(60) == 130
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["swarm.dynamc=dynamic_1"], "Did you mean 'dynamic'"),
        (["swarm.host=0.0.0.0"], "swarm.token"),
        (["swarm.host=no.such.name.invalid"], "swarm.host"),
        (["--particles", "0"], "swarm.particles"),
        (["--resume", "no-such-folder"], "no swarm directory"),
        (["training.patience=2"], "patience must be 0"),
    ],
)
def test_mistakes_are_one_sentence(swarm_config: Path, command: Command, arguments: list[str], complaint: str) -> None:
    done = command("swarm_server.py", "--config", swarm_config, *arguments)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_in_use_is_told_before_anything_is_begun(swarm_config: Path, tmp_path: Path, command: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("swarm_server.py", "--config", swarm_config, f"swarm.port={port}", f"output={tmp_path / 'none'}")
    assert done.returncode == 1
    assert f"port {port}" in done.stderr and "swarm.port=" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_mistake_that_only_particles_can_see_is_told_once(swarm_config: Path, command: Command) -> None:
    done = command("swarm_server.py", "--config", swarm_config, "model.backbone=tiniest")
    assert done.returncode == 1
    assert "tiniest" in done.stderr and "Traceback" not in done.stderr


def test_a_train_command_sends_a_swarm_to_its_server(swarm_config: Path, command: Command) -> None:
    done = command("train.py", "--config", swarm_config)
    assert done.returncode == 1
    assert "swarm_server.py" in done.stderr
