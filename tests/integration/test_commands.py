"""The commands, run as a user runs them: in processes of their own."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from keras_actrec import files

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
Command = Callable[..., subprocess.CompletedProcess[str]]


def run_directory(done: subprocess.CompletedProcess[str]) -> Path:
    """The directory that the last line of a training run names."""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("run: ")
    return Path(last.removeprefix("run: "))


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, stick_actions: Path, command: Command
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One tiny run that the tests of this file look at."""
    folder = tmp_path_factory.mktemp("finished")
    config = folder / "tiny.yaml"
    config.write_text(
        f"""
name: tiny
output: {folder / "runs"}
data:
  root: {stick_actions}
  stick_actions: {{clips_per_class: 12, difficulty: easy, seed: 1}}
  frames: 4
  size: 32
model: {{name: convnet_rnn, backbone: tiny, weights: none, head_units: 16}}
training: {{epochs: 2, batch_size: 16, optimizer: {{name: adam, learning_rate: 0.003}}}}
"""
    )
    done = command("train.py", "--config", config)
    return run_directory(done), done


def test_a_run_directory_holds_all(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    directory, _ = finished
    expected = {
        *("config.yaml", "environment.json", "manifest.lock", "history.csv", "metrics.json", "report.html", "log.txt"),
        *("model.keras", "timing.json", "checkpoints", "tensorboard", "baseline"),
    }
    assert expected <= {entry.name for entry in directory.iterdir()}
    metrics = files.read_json(directory / "metrics.json")
    for section, key in [("test", "top1"), ("test", "top5"), ("test", "coverage"), ("validation", "top1")]:
        assert 0 <= metrics[section][key] <= 1
    assert 0 <= metrics["baseline"]["single_frame"]["top1"] <= 1
    assert {"shuffled", "reversed", "frozen"} <= set(metrics["temporal"])
    assert metrics["params"] > 0
    assert metrics["flops"] > 0


def test_the_console_names_classes_baseline_and_report(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    directory, done = finished
    assert "SitDown" in done.stdout
    assert "single frame" in done.stdout.lower()
    assert str(directory / "report.html") in done.stdout
    assert "Traceback" not in done.stderr


def test_resuming_a_finished_run_says_so(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Command
) -> None:
    directory, _ = finished
    before = (directory / "metrics.json").read_bytes()
    done = command("train.py", "--config", directory / "config.yaml", "--resume", directory)
    assert run_directory(done) == directory
    assert "finished" in done.stdout
    assert (directory / "metrics.json").read_bytes() == before


def test_the_test_split_is_evaluated_to_the_same_number(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Command
) -> None:
    directory, _ = finished
    done = command("-m", "keras_actrec", "evaluate", "--run", directory)
    assert done.returncode == 0, done.stderr
    again = files.read_json(directory / "evaluation-test.json")
    assert again["test"]["top1"] == files.read_json(directory / "metrics.json")["test"]["top1"]


def test_training_clips_are_refused_unless_allowed(
    finished: tuple[Path, subprocess.CompletedProcess[str]], answer: Command
) -> None:
    directory, _ = finished
    evaluate = ("evaluate", "--run", directory, "--split", "train")
    refused = answer(*evaluate)
    assert refused.returncode == 1
    assert "--allow-contaminated" in refused.stderr
    other_fold = answer("evaluate", "--run", directory, "data.fold=2")
    assert other_fold.returncode == 1
    assert "--allow-contaminated" in other_fold.stderr
    allowed = answer(*evaluate, "--allow-contaminated")
    assert allowed.returncode == 0, allowed.stderr
    assert "contaminated" in allowed.stdout.lower()
    assert files.read_json(directory / "evaluation-train.json")["contaminated"] is True


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train.py", "--config", "nowhere.yaml"), "there is no configuration"),
        (("train.py", "--config", "configs/quickstart.yaml", "training.epoch=1"), "'epochs'"),
        (("train.py", "--config", "configs/quickstart.yaml", "model.bakbone=tiny"), "'backbone'"),
        (("train.py",), "--config"),
        (("-m", "keras_actrec", "trian"), "'train'"),
        (("-m", "keras_actrec", "models", "convnet_transfomer"), "'convnet_transformer'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    assert_one_line(command, tmp_path / "runs", arguments, expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "--config", "configs/quickstart.yaml", "model.name=convnet_transfomer"), "'convnet_transformer'"),
        (("train", "--config", "configs/quickstart.yaml", "data.source=folder", "data.root=nowhere"), "nowhere"),
        (("train", "--config", "configs/quickstart.yaml", "--resume", "nowhere"), "nowhere"),
        (("evaluate", "--run", "nowhere"), "nowhere"),
    ],
)
def test_so_is_one_that_is_seen_once_keras_is_there(
    answer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], expected: str
) -> None:
    monkeypatch.chdir(ROOT)
    assert_one_line(answer, tmp_path / "runs", arguments, expected)


def assert_one_line(run: Command, output: Path, arguments: tuple[str, ...], expected: str) -> None:
    overrides = (f"output={output}",) if "configs/quickstart.yaml" in arguments else ()
    done = run(*arguments, *overrides)
    assert done.returncode in {1, 2}
    complaint = done.stderr.strip().splitlines()[-1]
    assert complaint.startswith("error: ")
    assert expected in complaint
    assert "Traceback" not in done.stderr
    assert not output.exists()


def test_every_command_has_help_with_an_example(command: Command) -> None:
    overview = command("-m", "keras_actrec", "--help")
    assert overview.returncode == 0
    for name in ("train", "prepare", "evaluate", "models", "datasets", "schema"):
        assert name in overview.stdout
        helped = command("-m", "keras_actrec", name, "--help")
        assert helped.returncode == 0
        assert f"example: python -m keras_actrec {name}" in helped.stdout


def test_models_and_schema_print_what_they_promise(command: Command) -> None:
    names = command("-m", "keras_actrec", "models").stdout.split()
    assert {"convnet_transformer", "convnet_rnn", "single_frame", "frame_average"} <= set(names)
    assert "backbone" in command("-m", "keras_actrec", "models", "convnet_transformer").stdout
    schema = json.loads(command("-m", "keras_actrec", "schema").stdout)
    assert "training" in schema["properties"]


def test_datasets_prints_the_counts(command: Command, tiny_config: Path) -> None:
    done = command("-m", "keras_actrec", "datasets", "--config", tiny_config)
    assert done.returncode == 0, done.stderr
    assert "SitDown" in done.stdout
    assert "validation" in done.stdout


@pytest.mark.slow
def test_all_folds_are_run_and_summarised(tiny_config: Path, tmp_path: Path, command: Command) -> None:
    quick = ("training.epochs=1", "evaluation.baseline=false", "evaluation.probes=false")
    directory = run_directory(command("train.py", "--config", tiny_config, "folds=all", *quick))
    summary = files.read_json(directory / "metrics.json")
    assert summary["folds"] == [1, 2, 3]
    single = [files.read_json(directory / f"fold-{fold}" / "metrics.json")["test"]["top1"] for fold in (1, 2, 3)]
    assert summary["summary"]["test.top1"]["values"] == single
    assert summary["summary"]["test.top1"]["mean"] == pytest.approx(sum(single) / 3)
    assert (directory / "report.html").exists()
