"""The running of trials, over a program in place of a training that writes the same files."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("optuna")

from keras_actrec import cli
from keras_actrec import config as configuration
from keras_actrec.errors import UserError
from keras_actrec.sweep import live, processes, record
from keras_actrec.sweep.log import Log, failure
from keras_actrec.sweep.record import State
from keras_actrec.sweep.settings import load_sweep_config
from keras_actrec.sweep.sweep import Sweep

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake_trial.py")
SPACE = {"training.batch_size": {"low": 1, "high": 20}, "training.optimizer.learning_rate": [0.1, 0.01]}


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trials are the program of this folder, and lie in the test's own."""
    monkeypatch.setenv("PYTHONPATH", str(FAKE.parent))
    monkeypatch.setattr(processes.trial_program, "__name__", "fake_trial")
    monkeypatch.setattr("keras_actrec.sweep.sweep.POLL_SEC", 0.01)


def write(tmp_path: Path, **sweep: Any) -> Path:
    document = {
        "name": "small",
        "output": str(tmp_path / "runs"),
        "training": {"epochs": 4},
        "sweep": {"space": SPACE, "trials": 8, **sweep},
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def sweep_of(tmp_path: Path, *overrides: str, **section: Any) -> tuple[Sweep, list[str]]:
    lines: list[str] = []
    return Sweep(load_sweep_config(write(tmp_path, **section), overrides), lines.append), lines


def records(sweep: Sweep) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (sweep.path / record.FOLDER).iterdir()}


def test_a_sweep_leaves_the_best_values_a_table_and_pages(tmp_path: Path) -> None:
    sweep, lines = sweep_of(tmp_path)
    sweep.run()
    best = max(sweep.trials, key=lambda one: (one.value, -one.number))
    assert [one.state for one in sweep.trials] == [State.COMPLETE] * 8
    assert best.value == pytest.approx(1 - abs(best.point["training.batch_size"] - 12) / 20 - 0.5 / 4)
    run = configuration.load_config(sweep.path / "best.yaml")
    assert run.training.batch_size == best.point["training.batch_size"]
    assert run.training.optimizer.learning_rate == best.point["training.optimizer.learning_rate"]
    assert run.evaluation.baseline, "what a trial leaves out comes back in the run that is kept"
    rows = list(csv.DictReader((sweep.path / "trials.csv").open()))
    assert [row["parameters"] for row in rows] == [str(100 * int(row["training.batch_size"])) for row in rows]
    assert {row["seconds"] for row in rows} == {"4.0"}
    assert any(line.startswith("best: python train.py --config") for line in lines)
    page = (sweep.path / "report.html").read_text()
    assert all(f'<section id="{name}">' in page for name in ("best", "progress", "importance", "slices", "trials"))
    hiplot = (sweep.path / "hiplot.html").read_text()
    assert r"\"batch_size\"" in hiplot


def test_the_same_command_adds_nothing_and_more_trials_are_added(tmp_path: Path) -> None:
    first, _ = sweep_of(tmp_path, "sweep.trials=5")
    first.run()
    before = records(first)
    again, lines = sweep_of(tmp_path, "sweep.trials=5")
    again.run()
    assert records(again) == before
    assert "5 trials are there already, 0 were interrupted and go on" in lines
    more, _ = sweep_of(tmp_path)
    more.run()
    assert len(records(more)) == 8
    assert before.items() <= records(more).items()
    whole, _ = sweep_of(tmp_path, "name=whole")
    whole.run()
    assert records(whole) == records(more)


def test_a_killed_sweep_goes_on_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, _ = sweep_of(tmp_path, "name=whole", pruner="median", pruner_startup_trials=2)
    undisturbed.run()
    assert State.PRUNED in {one.state for one in undisturbed.trials}
    path = write(tmp_path, pruner="median", pruner_startup_trials=2)
    sweep = Sweep(load_sweep_config(path), lambda line: None)
    script = (
        "from keras_actrec.sweep import processes, sweep\n"
        "from keras_actrec.sweep.settings import load_sweep_config\n"
        "processes.trial_program.__name__ = 'fake_trial'\n"
        f"sweep.Sweep(load_sweep_config({str(path)!r})).run()\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{FAKE.parent}", "FAKE_EPOCH_SEC": "0.3"}
    for wanted in (2, 4):
        process = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (sweep.path / "trials" / f"{wanted:04}" / "history.csv").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert State.RUNNING in {one.state for one in record.read_all(sweep.path)}
    _wait_until_no_trial_runs(sweep.path)
    sweep.run()
    assert records(sweep) == records(undisturbed)


def _wait_until_no_trial_runs(path: Path) -> None:
    """The trials of a killed sweep end by themselves."""
    deadline = time.monotonic() + 20
    while subprocess.run(["pgrep", "-f", str(path)], capture_output=True, check=False).stdout.strip():
        assert time.monotonic() < deadline, "a trial outlived its sweep"
        time.sleep(0.05)


def test_workers_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_EPOCH_SEC", "0.2")
    sweep, _ = sweep_of(tmp_path, workers=3, trials=3)
    most = 0
    started = sweep._processes.start

    def start(number: int) -> None:
        nonlocal most
        started(number)
        most = max(most, len(sweep._processes.numbers))

    monkeypatch.setattr(sweep._processes, "start", start)
    sweep.run()
    assert most == 3
    assert sorted(records(sweep)) == ["0001.json", "0002.json", "0003.json"]


