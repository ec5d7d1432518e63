"""`datasets --describe`, as a user calls it."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_actrec import cli
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource


@pytest.fixture
def folder(tmp_path: Path, stick_actions: Path) -> Path:
    """A folder of videos with three bad files among them."""
    root = tmp_path / "videos"
    for name in ("SitDown", "Squat"):
        (root / name).mkdir(parents=True)
        for path in sorted((stick_actions / "videos" / name).iterdir())[:8]:
            shutil.copy(path, root / name / path.name)
    first = next((root / "Squat").iterdir())
    (root / "Squat" / "empty.mp4").write_bytes(b"")
    (root / "Squat" / "text.mp4").write_text("no video at all")
    (root / "SitDown" / f"cut{first.suffix}").write_bytes(first.read_bytes()[: first.stat().st_size // 3])
    return root


def describe(folder: Path, out: Path) -> int:
    config = out.parent / "config.yaml"
    config.write_text(f"data: {{source: folder, root: {folder}, workers: 2}}\n")
    return cli.main(["datasets", "--config", str(config), "--describe", "--out", str(out)])


def test_page_numbers_and_summary(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert describe(folder, out) == 0
    printed = capsys.readouterr().out
    assert "16 of 19 clips can be read" in printed and f"page: {out / 'describe.html'}" in printed
    assert printed.count("not readable: ") == 3 and "Squat/empty.mp4: empty file" in printed
    numbers = json.loads((out / "describe.json").read_text())
    assert set(numbers["classes"]) == {"SitDown", "Squat"} and len(numbers["unreadable"]) == 3
    assert all(row["motion"] > 0 and row["motion_clips"] == 8 for row in numbers["classes"].values())
    assert sum(numbers["sizes"].values()) == sum(numbers["rates"].values()) == 16


def test_sample_frames_are_those_of_the_videos(folder: Path, tmp_path: Path) -> None:
    describe(folder, tmp_path / "out")
    page = (tmp_path / "out" / "describe.html").read_text()
    found = re.findall(r'<img alt="frames of ([^"]+)" title="[^"]+" src="data:image/jpeg;base64,([^"]+)">', page)
    assert len(found) == 4
    for path, data in found:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        source, clip = VideoSource(folder), Clip(path, None, "train")
        info = source.probe(clip)
        width = round(info.width * 84 / info.height)
        middle = source.read(clip, [info.frames // 2], (84, width))[0]
        assert picture.shape == (84, 3 * width + 6, 3)
        assert np.abs(picture[:, width + 3 : 2 * width + 3].astype(int) - middle).mean() < 12


def test_a_second_look_opens_only_what_it_shows(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe(folder, tmp_path / "out")
    before = (tmp_path / "out" / "describe.json").read_bytes()
    opened = []
    original = VideoSource.probe

    def probe(self: VideoSource, clip: object) -> object:
        opened.append(clip)
        return original(self, clip)

    monkeypatch.setattr(VideoSource, "probe", probe)
    assert describe(folder, tmp_path / "out") == 0
    assert len(opened) == 3 + 4, "the bad files, and two clips of each class"
    assert (tmp_path / "out" / "describe.json").read_bytes() == before


def test_a_folder_for_the_page_alone_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    assert cli.main(["datasets", "--config", str(tmp_path / "config.yaml"), "--out", "x"]) == 1
    assert "--describe" in capsys.readouterr().err
