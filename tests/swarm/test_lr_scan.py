import argparse
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from keras_actrec import config as configuration
from keras_actrec import files
from keras_actrec.config import RunConfig
from keras_actrec.errors import UserError
from keras_actrec.swarm import lr_scan, lr_scan_config, lr_scan_plot
from keras_actrec.swarm.lr_scan_rates import Curve, factor_between, ladder, suggest
from keras_actrec.swarm.settings import PAPER_RATES, SwarmConfig

ROOT = Path(__file__).parent.parent.parent
# What the two released scans printed: UCF-101, split 1, 101 classes, 9537 training videos.
RESNET152 = """0.0107 0.0087 0.0089 0.0104 0.0118 0.0171 0.0444 0.1708 0.4361 0.7059 0.8307 0.7439 0.5502 0.2121
0.0844 0.0092 0.0108 0.0092 0.0108 0.0100"""
DENSENET201 = """0.0108 0.0117 0.0106 0.0108 0.0129 0.0176 0.0351 0.1295 0.3349 0.6099 0.7670 0.6694 0.4443 0.3482
0.1333 0.0129 0.0105 0.0099 0.0114 0.0109"""


def curve(accuracy: list[float], rates: list[float] | None = None, **more: Any) -> Curve:
    return Curve(rates or ladder(1e-4, 10, len(accuracy)), accuracy, **{"chance": 0.1, "clips": 1000} | more)


def released(printed: str) -> Curve:
    return Curve(ladder(), [float(word) for word in printed.split()], chance=1 / 101, clips=9537)


def test_the_ladder_is_the_released_one() -> None:
    printed = "1e-06 2.51e-06 6.31e-06 1.58e-05 3.98e-05 1e-04 2.51e-04 6.31e-04 1.58e-03 3.98e-03 1e-02 2.51e-02"
    printed += " 6.31e-02 0.158 0.398 1.0 2.51 6.31 15.8 39.8"
    assert [float(f"{rate:.3g}") for rate in ladder()] == [float(word) for word in printed.split()]
    assert ladder() == pytest.approx([1e-6 * 10 ** (4 * epoch / 10) for epoch in range(20)], rel=5e-6)


@pytest.mark.parametrize(
    "arguments", [(0.0, 2.0, 5), (1e-6, 1.0, 5), (1e-6, 2.0, 0), (math.nan, 2.0, 5), (1, 1e300, 9)]
)
def test_a_ladder_must_rise(arguments: tuple[float, float, int]) -> None:
    with pytest.raises(UserError, match="factor above 1"):
        ladder(*arguments)


def test_factor_between() -> None:
    assert ladder(1e-4, factor_between(1e-4, 1.0, 5), 5) == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    for low, high, steps in [(1e-4, 1.0, 1), (1.0, 1e-4, 5), (0.0, 1.0, 5)]:
        with pytest.raises(UserError, match="0 < low < high"):
            factor_between(low, high, steps)


@pytest.mark.parametrize("printed", [RESNET152, DENSENET201], ids=["resnet152", "densenet201"])
def test_the_papers_scans_give_the_papers_rates(printed: str) -> None:
    suggestion = suggest(released(printed))
    assert suggestion.rates == PAPER_RATES == (1e-2, 1e-3, 1e-4, (1e-5, 1e-1))
    assert suggestion.best == 1e-2
    assert not suggestion.notes
    assert suggestion.yaml == "swarm: {learning_rates: [0.01, 0.001, 0.0001, [0.00001, 0.1]]}"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9])
