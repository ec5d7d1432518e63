"""`python -m keras_actrec predict`: answers that agree with evaluation, formats, and clear mistakes."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import made
import numpy as np
import pytest

from keras_actrec import cli
from keras_actrec.evaluation.predict import softmax
from keras_actrec.evaluation.trained import open_trained
from keras_actrec.serving import inputs, output, predict_command
from keras_actrec.serving.answers import Answer
from keras_actrec.serving.reading import Facts
from keras_actrec.serving.session import Session
from keras_actrec.serving.timeline import Segment
from keras_actrec.serving.windows import Window

Printed = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos, one of them below another folder, and four files that are none."""
    root = tmp_path_factory.mktemp("collection")
    (root / "more").mkdir()
    for number in range(4):
        made.video(root / f"clip{number}.mp4", 30, seed=number)
    made.video(root / "more" / "clip4.avi", 30, seed=4, codec="mjpeg")
    (root / "notes.txt").write_text("not asked for")
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("no video")
    made.damaged(root / "more" / "cut.mp4", root / "clip1.mp4", 0.1, 1000)
    return root


def predict(*arguments: object) -> int:
    return cli.main(["predict", *map(str, arguments)])


def test_answers_are_those_of_the_network_on_what_evaluation_takes(run: Path, folder: Path, capsys: Printed) -> None:
    videos = sorted(folder.glob("clip?.mp4"))
    assert predict("--run", run, *videos, "--format", "jsonl", "--top", 4) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["file"] for one in told] == list(map(str, videos))
    trained = open_trained(run)
    for video, one in zip(videos, told, strict=True):
        clip = trained.normalize(trained.frames(video).pixels)[None]
        expected = softmax(np.asarray(trained.model.predict_on_batch(clip)))[0]
        found = {entry["label"]: entry["probability"] for entry in one["top"]}
        np.testing.assert_allclose([found[name] for name in trained.classes], expected, atol=1e-4)
        assert one["label"] == trained.classes[int(expected.argmax())]
        assert one["video"]["duration_sec"] == pytest.approx(1.5)
        assert one["timeline"] == [
            {"label": one["label"], "start_sec": 0, "end_sec": 1.5, "confidence": one["confidence"]}
        ]


def test_a_folder_with_bad_files_is_done_and_tells_them(
    run: Path, folder: Path, tmp_path: Path, capsys: Printed
) -> None:
    out = tmp_path / "answers.csv"
    assert predict("--run", run, folder, "--out", out) == 1
    said = capsys.readouterr()
    assert f"not readable: {folder / 'empty.mp4'}: empty file" in said.err
    assert "3 of 8 videos could not be read; 5 were answered." in said.err
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == [
        *("clip0.mp4", "clip1.mp4", "clip2.mp4", "clip3.mp4", "empty.mp4"),
        *("clip4.avi", "cut.mp4", "text.mp4"),
    ]
    assert {row["error"] for row in rows if not row["label"]} >= {"empty file", "not a video"}
    assert all(0.25 <= float(row["confidence"]) <= 1 for row in rows if row["label"])


