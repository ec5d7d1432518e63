from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from keras_actrec import cli, files
from keras_actrec.errors import UserError
from keras_actrec.evaluation import paired as statistics_
from keras_actrec.swarm import (
    compare,
    compare_plot,
    compare_report,
    compare_run,
    compare_settings,
    compare_summary,
    compare_table,
)
from keras_actrec.swarm.compare_settings import ARMS, CONTROL, ENSEMBLE, PULL, CompareConfig

ROOT = Path(__file__).parents[2]
TRAINED = [name for name in ARMS if name != ENSEMBLE]


def config_of(**compare_section: Any) -> CompareConfig:
    document = {
        "name": "small",
        "training": {"epochs": 3},
        "swarm": {"particles": 2, "learning_rates": [0.1, [0.001, 0.1]]},
        "compare": {"seeds": [1, 2, 3], **compare_section},
    }
    return CompareConfig.model_validate(document)


def result_of(tests: list[float], ensemble: float, moves: list[dict[str, Any]] = (), **changes: Any) -> dict[str, Any]:
    particles = [
        {
            "particle": index,
            "test_top1": test,
            "val_accuracy": 0.5,
            "fitness": -1.0 - index,
            "best_round": 2,
            "failed_round": None,
        }
        for index, test in enumerate(tests)
    ]
    document = {
        "dataset": "stick-actions",
        "model": "convnet_rnn",
        "manifest": "abc",
        "weights": 1234,
        "particles": particles,
        "chosen": 0,
        "best": tests[0],
        "mean": sum(tests) / len(tests),
        "ensemble": ensemble,
        "evaluated": 336,
        "expected": 336,
        "moves": list(moves),
        "train_sec": 2.0,
        "total_sec": 3.0,
    }
    return document | changes


def move_of(weights: list[float], own: float, neighbours: float, chosen: int = 1) -> dict[str, Any]:
    terms = {"own": own, "neighbours": neighbours, "own_best": 0.0, "neighbourhood_best": 2 * own, "total": 1.0}
    return {"particle": 0, "round": 1, "order": [0, 1], "chosen": chosen, "weights": weights, "terms": terms}


GAINS = {"dynamic_1_paper": 0.10, "dynamic_1_released": 0.0, "average": -0.10}


