"""What is in deploy/: scripts that shells accept, files that fit the repository, and a SLURM job played through."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from keras_actrec.swarm.settings import SwarmConfig, load_swarm_config

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
SRUN = """#!/usr/bin/env bash
# Stands for SLURM's srun: the command once per task, side by side.
for task in $(seq 0 $((SLURM_NTASKS - 1))); do SLURM_PROCID=$task "${@:3}" & done
wait
"""
CLUSTER_ONLY = ("swarm.launcher=", "swarm.ray.")
"""Keys of the launcher for clusters."""


def test_shells_accept_the_scripts() -> None:
    for script in DEPLOY.glob("*.sh"):
        subprocess.run(["bash", "-n", script], check=True)
        assert os.access(script, os.X_OK)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", script], check=True)


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    text = (DEPLOY / "keras-actrec-swarm.service").read_text()
    unit = tmp_path / "keras-actrec-swarm.service"
    unit.write_text(text.replace("/opt/keras_actrec/.venv/bin/python", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_starts_what_is_there() -> None:
    (start,) = re.findall(r"^ExecStart=(.*)$", (DEPLOY / "keras-actrec-swarm.service").read_text(), re.M)
    words = start.split()
    assert (ROOT / words[2]).is_file()
    assert "--resume" in words


def manifest(kind: str) -> dict[str, Any]:
    found = yaml.safe_load_all((DEPLOY / "kuberay-swarm.yaml").read_text())
    return next(document for document in found if document["kind"] == kind)


def test_the_cluster_has_a_place_for_each_particle_and_they_share_a_volume() -> None:
    job, claim = manifest("RayJob")["spec"], manifest("PersistentVolumeClaim")
    words = job["entrypoint"].split()
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    assert words[words.index("--particles") + 1] == str(group["replicas"])
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    images = set()
    for part in (job["rayClusterSpec"]["headGroupSpec"], group):
        pod = part["template"]["spec"]
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        for container in pod["containers"]:
            images.add(container["image"])
            assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"]]
    assert len(images) == 1, "server and particles are the same package"
    pinned = re.findall(r"^ray==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.M)
    assert pinned in ([], [job["rayClusterSpec"]["rayVersion"]])


def test_the_keys_of_the_cluster_are_keys() -> None:
    words = manifest("RayJob")["spec"]["entrypoint"].split()
    config = words[words.index("--config") + 1]
    known = set(SwarmConfig.model_fields["swarm"].annotation.model_fields)
    pairs = [word for word in words if "=" in word and ("launcher" in known or not word.startswith(CLUSTER_ONLY))]
    assert load_swarm_config(ROOT / config, pairs).output == "/shared/runs"


def test_the_container_copies_what_is_there_and_pins_what_is_pinned() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    (pin,) = re.findall(r'^ARG TENSORFLOW="(.*)"$', text, re.M)
    assert re.search(rf"^{re.escape(pin)}\b", (ROOT / "requirements.txt").read_text(), re.M)


@pytest.mark.integration
@pytest.mark.slow
def test_a_slurm_job_runs_a_swarm(tiny_config: Path, tmp_path: Path) -> None:
    tools, config, output = tmp_path / "tools", tmp_path / "swarm.yaml", tmp_path / "runs"
    tools.mkdir()
    (tools / "srun").write_text(SRUN)
    (tools / "srun").chmod(0o755)
    text = tiny_config.read_text().replace("ema: 0.9", "momentum: 0.9")
    config.write_text(f"{text}swarm: {{learning_rates: [0.003, 0.001], heartbeat_sec: 0.3, silence_sec: 15}}\n")
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "SLURM_NTASKS": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }
    job = [DEPLOY / "slurm-swarm.sh", config, f"output={output}", "seed=5"]
    running = subprocess.Popen(
        job,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        kill_a_particle(output)
        told, _ = running.communicate(timeout=600)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0, told
    assert "best: " in told
    assert "If it has ended, this process takes its place" in told
    (swarm,) = output.glob("*/result.json")
    assert len(json.loads(swarm.read_text())["particles"]) == 2


def kill_a_particle(output: Path) -> None:
    """Kill the process of the second particle, as a machine without memory would, once it has begun to train."""
    deadline = time.monotonic() + 300
    while not (found := list(output.glob("*/particles/particle-2/history.csv"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            if str(found[0].parents[2]) in words and words[words.index("--particle") + 1] == "2" and "-m" in words:
                os.kill(int(entry.name), signal.SIGKILL)
