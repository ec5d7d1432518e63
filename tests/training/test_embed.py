"""`python -m keras_actrec embed`: files of a run whose network has not learnt anything, and clear mistakes."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from keras_actrec import cli, files, models
from keras_actrec.config import load_config
from keras_actrec.data.targets import targets_of
from keras_actrec.evaluation import embedding, provenance
from keras_actrec.models.joint import with_heads
from keras_actrec.training import datasets, evaluate
from keras_actrec.training.run_directory import RunDirectory

OPTIONS = "{name: ctn, patch: 16, width: 8, depth: 1, heads: 2, stem_channels: 4, stem_kernel: 3, patch_frames: 1}"


def make_run(tiny_config: Path, *overrides: str) -> Path:
    """A run directory as training leaves it."""
    config = load_config(tiny_config, [f"model={OPTIONS}", *overrides])
    manifest = datasets.load(config)
    keras.utils.set_random_seed(0)
    network = models.build_model(
        "ctn",
        len(manifest.classes),
        frames=config.data.frames,
        size=config.data.size,
        modalities=config.data.modalities,
        **config.model.options,
    )
    targets = targets_of(manifest, config.data.targets)
    if targets:
        network = with_heads(network, {target.name: len(target.classes) for target in targets})
    with RunDirectory.create(config, manifest) as directory:
        network.save(directory.model)
        provenance.write(directory.path / provenance.FILE_NAME, provenance.record(manifest))
    return directory.path


@pytest.mark.parametrize("overrides", [(), ("data.modalities=[rgb,depth]", "data.targets=verb_noun")])
def test_files_and_numbers_agree(
    tiny_config: Path, overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tiny_config, *overrides)
    assert cli.main(["embed", "--run", str(run), "--perplexity", "5", "--neighbours", "4", "--clips", "20"]) == 0
    folder = run / "embedding-test"
    said = capsys.readouterr().out
    for name in ("embedding.html", "embedding.png", "embedding.json", "points.csv"):
        assert str(folder / name) in said
    numbers = files.read_json(folder / "embedding.json")
    with (folder / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == numbers["clips"] == 20
    assert numbers["clips_of_split"] > 20
    assert numbers["dimensions"] == 8
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    labels = np.unique([row["class"] for row in rows], return_inverse=True)[1]
    again = embedding.neighbourhood(points, labels, 4)
    assert numbers["neighbours_in_plane"]["share"] == pytest.approx(again.share, abs=0.03)
    assert numbers["neighbours"]["chance"] == pytest.approx(again.chance)
    assert sum(row["clips"] for row in numbers["classes"].values()) == 20
    picture = cv2.imread(str(folder / "embedding.png"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > len(numbers["classes"])


def test_the_features_do_not_depend_on_the_choice_and_the_seed_repeats_the_picture(tiny_config: Path) -> None:
    run = make_run(tiny_config)
    command = ["embed", "--run", str(run), "--classes", "SitDown", "StandUp", "--perplexity", "3"]
    texts = []
    for number in range(2):
        assert cli.main([*command, "--out", str(run / str(number))]) == 0
        texts.append((run / str(number) / "points.csv").read_text())
    assert texts[0] == texts[1]
    numbers = files.read_json(run / "0" / "embedding.json")
    assert set(numbers["classes"]) == {"SitDown", "StandUp"}
    opened = evaluate.open_finished(str(run), "test", (), False)
    features = embedding.extract(opened.network, opened.data.evaluation("test"))
    names = [opened.data.manifest.classes[label] for label in features.labels]
    chosen = np.isin(names, ["SitDown", "StandUp"])
    expected = embedding.neighbourhood(features.values[chosen], features.labels[chosen])
    assert numbers["neighbours"]["share"] == pytest.approx(expected.share)


def test_mistakes(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tiny_config)
    for arguments, message in (
        (["--classes", "SitDwon"], "no class 'SitDwon'. Did you mean 'SitDown'"),
        (["--clips", "0"], "--clips must be at least 1, got 0"),
        (["--split", "train"], "--allow-contaminated"),
    ):
        assert cli.main(["embed", "--run", str(run), *arguments]) == 1
        assert message in capsys.readouterr().err
    assert not (run / "embedding-test").exists()
    assert cli.main(["embed", "--run", str(run), "--split", "train", "--allow-contaminated"]) == 0
    assert "CONTAMINATED" in capsys.readouterr().out
    assert "Contaminated" in (run / "embedding-train" / "embedding.html").read_text()
