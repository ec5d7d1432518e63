"""Which folders count as finished runs, and what is read of them."""

from __future__ import annotations

import datetime
from pathlib import Path

import made_runs
import pytest

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.evaluation import run_search


def test_finds_runs_at_any_depth_in_the_order_of_the_arguments(tmp_path: Path) -> None:
    deep = made_runs.make(tmp_path / "old" / "deeper", "b", 1, 0.5)
    first, second = (made_runs.make(tmp_path / "new", name, 1, 0.5) for name in ("a", "c"))
    found = run_search.find([tmp_path / "old", tmp_path / "new"])
    assert [run.path for run in found.runs] == [deep, first, second]
    assert [run.name for run in found.runs] == ["b", "a", "c"]
    assert not found.left_out


def test_a_run_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    path = made_runs.make(tmp_path, "a", 1, 0.5)
    (tmp_path / "link").symlink_to(path)
    assert [run.path for run in run_search.find([path, tmp_path, tmp_path / "link"]).runs] == [path]


@pytest.mark.parametrize("child", ["baseline", "fold-2", "ucf101"])
def test_runs_within_a_run_are_part_of_it(tmp_path: Path, child: str) -> None:
    path = made_runs.make(tmp_path, "a", 1, 0.5)
    made_runs.make(tmp_path / "elsewhere", "inner", 1, 0.1).rename(path / child)
    (tmp_path / "elsewhere").rmdir()
    assert [run.path for run in run_search.find([tmp_path]).runs] == [path]
    assert [run.name for run in run_search.find([path / child]).runs] == ["inner"]


def test_networks_of_a_swarm_are_runs(tmp_path: Path) -> None:
    (tmp_path / "swarm").mkdir()
    (tmp_path / "swarm" / "config.yaml").write_text("name: many\nswarm: {particles: 2}\n")
    best = made_runs.make(tmp_path / "swarm", "best", 1, 0.5)
    assert [run.path for run in run_search.find([tmp_path]).runs] == [best]


def test_numbers_and_times(tmp_path: Path) -> None:
    path = made_runs.make(tmp_path, "a", 7, 0.5, minutes=1.5, ended="2025-03-01T12:00:00+02:00")
    run = run_search.open_run(path)
    assert (run.seed, run.minutes, run.value("test.top1"), run.value("test.top5")) == (7, 1.5, 0.5, 0.7)
    assert run.value("test.pairs.mean") is None
    assert run.finished == datetime.datetime(2025, 3, 1, 10, tzinfo=datetime.UTC)
    assert run.config["training"]["epochs"] == 20, "defaults are filled in"
    assert run_search.open_run(made_runs.make(tmp_path, "b", 7, 0.5, minutes=None)).minutes is None


def test_several_folds_count_by_their_mean(tmp_path: Path) -> None:
    summary = {"test.top1": {"mean": 0.6, "std": 0.1, "values": [0.5, 0.7]}}
    path = made_runs.make(tmp_path, "a", 1, 0.5)
    files.write_json(path / "metrics.json", {"summary": summary, "folds": [1, 2]})
    run = run_search.open_run(path)
    assert (run.value("test.top1"), run.value("test.top5")) == (0.6, None)


def test_test_clips_are_told_whatever_the_training_clips_are(tmp_path: Path) -> None:
    manifests = (
        made_runs.manifest(),
        made_runs.manifest(train=("a", "c")),
        made_runs.manifest(test=("t0", "t2")),
    )
    one, same, other = (
        run_search.open_run(made_runs.make(tmp_path, "a", seed, 0.5, clips=clips)).test_clips()
        for seed, clips in enumerate(manifests)
    )
    assert one == same != other


def test_what_is_no_finished_run_is_left_out_with_a_reason(tmp_path: Path) -> None:
    whole = made_runs.make(tmp_path, "whole", 1, 0.5)
    reasons = {made_runs.make(tmp_path, "unfinished", 1, 0.5, finish=False): "not finished"}
    for name, text in (("empty", ""), ("list", "[]"), ("half", '{"test": {')):
        path = made_runs.make(tmp_path, name, 1, 0.5)
        (path / "metrics.json").write_text(text)
        reasons[path] = "metrics.json is"
    joint = made_runs.make(tmp_path, "joint", 1, 0.5)
    files.write_json(joint / "metrics.json", {"joint": {"ucf101": {}}})
    newer = made_runs.make(tmp_path, "newer", 1, 0.5)
    (newer / "config.yaml").write_text("training: {epoch: 3}\n")
    untimed = made_runs.make(tmp_path, "untimed", 1, 0.5)
    files.write_json(untimed / "finished.json", {"finished": "yesterday"})
    reasons |= {joint: "several data sets", newer: "epoch", untimed: "expected the time"}
    found = run_search.find([tmp_path])
    assert [run.path for run in found.runs] == [whole]
    assert found.left_out.keys() == reasons.keys()
    for path, words in reasons.items():
        assert words in found.left_out[path]


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        run_search.find([tmp_path])
    with pytest.raises(UserError, match="is no folder"):
        run_search.find([tmp_path / "nothing"])


def test_a_lost_manifest_is_named(tmp_path: Path) -> None:
    path = made_runs.make(tmp_path, "a", 1, 0.5)
    (path / "manifest.lock").unlink()
    with pytest.raises(UserError, match=rf"{path.name}: manifest\.lock is missing"):
        run_search.open_run(path).test_clips()
