"""`python -m keras_actrec explain`: files that can be opened, numbers that agree with them, and clear mistakes."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import keras
import numpy as np
import pytest

from keras_actrec import cli, files, models
from keras_actrec.config import load_config
from keras_actrec.evaluation.trained import Trained, open_trained
from keras_actrec.explain import METHODS, command

CLASSES = ["KickBall", "RaiseArms", "SitDown"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory as training leaves it, with a network that has not learnt anything."""
    path = tmp_path_factory.mktemp("runs") / "untrained"
    path.mkdir()
    (path / "config.yaml").write_text(
        "name: untrained\n"
        "data: {frames: 4, size: 32, fit: crop}\n"
        "evaluation: {clips: 3}\n"
        "model: {name: convnet_transformer, backbone: tiny, weights: none, widths: [6, 8]}\n"
    )
    config = load_config(path / "config.yaml")
    files.write_json(path / "manifest.lock", {"classes": CLASSES})
    keras.utils.set_random_seed(0)
    network = models.build_model("convnet_transformer", len(CLASSES), frames=4, size=32, **config.model.options)
    network.save(path / "model.keras")
    return path


@pytest.fixture
def video(stick_actions: Path) -> Path:
    return next(path for path in sorted((stick_actions / "videos" / "RaiseArms").iterdir()) if path.suffix == ".mp4")


@pytest.fixture(scope="module")
def trained(run: Path) -> Trained:
    return open_trained(run)


def explain(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.describe_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def test_the_names_of_the_methods_on_the_command_line_are_those_of_the_package() -> None:
    assert tuple(METHODS) == command.METHOD_NAMES


def test_files_and_numbers(run: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.run(explain("--run", run, "--video", video, "--label", "SitDown", "--steps", 4))
    folder = run / "explanations" / video.stem
    lines = capsys.readouterr().out.splitlines()
    for name in ("sheet.png", "overlay.mp4", "explanation.json"):
        assert any(line.endswith(str(folder / name)) for line in lines)
    said = files.read_json(folder / "explanation.json")
    assert said["explained"] == "SitDown"
    assert sum(said["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert said["predicted"] == max(said["probabilities"], key=said["probabilities"].get)
    assert set(said["methods"]) | set(said["not_applicable"]) == set(METHODS)
    assert "no non-local block" in said["not_applicable"]["non_local"]
    assert said["methods"]["grad_cam"]["layer"] == "frame_features/tiny/block2_relu"
    assert sum(said["methods"]["attention"]["frame_weights"]) == pytest.approx(1, abs=1e-4)
    assert len(said["frames"]) == 4
    picture = cv2.imread(str(folder / "sheet.png"))
    assert picture.shape[1] > 1000
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000, "the sheet shows hardly anything"


def test_the_overlay_video_plays_in_browsers(run: Path, video: Path, tmp_path: Path) -> None:
    command.run(explain("--run", run, "--video", video, "--method", "grad_cam", "--out", tmp_path))
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert len(frames) >= 4
    left, right = np.split(frames[0].astype(int), 2, axis=1)
    assert np.abs(left - right).mean() > 1, "no heat lies over the right half"


def test_frames_are_those_of_the_evaluation(trained: Trained, video: Path) -> None:
    clips = [trained.frames(video, number) for number in range(3)]
    assert all(clip.pixels.shape == (4, 32, 32, 3) for clip in clips)
    starts = [clip.indices[0] for clip in clips]
    assert starts == sorted(set(starts)), "three clips spread over the video"
    np.testing.assert_array_equal(trained.frames(video).indices, clips[1].indices)
    larger = trained.frames(video, 0, size=64)
    np.testing.assert_array_equal(larger.indices, clips[0].indices)
    assert larger.pixels.shape == (4, 64, 64, 3)
    assert trained.normalize(clips[0].pixels).max() <= 1


def test_boxes_follow_the_crop(trained: Trained, video: Path) -> None:
    frames = trained.frames(video)
    side = min(frames.height, frames.width)
    left, top = (frames.width - side) / 2, (frames.height - side) / 2
    whole = np.tile([left, top, left + side, top + side], (4, 1))
    np.testing.assert_allclose(trained.box_to_frame(whole, frames), np.tile([0, 0, 32, 32], (4, 1)))
    beyond = np.tile([0.0, 0.0, frames.width, frames.height], (4, 1))
    np.testing.assert_allclose(trained.box_to_frame(beyond, frames), np.tile([0, 0, 32, 32], (4, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "SitDwon"], "Did you mean 'SitDown'"),
        (["--layer", "block3_relu"], "Did you mean 'block"),
        (["--method", "gradcam"], "Did you mean 'grad_cam'"),
        (["--clip", "3"], "evaluation.clips of the run is 3"),
        (["--query", "0", "0", "99", "--method", "non_local"], ""),
    ],
)
def test_mistakes_in_one_sentence(
    run: Path, video: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = cli.main(["explain", "--run", str(run), "--video", str(video), "--out", str(tmp_path), *arguments])
    error = capsys.readouterr().err
    assert code == (1 if message else 0)
    assert message in error
    assert "Traceback" not in error


def test_directories_and_videos_that_cannot_be_opened(
    run: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    (tmp_path / "untrained").mkdir()
    (tmp_path / "untrained" / "config.yaml").write_text((run / "config.yaml").read_text())
    cases = [
        (tmp_path, video, "no run directory"),
        (tmp_path / "untrained", video, "no trained model"),
        (run, broken, "cannot read the video"),
        (run, tmp_path / "missing.mp4", "missing file"),
    ]
    for directory, file, message in cases:
        assert cli.main(["explain", "--run", str(directory), "--video", str(file), "--out", str(tmp_path)]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.integration
def test_as_a_user_types_it(
    run: Path, video: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command(
        "-m", "keras_actrec", "explain", "--run", run, "--video", video, "--out", tmp_path / "new" / "folder"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "folder" / "sheet.png").stat().st_size > 10_000
