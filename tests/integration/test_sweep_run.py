"""A sweep of real trainings, killed in the middle, and the run that is trained with its best values."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from keras_actrec import files

pytest.importorskip("optuna")
pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


def test_a_killed_sweep_ends_and_its_best_values_train(
    tiny_config: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    document = yaml.safe_load(tiny_config.read_text())
    document["training"] |= {"regime": "transfer", "epochs": 2}
    document["data"].pop("augmentation")
    document["evaluation"] = {"baseline": False, "probes": False, "throughput": False}
    document["sweep"] = {"search": "grid", "workers": 2, "space": {"model.heads": [1, 2], "model.head_units": [8, 16]}}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(document))
    arguments = ["-m", "keras_actrec", "sweep", "--config", str(path), "--no-page"]
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("runs/tiny-*/trials/*/history.csv")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)

    done = command(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = Path(done.stdout.strip().splitlines()[-1].removeprefix("sweep: "))
    trials = [files.read_json(record) for record in sorted((sweep / "records").iterdir())]
    assert [trial["state"] for trial in trials] == ["complete"] * 4
    assert all(trial["results"]["parameters"] > 0 for trial in trials)
    assert not list(sweep.glob("trials/*/metrics.json")), "no trial has looked at the test split"
    caches = list((sweep / ".features").iterdir())
    assert len(caches) == 1, "all trials share the features of one backbone"

    trained = command("train.py", "--config", sweep / "best.yaml")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    run = Path(trained.stdout.strip().splitlines()[-1].removeprefix("run: "))
    best = max(trial["value"] for trial in trials)
    assert files.read_json(run / "metrics.json")["validation"]["top1"] == pytest.approx(best, abs=1e-6)