def test_any_number_of_particles(count: int) -> None:
    suggestion = suggest(released(RESNET152), count)
    assert len(suggestion.rates) == count
    fixed = suggestion.rates[: max(count - 1, 1)]
    assert fixed[0] == 1e-2
    assert min(fixed) >= 1e-4
    assert len(set(fixed)) == len(fixed)
    gaps = [math.log10(one / next_one) for one, next_one in itertools.pairwise(fixed)]
    assert gaps == pytest.approx([min(1, 2 / max(len(fixed) - 1, 1))] * len(gaps), abs=0.01)
    if count > 1:
        assert suggestion.rates[-1] == (1e-5, 1e-1)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_the_line_is_a_valid_swarm(count: int) -> None:
    suggestion = suggest(released(DENSENET201), count)
    document = yaml.safe_load(suggestion.yaml)
    document["swarm"]["particles"] = count
    section = configuration.parse_config(document, kind=SwarmConfig).swarm
    assert section.learning_rates == suggestion.rates


def test_no_particles() -> None:
    with pytest.raises(UserError, match="at least one particle, not 0"):
        suggest(released(RESNET152), 0)


def test_a_curve_that_only_rises() -> None:
    suggestion = suggest(curve([0.1, 0.2, 0.5, 0.9]))
    assert suggestion.best == 0.1
    assert suggestion.rates == (0.1, 0.01, 0.001, (0.0001, 0.1))  # nothing is known of rates above the last one
    assert [note for note in suggestion.notes if "--high" in note]


def test_a_curve_that_only_falls() -> None:
    suggestion = suggest(curve([0.9, 0.5, 0.1, 0.1]))
    assert suggestion.best == 1e-4
    assert suggestion.rates == (1e-4, 1e-4, 1e-4, (1e-4, 1e-3))
    assert [note for note in suggestion.notes if "--low" in note]


def test_rates_at_which_training_breaks_are_not_suggested() -> None:
    suggestion = suggest(curve([0.1, 0.3, 0.9, 0.1, 0.1]))
    assert suggestion.rates[-1] == (1e-4, 1e-2)
    lucky = suggest(curve([0.1, 0.3, 0.9, 0.1, 0.4], ladder(1e-4, 2, 5)))
    assert lucky.rates[-1][1] == 4e-4, "a rate that works above one that does not is no part of the range"


def test_diverged_at_the_third_rate() -> None:
    suggestion = suggest(curve([0.15, 0.6], diverged_at=1e-2))
    assert suggestion.best == 1e-3
    assert suggestion.rates == (1e-3, 1e-4, 1e-4, (1e-4, 1e-3))
    assert suggestion.notes == ("training diverged at 0.01; the scan ended there.",)


@pytest.mark.parametrize(("diverged_at", "hint"), [(None, "check data and model"), (1.0, "--low")])
def test_all_at_chance(diverged_at: float | None, hint: str) -> None:
    suggestion = suggest(curve([0.09, 0.11, 0.13, 0.1], diverged_at=diverged_at))
    assert suggestion.best is None
    assert suggestion.rates == ()
    (note,) = suggestion.notes
    assert "no rate beat guessing" in note
    assert "13.0%" in note
    assert hint in note
    assert lr_scan.advice(suggestion, []) == note


def test_chance_depends_on_the_number_of_clips() -> None:
    accuracy = [0.1, 0.14, 0.1]
    assert suggest(curve(accuracy, clips=200)).best is None
    assert suggest(curve(accuracy, clips=20_000)).best == 1e-3


def test_of_equal_rates_the_lower_one() -> None:
    assert suggest(curve([0.1, 0.8, 0.8, 0.2])).best == 1e-3


def test_scan_config_keeps_all_but_the_schedule() -> None:
    document = {
        "name": "mine",
        "folds": "all",
        "training": {"patience": 3, "epochs": 7, "batch_size": 5, "schedule": {"name": "cosine", "warmup_epochs": 1}},
        "model": {"name": "convnet_rnn", "units": 12},
    }
    plain = configuration.parse_config(document)
    made = lr_scan_config.scan_config(plain, [0.1, 0.2], "elsewhere")
    assert made.training.schedule.rates == (0.1, 0.2)
    assert (made.training.epochs, made.training.patience, made.training.batch_size) == (2, 0, 5)
    assert (made.name, made.output, made.folds) == ("mine-lr-scan", "elsewhere", "one")
    assert made.model == plain.model
    assert made.data == plain.data
    assert type(made) is RunConfig


