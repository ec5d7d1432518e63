"""A folder of 200 good videos and 20 bad ones trains, and names the 20 with their reasons."""

import html
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from keras_actrec import files

pytestmark = pytest.mark.integration


def write_video(path: Path, colour: int, seed: int, frames: int = 24) -> None:
    """Write a short mp4 whose brightness tells its class."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "g": "8"})
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            pixels = np.clip(rng.normal(colour, 30, (48, 48, 3)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def write_audio_only(path: Path) -> None:
    """Write an mp4 that holds a second of silence and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_no_frames(path: Path) -> None:
    """Write an mp4 whose video stream has no frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        container.start_encoding()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """Two classes of a hundred good videos each, and twenty bad files among them."""
    root = tmp_path_factory.mktemp("own-videos")
    for number, (name, colour) in enumerate({"dark": 60, "bright": 190}.items()):
        (root / name).mkdir()
        for index in range(100):
            write_video(root / name / f"take{index:03d}.mp4", colour, 1000 * number + index)
    good = (root / "dark" / "take000.mp4").read_bytes()
    bad: set[str] = set()
    for name in ("dark", "bright"):
        there = root / name
        makers: dict[str, Callable[[Path], object]] = {
            "empty.mp4": lambda path: path.touch(),
            "empty2.avi": lambda path: path.touch(),
            "cut_half.mp4": lambda path: path.write_bytes(good[: len(good) // 2]),
            "cut_early.mp4": lambda path: path.write_bytes(good[:200]),
            "text.mp4": lambda path: path.write_text("this is no video\n" * 50),
            "text2.webm": lambda path: path.write_text("neither is this\n"),
            "no_frames.mp4": write_no_frames,
            "audio_only.mp4": write_audio_only,
            "notes.txt": lambda path: path.write_text("remember to film more"),
            "noise.mp4": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
        }
        for file_name, make in makers.items():
            make(there / file_name)
            bad.add(f"{name}/{file_name}")
    return root, bad


def test_trains_and_names_each_bad_file(
    folder: tuple[Path, set[str]], tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    root, bad = folder
    assert len(bad) == 20
    config = tmp_path / "own.yaml"
    config.write_text(
        f"""
name: own
output: {tmp_path / "runs"}
data: {{source: folder, root: {root}, frames: 4, size: 32}}
model: {{name: frame_average, backbone: tiny, weights: none, head_units: 16}}
training: {{epochs: 2, batch_size: 16, optimizer: {{name: adam, learning_rate: 0.003}}}}
evaluation: {{probes: false, baseline: false}}
"""
    )
    verified = command("-m", "keras_actrec", "verify", "--config", config)
    assert verified.returncode == 3, verified.stderr[-4000:]
    assert "200 of 220 clips can be read" in verified.stdout

    done = command("train.py", "--config", config)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    directory = Path(done.stdout.strip().splitlines()[-1].removeprefix("run: "))

    assert "200 of 220 clips can be read (index, first, middle and last frame)" in done.stdout
    assert "200 of 220 clips could be read; quarantine.json says why not the other 20" in done.stdout
    counts = files.read_json(directory / "metrics.json")["coverage"]
    assert (counts["clips"], counts["readable"]) == (220, 200)
    assert files.read_json(directory / "verification.json")["decodable"] == 200

    entries = files.read_json(directory / "quarantine.json")
    assert {entry["path"] for entry in entries} == bad
    assert all(entry["reason"] for entry in entries)
    report = html.unescape((directory / "report.html").read_text())
    assert all(path in report for path in bad)
    assert "20" in done.stdout
    assert "moov atom" not in done.stderr

    test = files.read_json(directory / "metrics.json")["test"]
    bad_in_test = sum(entry["split"] == "test" for entry in entries)
    assert (test["coverage"] < 1) == (bad_in_test > 0)
    assert test["top1"] > 0.9
