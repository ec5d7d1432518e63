"""Mistakes at the command line become one sentence; a MongoDB of our own ends with its block."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from keras_actrec import cli
from keras_actrec.config import parse_config
from keras_actrec.data.fiftyone_sets import connection, mongo
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UserError
from keras_actrec.inspection import app, command, opening


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "one of the arguments --data --config --run is required"),
        (["--data", "nowhere"], "there is nothing at nowhere; expected a configuration"),
        (["--config", "nowhere.yaml"], "there is no configuration at nowhere.yaml"),
        (["--run", "nowhere"], "nowhere is no run directory"),
        (["--data", "x", "--overwrite"], "--overwrite replaces the dataset that --keep names"),
        (["--data", "nowhere", "--export", "full"], "full is not empty; choose a new folder for the export"),
        (["--data", "x", "--split", "tset"], "Did you mean 'test'"),
        (["--data", "x", "--port", "99999"], "--port: expected a number from 1 to 65535, got 99999"),
        (["--data", "x", "--port", "-5"], "--port: expected a number from 1 to 65535, got -5"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    try:
        code = cli.main(["inspect", *words])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code != 0
    assert sentence in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("words", "splits"),
    [
        ([], ["test"]),
        (["--split", "train"], ["train"]),
        (["--split", "validation", "test", "unlabelled", "train"], ["train", "test"]),
        (["--split", "unlabelled"], []),
        (["--split", "train", "--predict", "test"], ["test"]),
    ],
)
def test_of_a_run_the_splits_that_are_shown_are_predicted(words: list[str], splits: list[str], tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.describe_arguments(parser)
    clips = [Clip(f"{split}.mp4", "sit", split) for split in ("train", "test")]
    manifest = Manifest.from_clips("toy", tmp_path, 1, clips)
    opened = opening.Opened(parse_config({}), (manifest,), VideoSource(tmp_path), tmp_path)
    assert command._predicted(parser.parse_args(["--run", "x", *words]), opened) == splits


def test_a_run_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UserError, match="is a run directory: inspect --run"):
        opening.open_data(str(tmp_path), [])


@pytest.mark.parametrize(
    ("lock", "sentence"),
    [
        (None, "holds no manifest.lock, which names the run's clips; copy it too"),
        ('{"hash', "manifest.lock is damaged; copy it again from the original run"),
        ("[]", "manifest.lock is damaged; copy it again from the original run"),
    ],
)
def test_a_run_that_is_not_whole_is_told(tmp_path: Path, lock: str | None, sentence: str) -> None:
    for label in ("run", "sit"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "videos" / label / f"{number}.mp4").touch()
    (tmp_path / "config.yaml").write_text(f"data: {{source: folder, root: {tmp_path / 'videos'}}}\n")
    if lock is not None:
        (tmp_path / "manifest.lock").write_text(lock)
    with pytest.raises(UserError, match=sentence):
        opening.open_run(str(tmp_path), [])


def test_a_folder_of_classes_is_a_data_set(tmp_path: Path, film: Callable[..., Path]) -> None:
    for number in range(6):
        film(tmp_path / "run" / f"{number}.mp4")
        film(tmp_path / "sit" / f"{number}.mp4")
    opened = opening.open_data(str(tmp_path), ["data.test_fraction=0.5"])
    assert len(opened.manifests) == 1
    assert len(opened.manifest.split("test")) == 6


def test_a_port_that_is_taken_is_refused_or_passed_over() -> None:
    with socket.socket() as other:
        other.bind((app.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        assert not app.is_free(port)
        with pytest.raises(UserError, match=f"port {port} is taken by another program"):
            app.choose_port(port)
    assert app.is_free(app.choose_port(None))
    assert not app.is_free(70_000)


def test_a_database_of_ones_own_ends_with_the_block(address: str) -> None:
    with mongo.running() as uri:
        host, port = uri.removeprefix("mongodb://").split(":")
        assert uri != address
        socket.create_connection((host, int(port)), timeout=5).close()
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection((host, int(port)), timeout=5)


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.write_text("#!/bin/sh\nwhile [ $1 != --logpath ]; do shift; done\necho 'no space left' > $2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match=r"MongoDB \(.*mongod\) did not start: no space left"):
        mongo._start(program, tmp_path / "folder")


def test_passwords_are_not_told() -> None:
    class Config:
        database_uri = "mongodb://anna:secret@example.org:27017/x"
        database_dir = "/d"

    class FiftyOne:
        config = Config()

    assert connection.where(FiftyOne()) == "example.org:27017/x"