def test_configurations_of_runs_and_of_swarms(tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    path.write_text("seed: 4\ntraining: {patience: 2}\n")
    assert lr_scan_config.load(path).swarm is None
    swarm = lr_scan_config.load(path, ["swarm.particles=3", "training.batch_size=2"])
    assert swarm.swarm.particles == 3
    assert (
        lr_scan_config.scan_config(swarm, [0.1]).model_dump()
        == lr_scan_config.scan_config(lr_scan_config.load(path, ["training.batch_size=2"]), [0.1]).model_dump()
    )
    with pytest.raises(UserError, match="Did you mean 'particles'"):
        lr_scan_config.load(path, ["swarm.particle=3"])


def result_of(curve: Curve) -> dict[str, Any]:
    columns = {column: [0.5] * len(curve.rates) for column in lr_scan.COLUMNS}
    about = {"model": "m<odel>", "dataset": "d", "fold": 1, "seed": 0}
    return {**about, **columns, **vars(curve), "rates": list(curve.rates), "accuracy": list(curve.accuracy)}


def test_table_marks_the_best_and_tells_divergence() -> None:
    found = curve([0.15, 0.6], diverged_at=1e-2)
    header, first, second, last = lr_scan.table(result_of(found), suggest(found).best).splitlines()
    assert header.split() == ["rate", "accuracy", "loss", "val", "acc.", "val", "loss"]
    assert first.split()[:2] == ["0.0001", "15.00%"]
    assert second.endswith("<- best")
    assert last.split() == ["0.01", "diverged"]


def test_advice_is_a_command_that_can_be_pasted() -> None:
    text = lr_scan.advice(suggest(released(RESNET152)), ["--config", "my swarm.yaml", "seed=2"])
    command = text.splitlines()[-1]
    assert command.startswith("or: python swarm_server.py --config 'my swarm.yaml' seed=2 ")
    assert "'swarm.learning_rates=[0.01, 0.001, 0.0001, [0.00001, 0.1]]'" in command


def test_page_marks_the_suggestion_and_loads_nothing() -> None:
    found = released(RESNET152)
    suggestion = suggest(found)
    result = result_of(found)
    names = [trace["name"] for trace in lr_scan_plot.accuracy(result, suggestion)["data"]]
    marks = ["particle 1: 0.01", "particle 2: 0.001", "particle 3: 0.0001"]
    assert names == ["last particle: 1e-05 to 0.1", "training", "validation", *marks]
    text = lr_scan_plot.page("<b>", result, suggestion)
    assert "<title>&lt;b&gt;</title>" in text
    assert "m&lt;odel&gt;" in text
    assert suggestion.yaml in text
    assert "default-src &#x27;none&#x27;" in text
    assert "<script src" not in text
    assert "<link" not in text
    start = text.index("const figures = ") + len("const figures = ")
    figures, _ = json.JSONDecoder().raw_decode(text[start:])
    assert figures["accuracy"]["layout"]["xaxis"]["type"] == "log"
    assert figures["loss"]["data"][0]["x"] == result["rates"]


def test_importing_it_is_light() -> None:
    script = (
        "import sys, keras_actrec.swarm.lr_scan\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'cv2', 'av', 'plotly', 'pandas', 'numpy', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


def parse(*arguments: str | Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    lr_scan.describe_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def test_mistakes_are_told_before_the_training(tiny_config: Path) -> None:
    for arguments, message in [
        (("--steps", "0"), "at least one step"),
        (("--low", "1", "--high", "0.1"), "low < high"),
        (("--particles", "0"), "at least one particle"),
        (("model.heads=x",), "heads"),
    ]:
        with pytest.raises(UserError, match=message):
            lr_scan.run(parse("--config", tiny_config, *arguments))
    with pytest.raises(SystemExit):
        parse("--config", tiny_config, "--high", "1", "--factor", "2")


@pytest.fixture
def two_colours(tmp_path: Path) -> Path:
    """A swarm's configuration of a task that one epoch at a good rate solves: red videos and blue ones.

    Decay that is multiplied by the rate lets weights grow without bound at high ones, so that the scan diverges.
    """
    generator = np.random.default_rng(0)
    for name, channel in (("red", 2), ("blue", 0)):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number in range(60):
            path = tmp_path / "videos" / name / f"{number}.avi"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32))
            for _ in range(4):
                frame = generator.integers(0, 80, (32, 32, 3), dtype=np.uint8)
                frame[..., channel] += 150
                writer.write(frame)
            writer.release()
    path = tmp_path / "two_colours.yaml"
    path.write_text(
        f"""
name: two-colours
output: {tmp_path / "runs"}
data: {{source: folder, root: {tmp_path / "videos"}, frames: 2, size: 32}}
model: {{name: frame_average, backbone: tiny, weights: none}}
training: {{batch_size: 4, optimizer: {{name: adamw, weight_decay: 1.0}}}}
logging: {{tensorboard: false}}
swarm: {{particles: 3}}
"""
    )
    return path


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.integration
def test_a_scan_learns_then_breaks(two_colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rates from too low to far too high: the scan ends without an error and suggests what lies between."""
    arguments = ("--config", two_colours, "--low", "1e-4", "--factor", "10", "--steps", "10")
    lr_scan.run(parse(*arguments))
    *_, yaml_line, command, last = capsys.readouterr().out.strip().splitlines()
    directory = Path(last.removeprefix("scan: "))
    result, planned = files.read_json(directory / "scan.json"), ladder(1e-4, 10, 10)
    assert result["rates"] == planned[: len(result["rates"])]
    assert result["diverged_at"] == planned[len(result["rates"])]
    assert max(result["accuracy"]) > 0.9
    assert 0.5 <= result["chance"] < 0.6
    suggestion = suggest(lr_scan.curve_of(result), 3)
    assert 1e-4 < suggestion.best < 1
    assert result["suggestion"]["learning_rates"] == json.loads(json.dumps(suggestion.rates))
    assert yaml_line == f"in a configuration: {suggestion.yaml}"
    assert suggestion.listed in command
    assert "the scan ended there" in (directory / "scan.html").read_text()
    assert not list((directory / "checkpoints").glob("*.safetensors"))
    assert not (directory / "metrics.json").exists(), "the test split must not be touched"
    lr_scan.run(parse(*arguments, "--resume", directory))
    assert "has already finished" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.integration
def test_a_scan_is_killed_and_resumed(
    tiny_config: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The history of a scan that was stopped after two rates and resumed equals that of an undisturbed one."""
    script = (
        "import sys\n"
        "from keras_actrec.training import callbacks\n"
        "from keras_actrec.swarm import lr_scan, lr_scan_config\n"
        "def stop(run, progress, write=callbacks.write_history):\n"
        "    write(run, progress)\n"
        "    if progress.epochs == int(sys.argv[3]): import os; os._exit(9)\n"
        "callbacks.write_history = stop\n"
        "config = lr_scan_config.load(sys.argv[1])\n"
        "print(lr_scan.scan(config, low=1e-3, steps=4, factor_per_step=3.0, output=sys.argv[2], resume='latest'))\n"
    )

    def scan(output: str, stop_after: int) -> subprocess.CompletedProcess[str]:
        return command("-c", script, tiny_config, tmp_path / output, str(stop_after), PYTHONPATH=str(ROOT))

    undisturbed = scan("undisturbed", 99)
    assert undisturbed.returncode == 0, undisturbed.stderr[-3000:]
    assert scan("killed", 2).returncode == 9
    resumed = scan("killed", 99)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "resuming after epoch 2 of 4" in resumed.stdout
    (first,), (second,) = (list((tmp_path / name).glob("*/scan.json")) for name in ("undisturbed", "killed"))
    assert files.read_json(first) == files.read_json(second)
    assert len(files.read_json(first)["rates"]) == 4