def test_a_long_video_gets_a_timeline_and_an_annotated_copy(
    run: Path, long_video: Path, tmp_path: Path, capsys: Printed
) -> None:
    copy = tmp_path / "annotated.mp4"
    assert predict("--run", run, long_video, "--annotate", copy, "--hop", 1) == 0
    first, *lines = capsys.readouterr().out.splitlines()[:-1]
    assert first.startswith(str(long_video))
    assert lines[0].strip().startswith("0:00.0 to ")
    assert " to 0:10.0 " in lines[-1]
    with av.open(str(copy)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == made.FPS
    assert len(frames) == 200
    picture, panels = frames[100][:360], [frame[360:] for frame in frames]
    assert frames[0].shape[1] == 480
    assert picture.shape == (360, 480, 3)
    original = np.stack(list(made.pictures(200)))[100].repeat(7, 0).repeat(7, 1)[:336:8, :448:8].astype(int)
    assert np.abs(picture[:336:8, :448:8].astype(int).mean() - original.mean()) < 12
    # The playhead goes from left to right below the picture.
    heads = [int((panel[40:43].min(axis=2) > 200).any(axis=0).argmax()) for panel in panels]
    assert heads == sorted(heads)
    assert heads[0] < 20
    assert heads[-1] > 450


def test_whole_videos_smoothing_and_thresholds(run: Path, long_video: Path, capsys: Printed) -> None:
    def told(*arguments: object) -> dict:
        assert predict("--run", run, long_video, "--format", "jsonl", *arguments) == 0
        return json.loads(capsys.readouterr().out)

    assert told("--whole")["windows"] == 1
    rough, smooth = told("--smooth", 0), told("--smooth", 8)
    assert rough["windows"] == smooth["windows"] == 17
    assert len({one["confidence"] for one in (*rough["timeline"], *smooth["timeline"])}) > 1
    unknown = told("--threshold", 1.0)
    assert unknown["label"] == "unknown"
    assert [one["label"] for one in unknown["timeline"]] == ["unknown"]
    assert unknown["top"][0]["label"] != "unknown", "what it might be is told all the same"


def test_an_ensemble(run: Path, tmp_path: Path, short_video: Path, capsys: Printed) -> None:
    other = made.save_run(tmp_path / "other", seed=9)

    def probabilities(*runs: object) -> dict[str, float]:
        assert predict("--run", *runs, short_video, "--format", "jsonl") == 0
        return {one["label"]: one["probability"] for one in json.loads(capsys.readouterr().out)["top"]}

    first, second, both = probabilities(run), probabilities(other), probabilities(run, other)
    assert first != second
    for name in made.CLASSES:
        assert both[name] == pytest.approx((first[name] + second[name]) / 2, abs=1e-5)


def test_colours_and_depth_are_no_ensemble_and_a_camera_shows_no_depth(
    run: Path, tmp_path: Path, short_video: Path, capsys: Printed
) -> None:
    data, model = "{frames: 4, size: 32, modalities: [depth]}", "{name: r3d_18, base_width: 4, depths: [1, 1, 1, 1]}"
    depth = made.save_run(tmp_path / "depth", data=data, model=model)
    for runs in ((run, depth), (depth, run)):
        assert predict("--run", *runs, short_video) == 1
        error = capsys.readouterr().err
        assert "must look at the same videos" in error
        assert "`evaluate --fuse` averages such runs" in error
    assert predict("--run", depth, "--camera", short_video) == 1
    assert "a camera shows colours; these networks look at depth." in capsys.readouterr().err


def test_runs_and_videos_are_told_apart(run: Path, short_video: Path) -> None:
    apart = predict_command.runs_and_videos
    assert apart([[str(run), str(short_video)]], ["b.mp4"]) == ([str(run)], [str(short_video), "b.mp4"])
    assert apart([[str(run)], [str(run), "a.mp4"]], []) == ([str(run), str(run)], ["a.mp4"])
    assert apart([["nowhere", "a.mp4"]], []) == (["nowhere"], ["a.mp4"]), "a mistyped run is not taken for a video"


def test_words_become_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names = [path.as_posix() for path in inputs.videos(["clip3.mp4", "clip*.mp4", "more"])]
    assert names == ["clip3.mp4", "clip0.mp4", "clip1.mp4", "clip2.mp4", "more/clip4.avi", "more/cut.mp4"]
    assert len(inputs.videos([f"{folder}/**/*.avi"])) == 1
    assert inputs.videos(["nowhere.mp4"]) == [Path("nowhere.mp4")]


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    import cv2

    for number, picture in enumerate(made.pictures(3)):
        cv2.imwrite(str(tmp_path / f"img_{number:03d}.jpg"), picture)
    assert inputs.videos([str(tmp_path)]) == [tmp_path]


def test_live_lines_are_printed_as_they_come(run: Path, tmp_path: Path, capsys: Printed) -> None:
    video = made.video(tmp_path / "v.mp4", 60)
    assert predict("--run", run, "--camera", video, "--window", 1, "--hop", 0.5, "--format", "jsonl") == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert 2 <= len(lines) <= 6
    assert all(line["label"] in made.CLASSES and line["latency_sec"] < 5 for line in lines)
    assert "the live source has ended" in said.err
    assert predict("--run", run, "--camera", video, "--window", 1, "--format", "csv", "--seconds", 2) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "time,label,confidence,latency_sec,dropped,skipped"
    assert rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which videos?"),
        (("a.mp4", "--top", 0), "--top: expected 1 or more, got 0"),
        (("a.mp4", "--batch-size", -1), "--batch-size: expected 1 or more"),
        (("a.mp4", "--smooth", -1), "--smooth: expected 0 seconds or more"),
        (("a.mp4", "--window", 0), "expected a window of more than 0 seconds"),
        (("a.mp4", "--window", 1, "--hop", 2), "expected a hop of more than 0 seconds and at most the window's 1"),
        (("a.mp4", "--whole", "--hop", 2), "--whole takes each video as one"),
        (("a.mp4", "--threshold", 2), "expected a threshold from 0 to 1, got 2"),
        (("a.mp4", "--repository"), "has no repository of actions"),
        (("a.mp4", "b.mp4", "--annotate", "c.mp4"), "--annotate writes one video, so it wants one; got 2"),
        (("a.mp4", "--camera", "0"), "--camera is instead of videos"),
        (("a.mp4", "--seconds", 3), "--seconds is for --camera"),
        (("a.mp4", "--format", "csv", "--out", "x.jsonl"), "ends like jsonl, but --format says csv"),
        (("no*such.mp4",), "no file fits the pattern no*such.mp4"),
        (("clips/**.mp4",), "the pattern clips/**.mp4: ** stands alone between slashes, as in clips/**/*.mp4"),
        (("--camera", "99999999999"), "--camera 99999999999: expected the number of a camera, such as 0 or 1"),
        (("--camera", "ftp://x"), "expected the number of a camera"),
        (("--camera", "0", "--out", "x"), "--camera prints its answers as they come"),
    ],
)
def test_mistakes_are_one_sentence(run: Path, arguments: tuple, said: str, capsys: Printed) -> None:
    assert predict("--run", run, *arguments) == 1
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1


