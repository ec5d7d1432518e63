"""`predict --repository`: the actions of a run's repository, also added ones, and "unknown" by gamma."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import made
import numpy as np
import pytest

from keras_actrec import cli
from keras_actrec.evaluation import repository, video_codes
from keras_actrec.evaluation.codes import with_codes
from keras_actrec.evaluation.trained import open_trained


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    return [made.video(tmp_path / f"v{number}.mp4", 30, seed=number) for number in range(3)]


def codes_of(run: Path, videos: list[Path]) -> np.ndarray:
    trained = open_trained(run)
    model, _ = with_codes(trained.model, len(trained.classes))
    clips = np.stack([trained.normalize(trained.frames(video).pixels) for video in videos])
    return np.asarray(model.predict_on_batch(clips)["code"])


def test_added_actions_are_answered_and_far_codes_are_unknown(
    run: Path, tmp_path: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(run, tmp_path / "mine"))
    found = codes_of(mine, videos)
    digest = repository.model_digest(open_trained(mine).model)
    held = repository.build(["Sit", "Added"], found[:2], [0, 1], ["a", "b"], model=digest)
    between = np.linalg.norm(found[2] - held.centres, axis=1)
    gammas = np.full(2, between.min() * 0.9)
    dataclasses.replace(held, gammas=gammas).save(mine / repository.FILE_NAME)
    assert cli.main(["predict", "--run", str(mine), *map(str, videos), "--repository", "--format", "jsonl"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["label"] for one in told] == ["Sit", "Added", "unknown"]
    assert {entry["label"] for entry in told[2]["top"]} == {"Sit", "Added"}
    assert told[2]["top"][0]["label"] == held.names[int(between.argmin())]
    # The probabilities are those of the nearest-centre classifier.
    kernel, bias = repository.as_classifier(held.centres, held.spread)
    logits = found[2] @ kernel + bias
    assert told[2]["top"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-abs(logits[0] - logits[1]))), abs=1e-3)


def test_the_command_repository_says_the_same(
    run: Path, tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(run, tmp_path / "mine"))
    found = codes_of(mine, videos)
    digest = repository.model_digest(open_trained(mine).model)
    repository.build(["One", "Two", "Three"], found, [0, 1, 2], ["a", "b", "c"], model=digest).save(
        mine / repository.FILE_NAME
    )
    trained = open_trained(mine)
    manifest = type("Manifest", (), {"classes": trained.classes, "clips": (), "root": str(tmp_path)})()
    encoder = video_codes.Encoder(trained.config, manifest, trained.model, trained.views)
    held = repository.load(mine / repository.FILE_NAME)
    expected = [held.recognise(encoder.encode(video).codes.mean(axis=0, keepdims=True))[0] for video in videos]
    assert cli.main(["predict", "--run", str(mine), *map(str, videos), "--repository", "--format", "jsonl"]) == 0
    told = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert told == expected == ["One", "Two", "Three"]


def test_an_ensemble_has_no_repository(run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "--run", str(run), str(run), str(videos[0]), "--repository"]) == 1
    assert "a repository belongs to one network" in capsys.readouterr().err