@pytest.mark.parametrize(
    ("kind", "state", "told"),
    [
        ("fail-on-7", State.FAILED, "the folder videos does not exist"),
        ("diverge-on-7", State.DIVERGED, "training diverged"),
        ("crash-on-7", State.FAILED, "ended with SIGSEGV"),
    ],
)
def test_a_trial_that_goes_wrong_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, state: State, told: str
) -> None:
    monkeypatch.setenv("FAKE_TRIAL", kind)
    sweep, lines = sweep_of(tmp_path, search="grid", trials=4, space={"training.batch_size": [6, 7, 8, 9]})
    sweep.run()
    assert [one.state for one in sweep.trials] == [State.COMPLETE, state, State.COMPLETE, State.COMPLETE]
    assert told in sweep.trials[1].reason
    assert any(told in line for line in lines)
    assert "trial 2" in (sweep.path / "best.yaml").read_text() or "trial 4" in (sweep.path / "best.yaml").read_text()


def test_errors_of_earlier_sessions_are_not_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRIAL", "crash-in-preparation")
    sweep, _ = sweep_of(tmp_path, search="grid", trials=1, space={"training.batch_size": [7]})
    (sweep.path / "logs").mkdir(parents=True)
    for name in ("prepare.txt", "0001.txt"):
        (sweep.path / "logs" / name).write_text("error: the folder of yesterday is missing.\n")
    with pytest.raises(UserError, match="ended with SIGSEGV: reading the manifest "):
        sweep.run()
    monkeypatch.setenv("FAKE_TRIAL", "crash-on-7")
    sweep, _ = sweep_of(tmp_path, search="grid", trials=1, space={"training.batch_size": [7]})
    sweep.run()
    assert sweep.trials[0].reason.startswith("ended with SIGSEGV: it said nothing (see ")
    assert "yesterday" in (sweep.path / "logs" / "0001.txt").read_text()


def test_what_went_wrong_in_a_process(tmp_path: Path) -> None:
    log = Log.of(tmp_path, 3)
    assert failure(log, 2) == f"ended with code 2: it said nothing (see {log.path})"
    log.path.write_text("error: first.\nerror: second.\n\nand then\n")
    assert failure(log, 1) == "second."
    assert failure(log, -9) == f"ended with SIGKILL: and then (see {log.path})", "it would have gone on"
    assert failure(Log.of(tmp_path, 3), 1) == f"ended with code 1: it said nothing (see {log.path})"


def test_a_record_that_is_deleted_is_tried_again_under_a_new_number(tmp_path: Path) -> None:
    section = {"search": "grid", "trials": 3, "space": {"training.batch_size": [6, 7, 8]}}
    first, _ = sweep_of(tmp_path, **section)
    first.run()
    for number in (1, 3):
        record.path_of(first.path, number).unlink()
    again, _ = sweep_of(tmp_path, **section)
    again.run()
    assert {one.number: one.point["training.batch_size"] for one in again.trials} == {2: 7, 4: 6, 5: 8}
    for number in (3, 5):
        assert configuration.load_config(first.path / f"trials/{number:04}.yaml").training.batch_size == 8


def test_when_all_trials_fail_the_sweep_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRIAL", "fail")
    sweep, _ = sweep_of(tmp_path)
    with pytest.raises(UserError, match=r"the first 3 trials failed.*the folder videos does not exist"):
        sweep.run()
    assert len(records(sweep)) == 3


def test_two_sweeps_do_not_write_one_folder(tmp_path: Path) -> None:
    sweep, _ = sweep_of(tmp_path)
    sweep.path.mkdir(parents=True)
    lock = __import__("keras_actrec.locking", fromlist=["Lock"]).Lock(sweep.path / ".lock")
    lock.acquire()
    with pytest.raises(UserError, match="another process"):
        sweep.run()


def test_hours_count_over_sessions(tmp_path: Path) -> None:
    sweep, _ = sweep_of(tmp_path, hours=1.0)
    sweep.path.mkdir(parents=True)
    (sweep.path / "clock.json").write_text(json.dumps({"seconds": 3600.0}))
    spent, lines = sweep_of(tmp_path, hours=1.0)
    spent.run()
    assert spent.trials == []
    assert "no trial has gone its whole way, so there is no best one" in lines


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    sweep, _ = sweep_of(tmp_path, "sweep.trials=1")
    sweep.run()
    (sweep.path / record.FOLDER / "0001.json").write_text("{")
    again, _ = sweep_of(tmp_path, "sweep.trials=1")
    with pytest.raises(UserError, match=r"0001\.json is no record of a trial"):
        again.run()


@pytest.mark.parametrize("port", [70000, -1])
def test_a_port_that_is_none(tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", "--config", str(write(tmp_path)), "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"error: --port: expected 0 to 65535, got {port}.\n"


def test_the_live_page_shows_trials_that_run_and_is_for_this_machine_alone(tmp_path: Path) -> None:
    sweep, _ = sweep_of(tmp_path, "sweep.trials=2")
    with live.serving(sweep, 0) as address:
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert "No trial has gone its whole way yet" in answer.read().decode()
        sweep.run()
        with urllib.request.urlopen(f"{address}/hiplot", timeout=10) as answer:
            assert r"\"batch_size\"" in answer.read().decode()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}), timeout=10)
        assert caught.value.code == 400
