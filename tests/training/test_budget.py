"""How long a run and its baseline train: equal numbers of steps, and the time of all sessions."""

from pathlib import Path
from typing import Any

import pytest
import toys

from keras_actrec import files
from keras_actrec.config import parse_config
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.training import distribution, fold, joint
from keras_actrec.training.run_directory import RunDirectory


def half_labelled(root: Path) -> Manifest:
    """Return four labelled clips, and 50 without a label."""
    clips = [Clip(f"{n}.mp4", "xy"[n % 2], "train") for n in range(4)]
    clips += [Clip(f"{n}.mp4", None, "unlabelled") for n in range(4, 54)]
    return Manifest.from_clips("half", root, 1, [*clips, Clip("v.mp4", "x", "validation")], ("x", "y"))


@pytest.mark.parametrize(("steps", "expected"), [(0, 7), (3, 3)])
def test_the_baseline_of_a_semi_supervised_run_takes_as_many_steps(tmp_path: Path, steps: int, expected: int) -> None:
    """Eight unlabelled clips a step: seven steps show the 50 once. The labelled clips alone are one batch."""
    semi = {"unlabelled_ratio": 2, "contrastive_weight": 0}
    training = {"batch_size": 4, "steps_per_epoch": steps, "semi_supervised": semi}
    baseline = fold.baseline_config(parse_config({"training": training}), half_labelled(tmp_path))
    assert baseline.training.semi_supervised is None
    assert baseline.training.steps_per_epoch == expected


def test_the_baseline_of_a_supervised_run_takes_its_steps(tmp_path: Path) -> None:
    for steps in (0, 5):
        config = parse_config({"training": {"steps_per_epoch": steps}})
        assert fold.baseline_config(config, half_labelled(tmp_path)).training.steps_per_epoch == steps


class Clock:
    """Stands for the module `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("module", [fold, joint])
def test_the_time_of_a_resumed_run_is_that_of_all_its_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    """Two epochs of 10 s were done when it was killed; the rest takes 7 s."""
    clock = Clock()

    def train(*_: Any) -> fold.Learnt:
        clock.now += 7
        return fold.Learnt(None, None, None, None)

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(RunDirectory, "add_timing", ending(RunDirectory.add_timing))
    manifest = toys.make_manifest(tmp_path)
    with RunDirectory.create(toys.make_config(tmp_path), manifest) as run:
        files.write_json(run.timing, {"epochs_sec": [10.0, 10.0]})
        with pytest.raises(InterruptedError):
            if module is joint:
                monkeypatch.setattr(joint, "_parts", lambda *_: [])
                monkeypatch.setattr(joint, "_record_provenance", lambda *_: None)
                monkeypatch.setattr(joint, "_fit", train)
                joint.run(run, (), None)
            else:
                monkeypatch.setattr(fold, "train_only", train)
                monkeypatch.setattr(fold.weights, "save_model", lambda *_: None)
                fold.run_fold(run, manifest, distribution.Hardware(("CPU:0",)))
        assert files.read_json(run.timing)["training_sec"] == 27


def ending(original: Any) -> Any:
    """Return what writes a time down and goes no further."""

    def add(run: RunDirectory, **seconds: Any) -> None:
        original(run, **seconds)
        raise InterruptedError

    return add
