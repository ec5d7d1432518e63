import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toys

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.training.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]


def test_create_holds_what_is_needed(tmp_path: Path) -> None:
    config, manifest = toys.make_config(tmp_path / "runs"), toys.make_manifest(tmp_path)
    with RunDirectory.create(config, manifest) as run:
        assert run.path.name.startswith("run-20")
        assert RunDirectory.open(run.path).config == config
        assert run.manifest(tmp_path).hash == manifest.hash == run.manifest_hash
        session = files.read_json(run.path / "environment.json")["sessions"][0]
        assert session["versions"]["keras"]
        assert session["python"].startswith("3.")
        assert not run.finished
        run.mark_finished()
        assert run.finished


def test_find_resumable_takes_the_newest_equal_unfinished_run(tmp_path: Path) -> None:
    config, manifest = toys.make_config(tmp_path), toys.make_manifest(tmp_path)
    other = toys.make_config(tmp_path, epochs=9)
    runs = []
    for number, wanted in enumerate((config, config, other, config)):
        with RunDirectory.create(wanted, manifest) as run:
            runs.append(run)
            os.utime(run.path / "config.yaml", (number, number))
    runs[3].mark_finished()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("epochs: [")

    with RunDirectory.find_resumable(config, manifest) as found:
        assert found.path == runs[1].path
    assert len(files.read_json(runs[1].path / "environment.json")["sessions"]) == 2
    assert RunDirectory.find_resumable(toys.make_config(tmp_path, epochs=77), manifest) is None


def test_changed_data_set_is_refused(tmp_path: Path) -> None:
    config = toys.make_config(tmp_path)
    RunDirectory.create(config, toys.make_manifest(tmp_path)).close()
    with pytest.raises(UserError, match="is not the one"):
        RunDirectory.find_resumable(config, toys.make_manifest(tmp_path, count=7))


def test_reopen_names_the_difference(tmp_path: Path) -> None:
    config, manifest = toys.make_config(tmp_path), toys.make_manifest(tmp_path)
    RunDirectory.create(config, manifest).close()
    path = next(tmp_path.glob("run-*"))
    with RunDirectory.reopen(path, config, manifest) as run:
        assert run.path == path
    with pytest.raises(UserError, match=r"training\.epochs was 3, is 5"):
        RunDirectory.reopen(path, toys.make_config(tmp_path, epochs=5), manifest)
    with pytest.raises(UserError, match="no run directory"):
        RunDirectory.reopen(tmp_path / "nothing", config, manifest)


def test_another_process_cannot_write_the_same_run(tmp_path: Path) -> None:
    config, manifest = toys.make_config(tmp_path), toys.make_manifest(tmp_path)
    code = (
        "import sys; from keras_actrec.training.run_directory import RunDirectory as R; run = R.open(sys.argv[1])\n"
        "try: run.lock(); print('locked')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    def lock_elsewhere(path: Path) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, str(path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout

    with RunDirectory.create(config, manifest) as run:
        assert lock_elsewhere(run.path).startswith(f"UserError another process ({os.getpid()})")
    assert lock_elsewhere(run.path) == "locked\n"


def test_child_is_made_once_and_opened_again(tmp_path: Path) -> None:
    config, manifest = toys.make_config(tmp_path), toys.make_manifest(tmp_path)
    with RunDirectory.create(config, manifest) as run:
        other = toys.make_config(tmp_path, epochs=2)
        (run.path / "baseline").mkdir()  # what a kill leaves
        (run.path / "baseline" / "manifest.lock").write_text("{}")
        child = run.child("baseline", other, manifest)
        child.mark_finished()
        assert run.child("baseline", other, manifest).finished
        assert not run.finished
        with pytest.raises(UserError, match="another configuration"):
            run.child("baseline", config, manifest)


def test_say_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunDirectory.create(toys.make_config(tmp_path), toys.make_manifest(tmp_path)) as run:
        run.say("one\ntwo")
        assert capsys.readouterr().out == "one\ntwo\n"
        assert [line.split(" ", 1)[1] for line in run.log.read_text().splitlines()] == ["one", "two"]
        run.add_timing(first=1.0)
        run.add_timing(second=[2.0])
        assert json.loads(run.timing.read_text()) == {"first": 1.0, "second": [2.0]}


def test_interrupt_exits_with_130(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.create(toys.make_config(tmp_path), toys.make_manifest(tmp_path))
    with pytest.raises(SystemExit) as caught, run.interruptible():
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert "--resume" in capsys.readouterr().out
