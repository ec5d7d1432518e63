"""Training on two data sets at once, through the commands."""

import functools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from keras_actrec import files

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
Command = Callable[..., subprocess.CompletedProcess[str]]
KEPT = ("SitDown", "StandUp", "OpenDoor")
REGIME = "training.regime"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, stick_actions: Path) -> Path:
    """Two data sets: the rendered one, and a folder with three of its classes from another rendering's clips."""
    folder = tmp_path_factory.mktemp("joint")
    for label in KEPT:
        source = next(path for path in stick_actions.rglob(label) if path.is_dir())
        shutil.copytree(source, folder / "few" / label)
    path = folder / "joint.yaml"
    path.write_text(
        f"""
name: joint
output: {folder / "runs"}
data:
  root: {stick_actions}
  stick_actions: {{clips_per_class: 12, difficulty: easy, seed: 1}}
  frames: 4
  size: 32
joint:
  - {{source: folder, root: {folder / "few"}}}
model: {{name: convnet_rnn, backbone: tiny, weights: none, units: 16, head_units: 16}}
training: {{epochs: 2, batch_size: 16, optimizer: {{name: adam, learning_rate: 0.003}}}}
evaluation: {{baseline: false, probes: false, throughput: false}}
logging: {{tensorboard: false}}
"""
    )
    return path


def directory_of(done: subprocess.CompletedProcess[str]) -> Path:
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return Path(done.stdout.strip().splitlines()[-1].removeprefix("run: "))


@pytest.fixture(scope="module")
def trained(config: Path, command: Command) -> Callable[[str], Path]:
    """Train once in a regime, and return the run directory of the whole."""
    return functools.cache(lambda regime: directory_of(command("train.py", "--config", config, f"{REGIME}={regime}")))


@pytest.mark.parametrize("regime", ["end_to_end", pytest.param("transfer", marks=pytest.mark.slow)])
def test_each_data_set_gets_a_network_numbers_and_a_report(
    trained: Callable[[str], Path], answer: Command, regime: str
) -> None:
    whole = trained(regime)
    summary = files.read_json(whole / "metrics.json")
    assert list(summary["joint"]) == ["few", "stick-actions"]
    assert (summary["joint"]["few"]["classes"], summary["joint"]["stick-actions"]["classes"]) == (3, 12)
    for name, numbers in summary["joint"].items():
        own = files.read_json(whole / name / "metrics.json")
        assert own["test"]["top1"] == numbers["test"]["top1"]
        assert (whole / name / "report.html").exists()
        assert len((whole / name / "history.csv").read_text().splitlines()) == 3
        assert f"{name}/report.html" in (whole / "report.html").read_text()
        # The folder holds copies of the other set's clips: the body has learnt each one's test clips in the other.
        assert own["contaminated"] is True
        evaluate = ("evaluate", "--run", whole / name)
        refused = answer(*evaluate)
        assert refused.returncode == 1
        assert "--allow-contaminated" in refused.stderr
        assert answer(*evaluate, "--allow-contaminated").returncode == 0
        assert files.read_json(whole / name / "evaluation-test.json")["test"]["top1"] == own["test"]["top1"]
    of_all = answer("evaluate", "--run", whole)
    assert of_all.returncode == 1
    assert "several data sets" in of_all.stderr


@pytest.mark.slow
def test_a_killed_joint_run_goes_on_to_the_same_end(
    config: Path, trained: Callable[[str], Path], command: Command, tmp_path: Path
) -> None:
    undisturbed = trained("end_to_end")
    output = tmp_path / "killed"
    _kill_after_the_first_epoch(config, output)
    assert not list(output.glob("*/metrics.json"))
    resumed = directory_of(command("train.py", "--config", config, f"output={output}", "--resume"))
    assert len(list(output.glob("joint-*"))) == 1
    for name in ("metrics.json", "history.csv", "few/metrics.json", "stick-actions/history.csv"):
        assert (resumed / name).read_bytes() == (undisturbed / name).read_bytes()


def _kill_after_the_first_epoch(config: Path, output: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "train.py", "--config", str(config), f"output={output}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 300
    while not list(output.glob("*/checkpoints/state-*")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    process.kill()
    process.wait(60)
