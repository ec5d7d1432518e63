"""Groups of runs, their means, what must not be mixed, paired differences; and the command."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import made_runs
import pytest

from keras_actrec import cli
from keras_actrec.errors import UserError
from keras_actrec.evaluation import run_search, run_table, run_table_command, run_table_page

OTHER = {"training": {"epochs": 9}}


def build(tmp_path: Path, *by: str, **options: Any) -> dict[str, Any]:
    return run_table.build(run_search.find([tmp_path]).runs, by or ("name",), **options)


def make(tmp_path: Path, name: str, values: Sequence[float | None], **options: Any) -> list[Path]:
    return [made_runs.make(tmp_path, name, seed, value, **options) for seed, value in enumerate(values, start=1)]


def test_means_over_seeds(tmp_path: Path) -> None:
    values = [0.4, 0.5, 0.75]
    paths = make(tmp_path, "a", values[::-1])
    make(tmp_path, "b", [0.2], **OTHER)
    first, second = build(tmp_path)["groups"]
    assert (first["label"], second["label"]) == ("a", "b")
    row = first["values"]["test.top1"]
    assert (first["seeds"], row["values"]) == ([1, 2, 3], values[::-1])
    assert sorted(first["runs"]) == sorted(map(str, paths))
    assert row["mean"] == pytest.approx(0.55)
    assert row["std"] == pytest.approx(statistics.stdev(values))
    assert first["minutes"]["mean"] == 2
    assert second["values"]["test.top1"] == {"mean": 0.2, "std": None, "values": [0.2]}


def test_columns_that_no_run_has_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a", [0.4])
    assert list(build(tmp_path)["columns"]) == ["test.top1", "test.top5", "validation.top1"]
    test = {"top1": 0.5, "pairs": {"mean": 0.9}}
    make(tmp_path, "b", [0.5], metrics={"test": test}, **OTHER)
    table = build(tmp_path)
    assert table["groups"][0]["values"]["test.pairs.mean"]["mean"] is None
    assert table["groups"][1]["values"]["test.pairs.mean"]["mean"] == 0.9


def test_a_missing_number_takes_the_mean_away(tmp_path: Path) -> None:
    make(tmp_path, "a", [0.4, None])
    assert build(tmp_path)["groups"][0]["values"]["test.top1"] == {"mean": None, "std": None, "values": [0.4, None]}


def test_runs_of_a_group_differ_in_nothing_but_their_seed(tmp_path: Path) -> None:
    first = made_runs.make(tmp_path / "1", "a", 1, 0.4)
    second = made_runs.make(tmp_path / "2", "a", 2, 0.4, **OTHER)
    with pytest.raises(UserError) as error:
        build(tmp_path)
    said = str(error.value)
    assert "group 'a'" in said and f"training.epochs is 20 in {first} and 9 in {second}" in said
    assert "--by name,training.epochs" in said
    table = build(tmp_path, "name", "training.epochs")
    assert [group["label"] for group in table["groups"]] == ["a, epochs=20", "a, epochs=9"]


@pytest.mark.parametrize("sections", [{"logging": {"tensorboard": False}}, {"data": {"workers": 3}}])
def test_what_changes_no_number_may_differ(tmp_path: Path, sections: dict[str, Any]) -> None:
    made_runs.make(tmp_path / "here", "a", 1, 0.4)
    made_runs.make(tmp_path / "there", "a", 2, 0.6, **sections)
    assert build(tmp_path)["groups"][0]["seeds"] == [1, 2]


def test_a_section_on_one_side_only_is_named_as_such(tmp_path: Path) -> None:
    made_runs.make(tmp_path, "a", 1, 0.4)
    made_runs.make(tmp_path, "a", 2, 0.4, data={"tailor": {}})
    with pytest.raises(UserError, match=r"data\.tailor is"):
        build(tmp_path)


def test_further_seeds_may_follow_the_run(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        made_runs.make(tmp_path / "follow", "a", seed, 0.4, data={"split_seed": seed})
        made_runs.make(tmp_path / "fixed", "a", seed, 0.4, data={"split_seed": 5})
        made_runs.make(tmp_path / "mixed" / str(seed), "a", seed, 0.4, data={"split_seed": (1, 1, 3)[seed - 1]})
    for name in ("follow", "fixed"):  # each run has its own split, or all have the same
        assert build(tmp_path / name)["groups"][0]["seeds"] == [1, 2, 3]
    with pytest.raises(UserError, match=r"data\.split_seed is 1 in .* and 3 in"):
        build(tmp_path / "mixed")


def test_a_seed_counts_once(tmp_path: Path) -> None:
    later = made_runs.make(tmp_path, "a", 1, 0.4, ended="2025-03-01T11:30:00+00:00")
    earlier = made_runs.make(tmp_path, "a", 1, 0.6, ended="2025-03-01T12:00:00+02:00")
    with pytest.raises(UserError, match="two runs of seed 1") as error:
        build(tmp_path)
    assert str(later) in str(error.value) and str(earlier) in str(error.value) and "--newest" in str(error.value)
    table = build(tmp_path, newest=True)
    assert table["groups"][0]["values"]["test.top1"]["values"] == [0.4]
    assert table["superseded"] == [str(earlier)]


def test_the_newest_may_have_changed(tmp_path: Path) -> None:
    made_runs.make(tmp_path, "a", 1, 0.4, ended="2025-03-01T11:30:00+00:00", **OTHER)
    made_runs.make(tmp_path, "a", 1, 0.6, ended="2025-03-02T11:30:00+00:00")
    with pytest.raises(UserError, match=r"training\.epochs"):
        build(tmp_path)
    assert build(tmp_path, newest=True)["groups"][0]["values"]["test.top1"]["values"] == [0.6]


def test_groups_by_keys_of_the_configuration(tmp_path: Path) -> None:
    for epochs in (3, 4):
        for seed in (1, 2):
            made_runs.make(tmp_path, f"run-{seed}", seed, epochs / 10, training={"epochs": epochs})
    table = build(tmp_path, "training.epochs")
    assert {group["label"]: group["values"]["test.top1"]["mean"] for group in table["groups"]} == {
        "epochs=3": pytest.approx(0.3),
        "epochs=4": pytest.approx(0.4),
    }
    with pytest.raises(UserError, match=r"'training\.epoch' is no key .* Did you mean 'training\.epochs'"):
        build(tmp_path, "training.epoch")


def test_labels_tell_keys_of_one_name_apart(tmp_path: Path) -> None:
    made_runs.make(tmp_path, "a", 1, 0.4)
    label = build(tmp_path, "training.batch_size", "evaluation.batch_size")["groups"][0]["label"]
    assert label == "training.batch_size=8, evaluation.batch_size=null"


def test_paired_differences(tmp_path: Path) -> None:
    make(tmp_path, "control", [0.30, 0.50, 0.70], **OTHER)
    make(tmp_path, "treated", [0.35, 0.65])
    made_runs.make(tmp_path, "treated", 9, 0.99)
    made_runs.make(tmp_path, "unpaired", 8, 0.5, data={"frames": 4})
    control, treated, unpaired = build(tmp_path, against="control")["groups"]
    assert control["difference"] is None
    difference = treated["difference"]
    assert (difference["seeds"], difference["values"]) == ([1, 2], pytest.approx([0.05, 0.15]))
    assert difference["mean"] == pytest.approx(0.10)
    assert difference["std"] == pytest.approx(statistics.stdev([0.05, 0.15]))
    assert (unpaired["difference"]["mean"], unpaired["difference"]["seeds"]) == (None, [])
    with pytest.raises(UserError, match=r"no group 'controls'\. Did you mean 'control'"):
        build(tmp_path, against="controls")


def test_other_test_clips_are_noted(tmp_path: Path) -> None:
    made_runs.make(tmp_path, "a", 1, 0.4)
    made_runs.make(tmp_path, "a", 2, 0.4, clips=made_runs.manifest(train=("x", "y")))
    assert build(tmp_path)["notes"] == []
    made_runs.make(tmp_path, "b", 1, 0.4, clips=made_runs.manifest(test=("t0", "t9")), **OTHER)
    (note,) = build(tmp_path)["notes"]
    assert "not tested on the same clips" in note and ": a;" in note and ": b)" in note


def test_contamination_and_lost_clips_are_noted(tmp_path: Path) -> None:
    made_runs.make(tmp_path, "a", 1, 0.4, metrics={"contaminated": True})
    made_runs.make(tmp_path, "b", 1, 0.4, metrics={"test": {"top1": 0.4, "coverage": 0.0}}, **OTHER)
    learnt, lost = build(tmp_path)["notes"]
    assert learnt.startswith("CONTAMINATED") and learnt.endswith(": a.")
    assert "could not be read" in lost and lost.endswith(": b.")


def test_text(tmp_path: Path) -> None:
    make(tmp_path, "long-name", [0.40, 0.50, 0.60])
    make(tmp_path, "b", [0.25], minutes=None, **OTHER)
    lines = run_table_command.as_text(build(tmp_path, against="long-name")).splitlines()
    words = ["name", "runs", "seeds", "test", "top-1", "top-5", "validation", "minutes", "against", "long-name"]
    words += ["95", "%", "interval", "p", "p", "(Holm)", "p", "(sign", "flips)"]
    assert lines[0].split() == words
    (wide,) = [line for line in lines if line.startswith("long-name")]
    (narrow,) = [line for line in lines if line.startswith("b ")]
    assert "1 to 3" in wide and "50.0 ± 10.0 %" in wide and wide.endswith("2.0")
    assert "25.0 %" in narrow and " - " in narrow and "-15.0 (1 seed)" in narrow


def run(*arguments: str | Path) -> int:
    return cli.main(["report", *map(str, arguments)])


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "runs", "a", [0.40, 0.60])
    make(tmp_path / "runs", "b", [0.45, 0.75], **OTHER)
    made_runs.make(tmp_path / "runs", "c", 1, 0.5, finish=False)
    files = ("--csv", tmp_path / "out" / "t.csv", "--html", tmp_path / "out" / "t.html")
    assert run(tmp_path / "runs", "--against", "a", *files) == 0
    said = capsys.readouterr().out
    assert "+10.0 ± 7.1 (2 seeds)" in said and "not finished" in said and "left out" in said
    with (tmp_path / "out" / "t.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["group"], first["seeds"], first["test_top1_values"], first["against"]) == ("a", "1 2", "0.4 0.6", "")
    assert float(second["difference_mean"]) == pytest.approx(0.1) and second["against"] == "a"
    assert float(second["test_top1_std"]) == pytest.approx(statistics.stdev([0.45, 0.75]))
    assert len(second["directories"].split(";")) == 2
    page = (tmp_path / "out" / "t.html").read_text()
    assert "Test top-1" in page and "+10.0 ± 7.1" in page


def test_the_chart_has_a_bar_for_each_group_and_a_point_for_each_run(tmp_path: Path) -> None:
    make(tmp_path, "a", [0.40, 0.60])
    make(tmp_path, "b", [0.50], **OTHER)
    chart = run_table_page.figure(build(tmp_path))
    json.dumps(chart, allow_nan=False)
    bars, points = chart["data"]
    assert bars["x"] == pytest.approx([0.5, 0.5]) and bars["y"] == [1, 0]
    assert bars["error_x"]["array"] == [pytest.approx(statistics.stdev([0.4, 0.6])), None]
    assert points["x"] == [0.4, 0.6, 0.5] and points["text"] == ["seed 1", "seed 2", "seed 1"]
    assert [round(place) for place in points["y"]] == [1, 1, 0]
    assert chart["layout"]["yaxis"]["ticktext"] == ["a", "b"]


def test_a_page_without_any_accuracy_says_so(tmp_path: Path) -> None:
    make(tmp_path / "runs", "a", [None, None], metrics={"test": {"coverage": 0.0}})
    assert run(tmp_path / "runs", "--html", tmp_path / "t.html") == 0
    page = (tmp_path / "t.html").read_text()
    assert "None of the runs has a test top-1" in page and "Bars are means" not in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "no folder"),
        ((".", "--html", "chart.png"), "*.html"),
        ((".", "--by", "data.nothing"), "data.nothing"),
        ((".", "--against", "nothing"), "nothing"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    made_runs.make(tmp_path, "a", 1, 0.5)
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and words in said.err and said.err.count("\n") == 1 and not said.out


def test_no_finished_run_is_a_mistake_that_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made_runs.make(tmp_path, "a", 1, 0.5, finish=False)
    assert run(tmp_path) == 1
    assert f"{path}: not finished" in capsys.readouterr().err


def test_folds_are_repetitions_like_seeds(tmp_path: Path) -> None:
    for fold in (1, 2):
        clips = made_runs.manifest(test=(f"t{fold}", f"u{fold}"))
        for name, gain, section in (("control", 0.0, OTHER), ("treated", 0.1, {})):
            for seed in (1, 2):
                value = 0.2 * fold + 0.01 * seed + gain
                made_runs.make(tmp_path, name, seed, value, clips=clips, data={"fold": fold}, **section)
    table = build(tmp_path, against="control")
    assert table["notes"] == [], "each fold has test clips of its own"
    control, treated = table["groups"]
    assert (control["folds"], control["seeds"]) == ([1, 1, 2, 2], [1, 2, 1, 2])
    assert treated["difference"]["values"] == pytest.approx([0.1] * 4)
    assert "(4 pairs)" in run_table_command.as_text(table)
    made_runs.make(tmp_path, "lone", 1, 0.5, data={"fold": 2, "frames": 4}, clips=made_runs.manifest(test=("t2", "u2")))
    (note,) = build(tmp_path)["notes"]
    assert "over different folds" in note and "lone: 2" in note
    made_runs.make(tmp_path, "other", 1, 0.5, data={"fold": 1, "frames": 5}, clips=made_runs.manifest(test=("t1", "x")))
    assert any("not tested on the same clips" in note for note in build(tmp_path)["notes"])


def test_differences_are_tested_in_pairs_and_corrected_as_a_family(tmp_path: Path) -> None:
    make(tmp_path, "control", [0.30, 0.50, 0.70], **OTHER)
    make(tmp_path, "a", [0.31, 0.52, 0.73])  # differences 1, 2, 3 points: t = 2 sqrt(3), P = sqrt(12/14)
    make(tmp_path, "b", [0.40, 0.45, 0.72], data={"frames": 4})
    tested = {group["label"]: group["difference"] for group in build(tmp_path, against="control")["groups"]}
    a, b = tested["a"], tested["b"]
    assert a["p"] == pytest.approx(1 - (12 / 14) ** 0.5)
    assert a["p_holm"] == pytest.approx(2 * a["p"]) and b["p_holm"] == pytest.approx(max(2 * a["p"], b["p"]))
    assert a["p_exact"] == 0.25
    assert a["interval"] == pytest.approx((0.02 - 0.01 * 4.302653 / 3**0.5, 0.02 + 0.01 * 4.302653 / 3**0.5), rel=1e-6)


def test_costs_and_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = {"params": 204_000, "flops": 1.5e9}
    make(tmp_path / "runs", "a", [0.4, 0.6], metrics=measured)
    make(tmp_path / "runs", "b", [0.5, 0.6], **OTHER)
    assert run(tmp_path / "runs", "--against", "b", "--markdown", tmp_path / "t.md") == 0
    head, ruler, *rows = (tmp_path / "t.md").read_text().splitlines()
    assert "| parameters | FLOPs per clip | minutes |" in head
    assert ruler.startswith("| --- | ---: |") and head.count("|") == ruler.count("|")
    first = next(row for row in rows if row.startswith("| a |"))
    assert "| 204 k | 1.5 G | 2.0 | -5.0 ± 7.1 (2 seeds) |" in first
    assert all(row.count("|") == head.count("|") for row in rows)
