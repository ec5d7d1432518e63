"""Exports give the original's numbers in their own runtimes, or are refused; and their cards tell the truth."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import export_runs
import keras
import numpy as np
import pytest

from keras_actrec import files
from keras_actrec.data import sampling
from keras_actrec.data.views import View
from keras_actrec.errors import UserError

pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

from keras_actrec.serving import (
    export,
    export_clips,
    export_command,
    export_folder,
    export_run,
    model_card,
)

ALL_FORMATS = ("saved_model", "onnx", "litert")
Made = Callable[..., Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, stick_actions: Path) -> Made:
    """Make the run of a family, once."""
    output, known = tmp_path_factory.mktemp("runs"), {}

    def make(family: str, precision: str = "float32") -> Path:
        if (family, precision) not in known:
            known[family, precision] = export_runs.make(output, stick_actions, family, precision)
        return known[family, precision]

    return make


def options(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    export_command.describe_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def run(*arguments: object) -> None:
    export_command.run(options(*arguments))


@pytest.mark.parametrize("family", ["convnet_transformer", "convnet_rnn", "r3d_18", "timesformer", "depth"])
def test_every_runtime_gives_the_originals_probabilities(family: str, made: Made, tmp_path: Path) -> None:
    run("--run", made(family), "--format", *ALL_FORMATS, "--clips", 9, "--out", tmp_path)
    for name in ALL_FORMATS:
        facts = files.read_json(tmp_path / name / "export.json")
        assert facts["comparison"]["clips"] == 9
        assert 0 < facts["comparison"]["probability"] < 1e-4, name
        assert facts["comparison"]["agreement"] == 1
        assert facts["within_tolerance"]
        if name == "litert":
            assert not [operation for operation in facts["operations"] if operation.startswith("Flex")]
    opened = export_run.open_run(made(family))
    clips = export_clips.read(opened, "test", 9)
    outputs = export.original(opened)(clips.inputs)
    spread = [value.std(axis=0).max() for name, value in outputs.items() if name.endswith("probabilities")]
    assert min(spread) > 0.02, "the network says the same of every clip, so the comparison would show nothing"


def test_several_tempos_in_litert_need_the_flex_delegate_and_the_card_says_so(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--run", made("tempos"), "--format", "onnx", "litert", "--clips", 4, "--out", tmp_path)
    assert "LiteRT has no AvgPool3D of its own" in capsys.readouterr().out
    facts = files.read_json(tmp_path / "litert" / "export.json")
    assert [one["name"] for one in facts["inputs"]] == ["tempo1", "tempo2", "tempo3"]
    assert [one["shape"][1] for one in facts["inputs"]] == [3, 5, 7]
    assert "flex delegate" in facts["runtime"] and "FlexAvgPool3D" in facts["operations"]
    assert "flex delegate" in (tmp_path / "litert" / "MODEL_CARD.md").read_text()
    assert facts["within_tolerance"]
    script = (
        "import sys\nfrom ai_edge_litert.interpreter import Interpreter\n"
        "Interpreter(model_path=sys.argv[1]).allocate_tensors()"
    )
    path = tmp_path / "litert" / "model.tflite"
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Select TensorFlow op" in done.stderr, "then the flex delegate is not needed"


def test_int8_is_smaller_and_its_accuracy_stands_beside_the_originals(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made("convnet_transformer")
    run("--run", path, "--format", "litert", "--int8", "--clips", 16, "--calibration", 8, "--out", tmp_path)
    run("--run", path, "--format", "litert", "--clips", 16, "--out", tmp_path)
    small, whole = (files.read_json(tmp_path / name / "export.json") for name in ("litert_int8", "litert"))
    assert small["bytes"] < whole["bytes"]
    assert "QUANTIZE" in small["operations"] and "QUANTIZE" not in whole["operations"]
    # A network that has learnt nothing says almost the same of all clips, so that 8 bit change much of its differences.
    assert small["comparison"]["probability"] > 1e-4 and small["comparison"]["agreement"] >= 0.5
    assert small["within_tolerance"], "the tolerance is that of floats"
    correct = small["comparison"]["correct"]
    change = 100 * (correct["export"]["label"] - correct["original"]["label"])
    assert f"({change:+.1f} points)" in capsys.readouterr().out
    assert f"({change:+.1f} points)" in (tmp_path / "litert_int8" / "MODEL_CARD.md").read_text()
    assert correct["original"] == whole["comparison"]["correct"]["original"]


def test_accuracies_are_those_of_the_labels(made: Made, tmp_path: Path) -> None:
    path = made("heads")
    run("--run", path, "--format", "onnx", "--clips", 0, "--out", tmp_path)
    opened = export_run.open_run(path)
    facts = files.read_json(tmp_path / "onnx" / "export.json")
    clips = export_clips.read(opened, "test", 0)
    assert len(clips) == len(opened.manifest.split("test")) == facts["comparison"]["clips"]
    runner, _ = export_folder.open_export(tmp_path / "onnx", "onnx")
    outputs = runner(clips.inputs)
    for head in ("verb", "noun"):
        said = [facts["classes"][head][number] for number in outputs[f"{head}_probabilities"].argmax(axis=1)]
        truth = [clip[head] for clip in opened.manifest.split("test")]
        right = np.mean([one == other for one, other in zip(said, truth, strict=True)])
        assert facts["comparison"]["correct"]["export"][head] == pytest.approx(right)
        np.testing.assert_allclose(outputs[f"{head}_probabilities"].sum(axis=1), 1, atol=1e-5)


def test_a_network_of_another_precision_is_exported_in_float32(made: Made, tmp_path: Path) -> None:
    path = made("convnet_rnn", "mixed_bfloat16")
    run("--run", path, "--format", "onnx", "--clips", 4, "--out", tmp_path)
    facts = files.read_json(tmp_path / "onnx" / "export.json")
    assert facts["run"]["trained_in"] == "mixed_bfloat16"
    assert "Trained in mixed_bfloat16; the export computes in float32" in " ".join(facts["limits"])
    trained, opened = keras.saving.load_model(path / "model.keras", compile=False), export_run.open_run(path)
    for one, other in zip(trained.get_weights(), opened.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_export_that_differs_is_refused_and_leaves_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clips of the export alone are normalised wrongly."""
    path, right = made("convnet_transformer"), export.write_saved_model

    def wrong(*arguments: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(export, "normalize", lambda clips, view: keras.ops.cast(clips, "float32") / 300)
            right(*arguments)

    monkeypatch.setattr(export, "write_saved_model", wrong)
    arguments = ("--run", path, "--format", "saved_model", "--clips", 4, "--out", tmp_path)
    with pytest.raises(UserError, match=r"was not kept: its probabilities differ .* allowed is 0\.0001"):
        run(*arguments)
    assert list(tmp_path.iterdir()) == []
    run(*arguments, "--allow-difference")
    assert "NOT WITHIN THE TOLERANCE" in capsys.readouterr().out
    assert "NOT WITHIN THE TOLERANCE" in (tmp_path / "saved_model" / "MODEL_CARD.md").read_text()


def test_an_export_that_gives_no_numbers_is_refused_whatever_is_allowed(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made("convnet_transformer")
    opened = export_run.open_run(path)
    for weight in opened.model.weights[-2:]:
        weight.assign(weight * np.nan)
    monkeypatch.setattr(export_run, "open_run", lambda *_: opened)
    for name, *more in (("saved_model", "--allow-difference"), ("litert", "--int8")):
        with pytest.raises(UserError, match=r"was not kept: the network, or the export alone, gives NaN .* test clips"):
            run("--run", path, "--format", name, *more, "--clips", 2, "--calibration", 2, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


@keras.saving.register_keras_serializable(package="test_export")
class PythonInside(keras.layers.Layer):
    """Calls Python, which no runtime but TensorFlow's own can."""

    def call(self, inputs: object) -> object:
        import tensorflow as tf

        return tf.ensure_shape(tf.numpy_function(lambda x: x, [inputs], tf.float32), inputs.shape)


def test_what_a_format_cannot_do_is_one_sentence_and_an_older_export_stays(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made("convnet_transformer")
    run("--run", path, "--format", "onnx", "--clips", 2, "--out", tmp_path)
    before = sorted(tmp_path.rglob("*"))
    opened = export_run.open_run(path)
    model = keras.Model(opened.model.input, PythonInside()(opened.model.output))
    monkeypatch.setattr(export_run, "open_run", lambda *_: dataclasses.replace(opened, model=model))
    for name in ("onnx", "litert"):
        with pytest.raises(
            UserError, match=rf"cannot be exported as {name}: it has no operation PyFunc\. .*saved_model"
        ) as raised:
            run("--run", path, "--format", name, "--no-compare", "--out", tmp_path)
        assert len(str(raised.value).splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_killed_replacement_leaves_the_older_export_and_other_folders_are_not_touched(
    made: Made, tmp_path: Path
) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is no export"):
        run("--run", made("convnet_transformer"), "--format", "onnx", "--no-compare", "--out", tmp_path)
    assert (tmp_path / "onnx" / "thesis.txt").read_text() == "mine"
    target = tmp_path / "kept"
    target.mkdir()
    files.write_json(target / "export.json", {"old": 1})
    with pytest.raises(KeyboardInterrupt), export_folder.published(target) as folder:
        files.write_json(folder / "export.json", {"new": 1})
        raise KeyboardInterrupt
    assert files.read_json(target / "export.json") == {"old": 1}
    with export_folder.published(target) as folder:
        files.write_json(folder / "export.json", {"new": 1})
    assert files.read_json(target / "export.json") == {"new": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "onnx"]


def test_mistakes_are_one_sentence(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made("convnet_transformer")
    with pytest.raises(UserError, match="is no run directory"):
        run("--run", tmp_path, "--format", "onnx")
    with pytest.raises(UserError, match="--int8 is of LiteRT alone"):
        run("--run", path, "--format", "onnx", "litert", "--int8")
    with pytest.raises(UserError, match="--clips must be at least 0"):
        run("--run", path, "--format", "onnx", "--clips", -1)
    with pytest.raises(UserError, match=r"none of 5 test clips .* can be read in .*--root"):
        run("--run", path, "--format", "onnx", "--clips", 5, "--root", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").write_text((path / "config.yaml").read_text())
    with pytest.raises(UserError, match="holds no trained model"):
        run("--run", tmp_path / "empty", "--format", "onnx")
    (tmp_path / "empty" / "model.keras").write_bytes(b"PK\x03\x04 cut short")
    (tmp_path / "empty" / "manifest.lock").write_text((path / "manifest.lock").read_text())
    with pytest.raises(UserError, match=r"model.keras cannot be loaded"):
        run("--run", tmp_path / "empty", "--format", "onnx")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="KERAS_BACKEND=tensorflow"):
        run("--run", path, "--format", "onnx")


def test_without_a_comparison_the_card_says_so(made: Made, tmp_path: Path) -> None:
    path = made("convnet_transformer")
    run("--run", path, "--format", "saved_model", "--no-compare", "--out", tmp_path, "--licence", "CC BY 4.0")
    card = (tmp_path / "saved_model" / "MODEL_CARD.md").read_text()
    assert "Not compared" in card and "CC BY 4.0" in card
    lock = files.read_json(path / "manifest.lock")
    assert lock["hash"] in card
    assert all(name in card for name in lock["classes"])


def test_files_of_two_gigabytes_are_refused_at_once(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_folder, "LARGEST_FILE_BYTES", 1000)
    with pytest.raises(UserError, match="export it as saved_model"):
        run("--run", made("convnet_transformer"), "--format", "onnx", "--no-compare", "--out", tmp_path)


@pytest.mark.parametrize(
    ("selection", "formula"),
    [
        ("uniform", lambda t, n, view: np.floor((t + 0.5) * n / view.frames)),
        ("shadow", lambda t, n, view: view.stride * t),
        ("step", lambda t, n, view: t * (n // view.frames)),
    ],
)
def test_the_cards_formulas_of_sampling_hold(selection: str, formula: Callable[..., np.ndarray]) -> None:
    view = View(frames=5, selection=selection, stride=3)
    for length in (13, 40, 101):
        np.testing.assert_array_equal(sampling.select(length, view), formula(np.arange(5), length, view))


def test_every_way_to_choose_and_to_fit_frames_is_in_the_card() -> None:
    from typing import get_args

    from keras_actrec.data.views import Selection

    assert set(model_card.FRAMES) == set(get_args(Selection))
    assert set(model_card.FITS) == {"crop", "squash", "pad"}