def results_of(config: CompareConfig) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Independent runs reach 50, 52, 54 %; the other arms what GAINS says more, with a little spread."""
    found = {}
    for repetition, (seed, fold) in enumerate(compare_settings.pairs(config)):
        base, wobble = 0.5 + 0.02 * repetition, 0.001 * (repetition - 1)
        for arm in compare_settings.trained(config):
            gain = GAINS.get(arm.name, 0.02 * (-1) ** repetition) + (wobble if arm.name != CONTROL else 0)
            best = base + (0 if arm.name == CONTROL else gain)
            found[arm.name, seed, fold] = result_of([best, best - 0.04], base + 0.05, [move_of([0.1], 2.0, 1.0)])
    return found


# --- statistics


def test_differences_of_hand_worked_numbers() -> None:
    # mean 2, deviations -1, 0, 1: std 1, standard error 1/sqrt(3); t(2 degrees, 95 %) = 4.302653
    one = statistics_.difference([1.0, 2.0, 3.0])
    assert (one.mean, one.std) == (2.0, 1.0)
    assert one.interval == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), rel=1e-6)
    # For 2 degrees P(|T| <= t) = t / sqrt(2 + t^2), with t = 2 sqrt(3): sqrt(12/14)
    assert one.p == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-12)
    # Of the 8 sign changes two, +++ and ---, reach a sum of 6.
    assert one.p_exact == 2 / 8


def test_the_sign_flip_test_counts_ties_as_reached() -> None:
    # sums of +-1 +-1 +-2: 4, 0, 2, -2, 2, -2, 0, -4; |sum| >= 2 in six of eight
    assert statistics_.sign_flip([1.0, -1.0, 2.0]) == 6 / 8
    assert statistics_.sign_flip([0.1] * 21) is None
    assert statistics_.smallest_sign_flip(5) == statistics_.sign_flip([1.0] * 5) == 0.0625


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 40])
def test_students_distribution_is_scipys(freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    for t in (0.0, 0.3, 1.0, 2.7, 12.0):
        assert statistics_.t_inside(t, freedom) == pytest.approx(1 - 2 * stats.t.sf(t, freedom), abs=1e-12)
    for confidence in (0.5, 0.9, 0.95, 0.99):
        expected = stats.t.ppf((1 + confidence) / 2, freedom)
        assert statistics_.t_quantile(confidence, freedom) == pytest.approx(expected, rel=1e-9)


def test_a_difference_is_scipys_paired_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [0.013, -0.02, 0.041, 0.007, 0.022, 0.015]
    one, theirs = statistics_.difference(values, 0.9), stats.ttest_1samp(values, 0)
    assert one.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert one.interval == pytest.approx(tuple(theirs.confidence_interval(0.9)), rel=1e-9)
    flips = stats.permutation_test((values,), lambda x, axis: x.mean(axis), permutation_type="samples")
    assert one.p_exact == pytest.approx(flips.pvalue)


def test_a_value_that_is_rounded_to_nothing_is_not_below_it() -> None:
    values = [0.499842133, 0.499957375, 0.500026093, 0.500052563, 0.500040237, 0.500007439, 0.500047891]
    assert statistics_.difference(values).p == 0


def test_where_there_is_no_spread_no_interval_is_claimed() -> None:
    same, zero, lone = (statistics_.difference(values) for values in ([0.1, 0.1, 0.1], [0.0, 0.0], [0.3]))
    assert (same.interval, same.p) == (None, None)
    assert (zero.interval, zero.p) == (None, 1.0)
    assert (lone.std, lone.interval, lone.p) == (None, None, None)


def test_holms_correction_of_hand_worked_numbers() -> None:
    # sorted 0.01, 0.03, 0.04: times 3, 2, 1 = 0.03, 0.06, 0.04, and none may be below the one before it
    assert statistics_.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert statistics_.holm([0.5, None]) == [1.0, None]
    assert statistics_.holm([0.02, None]) == [0.04, None]


# --- configuration


def test_arms_differ_in_nothing_but_their_exchange() -> None:
    config = config_of()
    documents = []
    for arm in compare_settings.trained(config):
        swarm = compare_settings.swarm_config(config, arm, seed=7, fold=2)
        assert (swarm.seed, swarm.data.fold) == (7, 2)
        assert (swarm.swarm.dynamic, swarm.swarm.variant) == (arm.changes["dynamic"], arm.changes["variant"])
        document = swarm.model_dump()
        for name in ("dynamic", "variant"):
            del document["swarm"][name]
        documents.append(document)
    assert len(documents) == len(TRAINED)
    assert all(document == documents[0] for document in documents)


def test_the_control_is_trained_first_and_cannot_be_left_out() -> None:
    config = config_of(arms=["average", ENSEMBLE, CONTROL])
    assert [arm.name for arm in compare_settings.trained(config)] == [CONTROL, "average"]
    with pytest.raises(ValueError, match="must hold 'independent'"):
        config_of(arms=["average"])
    with pytest.raises(ValueError, match="each once"):
        config_of(seeds=[1, 1])


def test_another_swarm_has_another_directory_and_more_seeds_the_same() -> None:
    config = config_of()
    place = compare_settings.directory(config)
    assert compare_settings.directory(config_of(seeds=[4], arms=[CONTROL], confidence=0.9)) == place
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 4})})
    pulled = config.model_copy(update={"swarm": config.swarm.model_copy(update={"c2": 0.25})})
    assert len({place, compare_settings.directory(longer), compare_settings.directory(pulled)}) == 3


def test_the_shipped_configuration_is_valid_and_has_enough_repetitions() -> None:
    config = compare_settings.load_compare_config(ROOT / "configs/swarm/compare.yaml")
    assert len(config.compare.seeds) >= 5
    assert set(config.compare.arms) == set(ARMS)
    assert config.swarm.distance == "euclidean"


# --- summary


def test_differences_are_paired() -> None:
    config = config_of()
    results = results_of(config)
    rows = {(row["arm"], row["against"], row["measure"]): row for row in compare_summary.differences(config, results)}
    # Independent runs differ by 2 points from seed to seed, which cancels in pairs.
    row = rows["dynamic_1_paper", CONTROL, "best"]
    assert row["values"] == pytest.approx([0.099, 0.1, 0.101])
    assert row["mean"] == pytest.approx(0.1)
    assert row["verdict"] == compare_summary.BETTER
    assert rows["average", CONTROL, "best"]["verdict"] == compare_summary.WORSE
    assert rows["dynamic_1_released", CONTROL, "best"]["verdict"] == compare_summary.NOTHING
    assert rows[ENSEMBLE, CONTROL, "best"]["values"] == pytest.approx([0.05, 0.05, 0.05])
    assert (ENSEMBLE, CONTROL, "mean") not in rows
    pulled = [arm for arm, against, measure in rows if (against, measure) == (PULL, "best")]
    assert pulled == [name for name in ARMS if ARMS[name].collaborates]
    family = [row for (_, against, measure), row in rows.items() if (against, measure) == (CONTROL, "best")]
    assert [row["p_holm"] for row in family] == statistics_.holm([row["p"] for row in family])


def test_a_verdict_needs_both_interval_and_correction() -> None:
    base = statistics_.difference([0.1, 0.11, 0.12])
    assert compare_summary.verdict(dataclasses.replace(base, p_holm=0.01), 0.05) == compare_summary.BETTER
    assert compare_summary.verdict(dataclasses.replace(base, p_holm=0.05), 0.05) == compare_summary.UNCORRECTED
    assert compare_summary.verdict(dataclasses.replace(base, p_holm=None), 0.05) == compare_summary.UNCORRECTED
    worse = statistics_.difference([-0.1, -0.11, -0.12])
    assert compare_summary.verdict(dataclasses.replace(worse, p_holm=0.01), 0.05) == compare_summary.WORSE
    none = statistics_.difference([0.1, -0.11, 0.12])
    assert compare_summary.verdict(dataclasses.replace(none, p_holm=0.01), 0.05) == compare_summary.NOTHING
    assert compare_summary.verdict(statistics_.difference([0.1, 0.1]), 0.05) == compare_summary.UNKNOWN
    assert compare_summary.verdict(statistics_.difference([0.0, 0.0]), 0.05) == compare_summary.NOTHING


def test_coupling_is_a_median_over_moves() -> None:
    results = [
        {"moves": [move_of([0.1, 0.2], 2.0, 1.0), move_of([0.3], 1.0, 3.0, chosen=0)]},
        {"moves": [move_of([0.4, 0.5], 4.0, 1.0), {**move_of([9.0], 1.0, 1.0), "terms": {}}]},
    ]
    found = compare_summary.coupling(results)
    assert found["weight"] == 0.3
    assert found["terms"] == {"neighbours": 0.5, "own_best": 0.0, "neighbourhood_best": 2.0}
    assert found["follows_itself"] == pytest.approx(1 / 3)
    assert compare_summary.coupling([{"moves": []}]) is None


def told(*rows: tuple[str, str, str]) -> str:
    """The conclusion about the chosen network, from (arm, against, verdict)."""
    differences = [
        {"arm": arm, "against": against, "measure": "best", "verdict": verdict, "mean": 0.01, "interval": None}
        for arm, against, verdict in rows
    ]
    lines = compare_summary.conclusion({"differences": differences, "arms": [], "pairs": [[1, 1]]})
    return next(line for line in lines if line.startswith("So, by the network"))


def test_the_conclusion_follows_from_the_verdicts() -> None:
    better, nothing = compare_summary.BETTER, compare_summary.NOTHING
    dynamic = "dynamic_1_paper"
    assert told((dynamic, CONTROL, nothing), (PULL, CONTROL, nothing), (dynamic, PULL, nothing)).endswith(
        "collaboration was not shown to help."
    )
    assert told((dynamic, CONTROL, nothing), (PULL, CONTROL, better), (dynamic, PULL, nothing)).endswith(
        "not shown to help. The pull to the best alone was."
    )
    assert told((dynamic, CONTROL, better), (PULL, CONTROL, better), (dynamic, PULL, nothing)).endswith(
        "Dynamic 1 (paper) helped; the pull to the best alone helped, too, and nothing beyond that pull was shown."
    )
    assert told((dynamic, CONTROL, better), (PULL, CONTROL, nothing), (dynamic, PULL, better)).endswith(
        "Dynamic 1 (paper) helped, and by more than the pull to the best does."
    )
    assert "was not tested" in told((dynamic, CONTROL, better))
    assert "nothing is said of collaboration" in told(("average", CONTROL, better))


# --- table, plot, report


def test_the_table_has_the_layout_of_table_6() -> None:
    config = config_of(arms=[CONTROL, "dynamic_1_paper", "average", ENSEMBLE])
    lines = compare_table.text(compare_summary.summarise(config, results_of(config))).splitlines()
    assert [part.strip() for part in lines[0].split("|")[1:]] == [
        "Independent",
        "Dynamic 1 (paper)",
        "Weight averaging",
    ]
    assert lines[1].split("|")[1].split() == ["PSO-1", "PSO-2", "chosen", "mean"]
    # 50, 52, 54 %: mean 52, standard deviation 2, maximum 54; the second network is 4 points below
    assert [line.split("|")[1].split() for line in lines[2:5]] == [
        ["52.00", "48.00", "52.00", "50.00"],
        ["±2.00"] * 4,
        ["54.00", "50.00", "54.00", "52.00"],
    ]
    assert [line.split("|")[0].split() for line in lines[2:5]] == [["stick-actions", "Acc."], ["convnet_rnn"], ["Max"]]
    assert lines[6].split("|")[1].strip() == ARMS[ENSEMBLE].title
    assert lines[7].split("|")[1].split() == ["all"]
    assert len({len(line.split("|")[0]) for line in lines[1:5]}) == 1


def test_the_plot_shows_each_pair_and_its_interval() -> None:
    config = config_of(arms=[CONTROL, "dynamic_1_paper", "average"])
    summary = compare_summary.summarise(config, results_of(config))
    rows = [row for row in summary["differences"] if row["measure"] == "best" and row["against"] == CONTROL]
    figure = compare_plot.paired(rows, summary["pairs"], "independent runs")
    points, means = figure["data"]
    assert points["x"] == pytest.approx([9.9, 10, 10.1, -10.1, -10.0, -9.9])
    assert means["x"] == pytest.approx([10, -10])
    assert means["error_x"]["array"][0] == pytest.approx(100 * (rows[0]["interval"][1] - rows[0]["mean"]))
    assert figure["layout"]["yaxis"]["ticktext"] == ["Dynamic 1 (paper)", "Weight averaging"]


def test_everything_is_published_and_needs_no_network(tmp_path: Path) -> None:
    config = config_of()
    results = results_of(config)
    compare_report.write(tmp_path, config, results, compare_summary.summarise(config, results))
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="plot"') == 4
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', page.split("<script>")[0])
    assert ARMS["dynamic_2_attract"].title in page
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(TRAINED) * 3 * 2
    assert {row["particle"] for row in rows} == {"1", "2"}
    with (tmp_path / "differences.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8 + 7 + 5 + 5
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (tmp_path / "table.txt").read_text().endswith(f"- {summary['conclusion'][-1]}\n")


# --- running


def write_results(config: CompareConfig, directory: Path) -> None:
    for (arm, seed, fold), result in results_of(config).items():
        files.write_json(compare_run.result_path(directory, arm, seed, fold), result)


def test_finished_swarms_are_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of().model_copy(update={"output": str(tmp_path)})
    directory = compare_settings.directory(config)
    write_results(config, directory)
    compare_run.result_path(directory, "average", 2, 1).unlink()
    asked: list[list[str]] = []

    class Process:
        stdout = ("average\n",)

        def __init__(self, command: list[str], **_: Any) -> None:
            asked.append(command)
            result = result_of([0.7, 0.6], 0.8)
            files.write_json(compare_run.result_path(directory, "average", 2, 1), result)

        def __enter__(self) -> Process:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def wait(self, timeout: float) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(compare, "_prepare", lambda *_: None)
    lines: list[str] = []
    assert compare.compare(config, lines.append) == directory
    assert len(asked) == 1
    assert asked[0][asked[0].index("--seed") + 1] == "2"
    assert lines[0].startswith("23 of 24 swarms are there already")
    assert lines[1].startswith("24/24  Weight averaging, seed 2, fold 1: best 70.0 %, mean 65.0 %")
    asked.clear()
    compare.compare(config, lines.append)
    assert not asked


def test_what_is_missing_is_what_has_no_result(tmp_path: Path) -> None:
    config = config_of()
    write_results(config, tmp_path)
    assert compare_run.missing(config, tmp_path, 1, 1) == []
    compare_run.result_path(tmp_path, PULL, 1, 1).unlink()
    assert [arm.name for arm in compare_run.missing(config, tmp_path, 1, 1)] == [PULL]
    with pytest.raises(UserError, match="is missing"):
        compare.read(config, tmp_path)


def test_results_of_different_clips_are_refused(tmp_path: Path) -> None:
    config = config_of()
    write_results(config, tmp_path)
    path = compare_run.result_path(tmp_path, PULL, 1, 1)
    files.write_json(path, files.read_json(path) | {"manifest": "another"})
    with pytest.raises(UserError, match="have changed"):
        compare.read(config, tmp_path)


def test_a_repetition_that_fails_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of().model_copy(update={"output": str(tmp_path)})
    monkeypatch.setattr(compare, "_prepare", lambda *_: None)
    code = "import sys; print('error: no clips', file=sys.stderr); sys.exit(1)"
    original = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **options: original([sys.executable, "-c", code], **options)
    )
    with pytest.raises(UserError, match=r"seed \d, fold 1 ended with code 1: no clips"):
        compare.compare(config, lambda line: None)


def test_the_command_is_light(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom keras_actrec.swarm import compare\n"
        "print(sorted({'keras', 'tensorflow', 'plotly', 'scipy', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_real_comparison(tmp_path: Path, stick_actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "compare.yaml"
    document = {
        "name": "tiny",
        "output": str(tmp_path / "runs"),
        "data": {
            "root": str(stick_actions),
            "stick_actions": {"clips_per_class": 12, "difficulty": "easy", "seed": 1},
            "frames": 2,
            "size": 32,
        },
        "model": {"name": "convnet_rnn", "backbone": "tiny", "weights": "none", "widths": [4, 8], "units": 8},
        "training": {"epochs": 2, "batch_size": 16},
        "logging": {"tensorboard": False},
        "swarm": {"particles": 2, "learning_rates": [0.05, [0.01, 0.1]]},
        "compare": {"seeds": [1, 2], "arms": [CONTROL, "dynamic_1_paper", PULL, ENSEMBLE], "processes": 2},
    }
    path.write_text(yaml.safe_dump(document))
    assert cli.main(["swarm-compare", "--config", str(path)]) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"^\d/6  ", printed, re.MULTILINE)) == 6
    directory = Path(re.fullmatch(r"compare: (.*)", printed.splitlines()[-1])[1])
    results = {file.name: files.read_json(file) for file in (directory / "results").iterdir()}
    assert len(results) == 6
    control, dynamic = (results[f"{arm}-seed-1-fold-1.json"] for arm in (CONTROL, "dynamic_1_paper"))
    # Nothing has been exchanged before the end of the first round.
    for mine, theirs in zip(control["particles"], dynamic["particles"], strict=True):
        assert mine["curves"]["val_loss"][0] == theirs["curves"]["val_loss"][0]
        assert mine["curves"]["learning_rate"] == theirs["curves"]["learning_rate"]
        assert mine["curves"]["val_loss"][1] != theirs["curves"]["val_loss"][1]
    assert control["moves"] == []
    assert [move["particle"] for move in dynamic["moves"]] == [0, 1]
    assert not list((directory / "work").glob("seed-?-fold-?"))

    before = {file: file.stat().st_mtime_ns for file in (directory / "results").iterdir()}
    assert cli.main(["swarm-compare", "--config", str(path)]) == 0
    assert {file: file.stat().st_mtime_ns for file in (directory / "results").iterdir()} == before
