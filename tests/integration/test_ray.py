"""Real Ray: swarms and sweeps on a cluster of this machine, and on two nodes of which one is killed."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "cluster"))
sys.path.insert(0, str(Path(__file__).parent.parent / "swarm"))

import chaos
import two_nodes
from two_nodes import TwoNodes

from keras_actrec.sweep import record
from keras_actrec.sweep.record import State

pytest.importorskip("ray")

pytestmark = pytest.mark.integration
Command = Callable[..., subprocess.CompletedProcess[str]]
FAKES = Path(__file__).parent.parent / "sweep"
START_FAKE = (
    "import sys; from keras_actrec import cli; from keras_actrec.sweep import processes; "
    "processes.trial_program.__name__ = 'fake_trial'; cli.program()"
)


@pytest.fixture(autouse=True)
def own_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters that only this test can use."""
    token = tmp_path / "ray-token"
    token.write_text(secrets.token_hex(32))
    for name, value in {"MODE": "token", "TOKEN_PATH": str(token)}.items():
        monkeypatch.setenv(f"RAY_AUTH_{name}", value)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else all that Ray starts waits for whatever else runs here
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(chaos.ROOT), str(FAKES)]))


@pytest.fixture
def swarm_config(tmp_path: Path, tiny_config: Path) -> Path:
    """Four particles that learn in seconds."""
    path = tmp_path / "swarm.yaml"
    swarm = "swarm: {particles: 4, learning_rates: [0.003, 0.001, 0.0005], heartbeat_sec: 0.2, port: 0}\n"
    path.write_text(tiny_config.read_text().replace("ema: 0.9", "momentum: 0.9") + swarm)
    return path


@pytest.mark.slow
@pytest.mark.ci
def test_a_sweep_on_a_cluster_of_this_machine_finds_what_a_local_one_finds(tmp_path: Path) -> None:
    found = {}
    for launcher in ("local", "ray"):
        document = {
            "name": "small",
            "output": str(tmp_path / launcher),
            "training": {"epochs": 4},
            "sweep": {
                "search": "grid",
                "launcher": launcher,
                "workers": 2,
                "space": {"training.batch_size": [6, 7, 8]},
            },
        }
        path = tmp_path / f"{launcher}.yaml"
        path.write_text(yaml.safe_dump(document))
        done = subprocess.run(
            [sys.executable, "-c", START_FAKE, "sweep", "--config", path, "--no-page"],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "FAKE_TRIAL": "diverge-on-7"},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        trials = record.read_all(Path(done.stdout.strip().splitlines()[-1].removeprefix("sweep: ")))
        assert [one.state for one in trials] == [State.COMPLETE, State.DIVERGED, State.COMPLETE]
        found[launcher] = [(one.point, one.value, one.curve, one.state) for one in trials]
    assert found["ray"] == found["local"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_same_seeds_give_the_same_swarm_on_ray(swarm_config: Path, tmp_path: Path) -> None:
    outcomes = []
    for launcher in ("local", "ray"):
        output = tmp_path / launcher
        output.mkdir()
        server = chaos.start(swarm_config, output, f"swarm.launcher={launcher}", "swarm.particles=2")
        outcomes.append(chaos.outcome(chaos.finish(server, output)))
    assert len(outcomes[0]) == 6
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_swarm_on_two_nodes_loses_nothing_when_one_is_killed(swarm_config: Path, tmp_path: Path) -> None:
    rounds = "training.epochs=8"
    output = tmp_path / "ray"
    output.mkdir()
    with TwoNodes(cpus=4, separate=two_nodes.can_separate()) as nodes:
        text = output.with_suffix(".txt")
        words = ["--config", swarm_config, f"output={output}", rounds, "--ray-address", nodes.address]
        command = nodes.command(0, [sys.executable, "swarm_server.py", *map(str, words)])
        with text.open("wb") as console:
            server = subprocess.Popen(command, cwd=chaos.ROOT, stdout=console, stderr=subprocess.STDOUT)
        try:
            two_nodes.wait_for_line(text, "round 3/8", server)
            killed = nodes.kill(1)
            assert killed, "particles ran on both nodes"
            swarm = chaos.finish(server, output)
        finally:
            server.kill()
            server.wait()
    assert text.read_text().count("was lost; started again from its last committed round") >= len(killed)
    assert chaos.outcome(swarm) == chaos.undisturbed(swarm_config, tmp_path, rounds)


@pytest.mark.slow
@pytest.mark.ci
def test_what_no_cluster_of_this_machine_has_is_told_before_anything_is_begun(
    swarm_config: Path, tmp_path: Path, command: Command
) -> None:
    wanted = ("swarm.launcher=ray", "swarm.ray.num_gpus=99", f"output={tmp_path / 'none'}")
    done = command("swarm_server.py", "--config", swarm_config, *wanted)
    assert done.returncode == 1
    assert "asked for 4 x 99 GPUs; the cluster has" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()