def test_runs_that_are_none(tmp_path: Path, short_video: Path, capsys: Printed) -> None:
    assert predict("--run", tmp_path, short_video) == 1
    assert "is no run directory" in capsys.readouterr().err


def test_annotating_does_not_overwrite_the_video(run: Path, short_video: Path, capsys: Printed) -> None:
    before = short_video.read_bytes()
    assert predict("--run", run, short_video, "--annotate", short_video) == 1
    assert "would overwrite the video itself" in capsys.readouterr().err
    assert predict("--run", run, short_video, "--annotate", "x.gif") == 1
    assert "ends with .mp4" in capsys.readouterr().err
    assert short_video.read_bytes() == before


def test_where_results_cannot_go_is_told_before_the_networks_are_opened(
    tmp_path: Path, short_video: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_command, "open_predictor", lambda *_: pytest.fail("the networks were opened"))
    for arguments, said in {
        ("--out", tmp_path): "expected the name of a file, that is a folder",
        ("--out", short_video / "answers.csv"): "cannot write there",
        ("--out", short_video): "would overwrite one of the videos",
        ("--out", tmp_path / "x.jsonl", "--format", "csv"): "ends like jsonl, but --format says csv",
        ("--annotate", tmp_path / "x.gif"): "ends with .mp4",
        ("--annotate", short_video): "would overwrite the video itself",
        ("--annotate", short_video / "x.mp4"): "cannot write there",
    }.items():
        assert predict("--run", "run", short_video, *arguments) == 1
        error = capsys.readouterr().err.strip()
        assert said in error
        assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_utf8_are_told_in_every_format(run: Path, tmp_path: Path, capsys: Printed) -> None:
    name = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    made.video(tmp_path / "plain.mp4", 20).rename(name)
    for kind, shown in {"csv": r"caf\udce9.mp4", "jsonl": r"caf\udce9.mp4", "table": "caf\ufffd.mp4"}.items():
        out = tmp_path / f"answers.{kind}"
        code = predict("--run", run, name, "--format", kind, "--out", out)
        written = out.read_text(encoding="utf-8")
        assert shown in written
        assert predict("--run", run, name, "--format", kind) == code
        assert shown in capsys.readouterr().out


def test_sigterm_keeps_the_answers_so_far(
    run: Path, folder: Path, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Session.answers

    def ended(session: Session, paths: list[Path]) -> Iterator[Any]:
        for place, found in enumerate(answers(session, paths)):
            if place == 2:
                signal.raise_signal(signal.SIGTERM)
            yield found

    monkeypatch.setattr(Session, "answers", ended)
    out = tmp_path / "answers.csv"
    with pytest.raises(SystemExit) as left:
        predict("--run", run, folder, "--out", out)
    assert left.value.code == cli.INTERRUPTED
    assert f"interrupted: the answers so far are in {out} (2 of 8 videos)" in capsys.readouterr().err
    with out.open(newline="") as file:
        assert [Path(row["file"]).name for row in csv.DictReader(file)] == ["clip0.mp4", "clip1.mp4"]
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]


def test_times_and_names_in_a_table() -> None:
    assert [output.clock(seconds) for seconds in (0, 59.96, 61.25, 3661.0)] == [
        "0:00.0",
        "1:00.0",
        "1:01.2",
        "1:01:01.0",
    ]
    window = Window(0.0, 1.0, 0, 10)
    facts = Facts(10, 10.0, 64, 48, 1.0)
    answer = Answer(facts, "Sit", (("Sit", 0.9),), (window,), ("Sit",), (0.9,), (Segment("Sit", 0.0, 1.0, 0.9),))
    write = output.table_lines([Path("a\x1b[31m.mp4")], ["Sit"])
    assert write(Path("a\x1b[31m.mp4"), answer) == ["a\ufffd[31m.mp4  Sit   90.0 %"]
    assert output.csv_lines(Path('a,"b".mp4'), answer) == ['"a,""b"".mp4",0.000,1.000,Sit,0.900000,']
