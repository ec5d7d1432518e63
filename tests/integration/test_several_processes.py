"""One run of `train.py` by two processes, on a folder of videos some of which are bad: the chief alone keeps it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from test_bad_videos import write_video

from keras_actrec import files

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def videos(tmp_path: Path) -> tuple[Path, set[str]]:
    """Two classes of 24 good videos each, and eight bad files among them."""
    root, bad = tmp_path / "videos", set()
    for number, (name, colour) in enumerate({"dark": 60, "bright": 190}.items()):
        (root / name).mkdir(parents=True)
        for index in range(24):
            write_video(root / name / f"take{index:03d}.mp4", colour, 1000 * number + index, frames=8)
        for index in range(4):
            bad.add(f"{name}/take{index:03d}_bad.mp4")
            (root / name / f"take{index:03d}_bad.mp4").touch()
    return root, bad


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(config: Path, output: Path, workers: list[str], index: int) -> subprocess.Popen[str]:
    task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, "train.py", "--config", str(config), f"output={output}"],
        cwd=ROOT,
        env={**os.environ, "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_make_one_run(videos: tuple[Path, set[str]], tmp_path: Path) -> None:
    root, bad = videos
    config = tmp_path / "own.yaml"
    config.write_text(
        f"""
name: own
data: {{source: folder, root: {root}, frames: 2, size: 32}}
model: {{name: frame_average, backbone: tiny, weights: none, head_units: 16}}
training: {{epochs: 2, batch_size: 8, optimizer: {{name: adam, learning_rate: 0.003}}}}
evaluation: {{probes: false, throughput: false, baseline: false}}
"""
    )
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    started = [start(config, tmp_path / str(index), workers, index) for index in range(2)]
    try:
        said = [process.communicate(timeout=800)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)[-6000:]

    directory = Path(said[0].strip().splitlines()[-1].removeprefix("run: "))
    assert not (tmp_path / "1").exists()
    assert (directory / "finished.json").exists()
    assert len((directory / "history.csv").read_text().splitlines()) == 3
    # Each process has met some of the bad clips alone.
    assert {entry["path"] for entry in files.read_json(directory / "quarantine.json")} == bad
    counts = files.read_json(directory / "metrics.json")["coverage"]
    assert (counts["clips"], counts["readable"]) == (56, 48)
    assert (directory / "report.html").exists()
    assert "2 processes with 2 devices share each batch" in said[0]
