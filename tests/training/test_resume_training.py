"""A run that is killed at any moment and resumed has the same bits as one that is left alone."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import resumable_program
import toys

from keras_actrec import tensor_file
from keras_actrec.errors import UserError
from keras_actrec.training import callbacks, distribution, seeding, supervised
from keras_actrec.training.run_directory import RunDirectory

PROGRAM = Path(__file__).parent / "resumable_program.py"
ROOT = Path(__file__).parents[2]


class PowerCutError(Exception):
    """Stands for the end of the process."""


class CutAt(toys.ArrayLoader):
    """Fails in the middle of an epoch."""

    moment = (99, 0)

    def batches(self) -> Any:
        for index, batch in enumerate(super().batches()):
            if (self.epoch, index) == self.moment:
                raise PowerCutError
            yield batch


def train(output: Path, moment: tuple[int, int] = (99, 0), **changes: Any) -> tuple[RunDirectory, Any]:
    """Train or resume in this process; return the run and the weights of the best epoch."""
    config = toys.make_config(output, **{**resumable_program.TRAINING, **changes})
    manifest = toys.make_manifest(output)
    run = RunDirectory.find_resumable(config, manifest) or RunDirectory.create(config, manifest)
    with run:
        hardware = distribution.set_up(config.training)
        seeding.seed_everything(config.seed)
        model = toys.make_network()
        loader = CutAt(*toys.make_arrays(21))
        loader.moment = moment
        validation = toys.ArrayLoader(*toys.make_arrays(9, seed=1), shuffle=False)
        supervised.fit(model, loader, validation, config.training, run, hardware=hardware)
    return run, model.get_weights()


def newest_state(run: RunDirectory) -> dict[str, np.ndarray]:
    """Return the arrays of the newest state under names that do not depend on Keras' counters."""
    path = sorted(run.checkpoints.glob("state-*"))[-1]
    return {name.split("/")[0] + name.split("/")[1]: value for name, value in tensor_file.load(path)[0].items()}


def assert_equal_runs(first: RunDirectory, second: RunDirectory) -> None:
    assert first.history.read_bytes() == second.history.read_bytes()
    states = newest_state(first), newest_state(second)
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Any]:
    return train(tmp_path_factory.mktemp("undisturbed"))


def test_cut_in_every_epoch(undisturbed: Any, tmp_path: Path) -> None:
    """One run, which is cut again and again: before there is a state, at an epoch's first batch, in its middle."""
    for moment in ((0, 2), (1, 0), (2, 5), (3, 1)):
        with pytest.raises(Exception, match="PowerCutError"):
            train(tmp_path, moment)
    run, weights = train(tmp_path)

    assert len(list(tmp_path.glob("run-*"))) == 1
    assert_equal_runs(undisturbed[0], run)
    for first, second in zip(undisturbed[1], weights, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("method", "before"), [("save_best", True), ("save_state", True), ("save_state", False)])
def test_cut_around_a_checkpoint(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, before: bool
) -> None:
    """Behind the best weights the state is saved at once, so that the cut between them is one."""
    original = getattr(callbacks.Checkpoints, method)
    calls = []

    def cut(*arguments: Any) -> None:
        calls.append(1)
        if not before or len(calls) < 2:
            original(*arguments)
        if len(calls) == 2:
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, method, cut)
        with pytest.raises(PowerCutError):
            train(tmp_path)
    assert_equal_runs(undisturbed[0], train(tmp_path)[0])


def test_state_is_complete(undisturbed: Any) -> None:
    arrays, notes = tensor_file.load(sorted(undisturbed[0].checkpoints.glob("state-*"))[-1])
    names = " ".join(arrays)
    for part in ("seed_generator_state", "moving_mean", "average", "gradient_accumulator", "momentum", "iteration"):
        assert part in names
    assert notes["provenance"]["manifest"] == undisturbed[0].manifest_hash
    assert notes["provenance"]["classes"] == ["class_0", "class_1", "class_2"]
    assert len(list(undisturbed[0].checkpoints.glob("state-*"))) == 2


def test_damaged_newest_state_falls_back(undisturbed: Any, tmp_path: Path) -> None:
    shutil.copytree(undisturbed[0].path, tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").glob("state-*"))[-1]
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    config = toys.make_config(tmp_path, **resumable_program.TRAINING)
    (tmp_path / "run" / "config.yaml").unlink()
    configuration_of(config, tmp_path / "run")

    with pytest.warns(UserWarning, match="digest"):
        run, _ = train(tmp_path)
    assert_equal_runs(undisturbed[0], run)


def configuration_of(config: Any, path: Path) -> None:
    from keras_actrec import config as configuration

    configuration.save_config(config, path / "config.yaml")


def test_only_damaged_states_are_an_error(undisturbed: Any, tmp_path: Path) -> None:
    shutil.copytree(undisturbed[0].path, tmp_path / "run")
    configuration_of(toys.make_config(tmp_path, **resumable_program.TRAINING), tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("state-*"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning), pytest.raises(UserError, match="start a new run"):
        train(tmp_path)


def test_a_finished_training_is_not_repeated(undisturbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    run, weights = train(undisturbed[0].path.parent)
    assert run.path == undisturbed[0].path
    for first, second in zip(undisturbed[1], weights, strict=True):
        np.testing.assert_array_equal(first, second)


def start(output: Path, pause_sec: float = 0.0) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(PROGRAM), str(output), str(pause_sec)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def kill_after(output: Path, epochs: int, delay_sec: float) -> bool:
    """Start or resume a run, and kill it some time after so many epochs are done; False when it ended before that."""
    process = start(output, pause_sec=0.15)
    deadline = time.monotonic() + 120
    pattern = f"run-*/checkpoints/state-{epochs:04d}.safetensors" if epochs else "run-*/config.yaml"
    while not any(output.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay_sec)
    killed = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    calm = start(tmp_path / "calm")
    assert calm.wait(timeout=240) == 0, calm.communicate()[0]
    generator = random.Random(seed)
    kills = [kill_after(tmp_path / "killed", epochs, generator.uniform(0, 1.2)) for epochs in (0, 1, 2, 3)]
    assert sum(kills) >= 3
    if not any((tmp_path / "killed").glob("run-*/finished.json")):
        process = start(tmp_path / "killed")
        assert process.wait(timeout=240) == 0, process.communicate()[0]

    assert len(list((tmp_path / "killed").glob("run-*/history.csv"))) == 1
    first, second = (
        RunDirectory.open(next((tmp_path / name).glob("run-*/history.csv")).parent) for name in ("calm", "killed")
    )
    assert_equal_runs(first, second)
    for ours, theirs in zip(best_weights(first), best_weights(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def best_weights(run: RunDirectory) -> list[np.ndarray]:
    """Return the arrays of the best weights, by position."""
    path = sorted(run.checkpoints.glob("best-*"))[-1]
    arrays, _ = tensor_file.load(path)
    return [arrays[name] for name in sorted(arrays)]


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_can_be_resumed(tmp_path: Path) -> None:
    process = start(tmp_path, pause_sec=0.15)
    deadline = time.monotonic() + 90
    while not any(tmp_path.glob("run-*/history.csv")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "--resume" in output.splitlines()[-1]
    assert "Traceback" not in output

    process = start(tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert len(list(tmp_path.glob("run-*/finished.json"))) == 1
