"""`python -m keras_actrec repository` on a run whose network has not learnt anything."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_actrec import cli, files, models
from keras_actrec.config import load_config
from keras_actrec.data import boxes, decode
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.evaluation import codes, provenance, repository, video_codes
from keras_actrec.evaluation.repository import Repository
from keras_actrec.evaluation.video_names import video_name
from keras_actrec.locking import Lock
from keras_actrec.training import datasets, inputs, metric_learning, repository_command
from keras_actrec.training.run_directory import RunDirectory

OPTIONS = "{name: ctn, patch: 16, width: 8, depth: 1, heads: 2, stem_channels: 4, stem_kernel: 3, patch_frames: 1}"


MakeRun = Callable[..., Path]


def new_run(tiny_config: Path, overrides: tuple[str, ...], seed: int) -> Path:
    """A run directory as training leaves it; of each class three videos are held, two passes each."""
    settings = [f"model={OPTIONS}", "training.repository={fragments: 3, passes: 2}", *overrides]
    config = load_config(tiny_config, settings)
    manifest = datasets.load(config)
    keras.utils.set_random_seed(seed)
    architecture = models.make_config_for("ctn", len(manifest.classes), config.data, config.model.options)
    network = models.build_from_config("ctn", architecture)
    with RunDirectory.create(config, manifest) as directory:
        network.save(directory.model)
        provenance.write(directory.path / provenance.FILE_NAME, provenance.record(manifest))
        data = inputs.open_inputs(config, manifest, Quarantine(), architecture.normalization)
        metric_learning.keep_repository(network, data, directory)
    return directory.path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple, Path]]:
    """A folder for runs, and those that have been made."""
    return tmp_path_factory.mktemp("runs"), {}


@pytest.fixture
def make_run(tiny_config: Path, tmp_path: Path, kept: tuple[Path, dict[tuple, Path]]) -> MakeRun:
    """Make a run directory; equal ones are made once and copied."""
    folder, made = kept

    def make(*overrides: str, seed: int = 0) -> Path:
        key = (*overrides, seed)
        if key not in made:
            made[key] = new_run(tiny_config, (*overrides, f"output={folder}"), seed)
        return Path(shutil.copytree(made[key], tmp_path / "runs" / f"{made[key].name}-{seed}"))

    return make


@pytest.fixture
def unknown(stick_actions: Path) -> list[Path]:
    return sorted((stick_actions / "unknown" / "Walk").rglob("*.mp4"))


def held(run: Path) -> Repository:
    return repository.load(run / repository.FILE_NAME)


def do(action: str, run: Path, *arguments: object) -> int:
    return cli.main(["repository", action, "--run", str(run), *map(str, arguments)])


def test_an_action_comes_is_recognised_measured_and_goes(
    make_run: MakeRun, stick_actions: Path, unknown: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run()
    before = held(run)
    copy, waving = shutil.copy(unknown[0], tmp_path / "my own.mp4"), stranger(stick_actions, "Walk")
    assert do("add", run, "--label", "Walk", copy) == 0
    said = capsys.readouterr().out
    assert "'Walk': a new action, 2 codes" in said
    assert do("add", run, "--label", waving.label, *[stick_actions / waving.path] * 2) == 0
    after = held(run)
    assert after.names == (*before.names, "Walk", waving.label)
    assert set(after.videos) - set(before.videos) == {str(copy), waving.path}
    assert np.bincount(after.owners)[-2:].tolist() == [2, 2], "a video that is named twice counts once"
    np.testing.assert_array_equal(after.centres[:-2], before.centres)
    assert not list(tmp_path.glob(".keras_actrec")), "nothing is written beside the user's video"

    # What the command encoded is what evaluation gives: two passes, the same numbers.
    encoder = video_codes.open_encoder(run, clips=2, crops=1)
    config = load_config(run / "config.yaml")
    data = inputs.open_inputs(config, datasets.load(config), Quarantine(), encoder.views[0].normalization)
    strangers = data.evaluation("unknown", clips=2)
    evaluated = codes.encode(encoder.network, strangers)
    paths = [clip.path for clip in strangers.clips]
    for video, path in ((waving.path, waving.path), (str(copy), unknown[0].relative_to(stick_actions).as_posix())):
        rows = [row for row, name in enumerate(after.videos) if name == video]
        np.testing.assert_allclose(after.codes[rows], evaluated.values[paths.index(path)], rtol=1e-4, atol=1e-5)

    assert do("evaluate", run) == 0
    said = capsys.readouterr().out
    numbers = files.read_json(run / "repository-test.json")
    counts = Counter(clip.label for clip in strangers.clips)
    assert numbers["added"] == ["Walk", waving.label]
    assert numbers["per_action"]["Walk"]["clips"] == counts["Walk"] - 1, "the repository holds a copy of one"
    assert numbers["per_action"][waving.label]["clips"] == counts[waving.label] - 1
    assert numbers["left_out"] == 2
    assert numbers["unknown"]["clips"] == len(strangers.clips) - counts["Walk"] - counts[waving.label]
    assert numbers["clips"] == sum(part["clips"] for part in numbers["per_action"].values())
    assert "Walk (added)" in said
    held_too = {waving.path, unknown[0].relative_to(stick_actions).as_posix()}
    check_accuracy(numbers, after, data, encoder.network, held_too)

    assert do("remove", run, "--label", "Walk") == 0
    assert do("remove", run, "--label", waving.label) == 0
    np.testing.assert_array_equal(held(run).codes, before.codes)
    np.testing.assert_array_equal(held(run).gammas, before.gammas)
    assert not list(run.glob(".repository-*")), "nothing half-written is left"


def stranger(stick_actions: Path, but: str) -> Clip:
    """Return a clip of the split "unknown" of another class than `but`."""
    path = next(path for path in sorted((stick_actions / "unknown").rglob("*.mp4")) if path.parent.name != but)
    return Clip(path.relative_to(stick_actions).as_posix(), path.parent.name, "unknown")


def check_accuracy(
    numbers: dict, after: Repository, data: inputs.Inputs, network: keras.Model, held_too: set[str]
) -> None:
    """Count with a loop what the command counted."""
    right = total = 0
    for split in ("test", "unknown"):
        loader = data.evaluation(split)
        found = codes.encode(network, loader)
        for index, answer in zip(found.indices, after.recognise(found.mean()), strict=True):
            clip = loader.clips[index]
            if clip.label in after.names and clip.path not in held_too:
                total += 1
                right += answer == clip.label
    assert numbers["clips"] == total
    assert numbers["accuracy"] == pytest.approx(right / total)


def test_recognising(make_run: MakeRun, unknown: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("evaluation.clips=3")
    known = held(run)
    video = next(path for path in known.videos)
    root = Path(load_config(run / "config.yaml").data.root)
    assert do("recognise", run, root / video, unknown[0]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    encoder = video_codes.open_encoder(run)
    for line, path in zip(lines, (root / video, unknown[0]), strict=True):
        code = encoder.encode(path)
        assert code.codes.shape[0] == 3
        (answer,), (index,), (distance,) = (part for part in _about(known, code.codes))
        said = answer or f"unknown (nearest: {known.names[index]})"
        assert line.startswith(f"{code.name}: {said}, distance {distance:.4g}, gamma {known.gammas[index]:.4g}, ")
        assert line.endswith(" s")
    strict = dataclasses.replace(known, gammas=np.zeros_like(known.gammas))
    strict.save(run / repository.FILE_NAME)
    assert do("recognise", run, root / video) == 0
    assert ": unknown (nearest: " in capsys.readouterr().out


def _about(known: Repository, values: np.ndarray) -> tuple:
    code = values.mean(axis=0, keepdims=True)
    return known.recognise(code), *known.nearest(code)


def test_bad_videos_do_not_stop_the_others(
    make_run: MakeRun, unknown: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(unknown[0].read_bytes()[:500])
    assert do("add", run, "--label", "Walk", unknown[0], broken, tmp_path / "absent.mp4", unknown[1]) == 1
    output = capsys.readouterr()
    assert f"not readable: {broken}: " in output.err
    assert f"not readable: {tmp_path / 'absent.mp4'}: " in output.err
    assert "2 of 4 videos could not be read; 2 were added" in output.err
    assert (held(run).owners == held(run).names.index("Walk")).sum() == 4
    state = (run / repository.FILE_NAME).read_bytes()
    assert do("add", run, "--label", "Wave", broken) == 1
    assert (run / repository.FILE_NAME).read_bytes() == state
    assert do("recognise", run, broken, unknown[0]) == 1
    output = capsys.readouterr()
    assert "1 of 2 videos could not be read; 1 were recognised" in output.err
    assert ", distance " in output.out


def test_merging_and_listing(
    make_run: MakeRun, unknown: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run()
    other = tmp_path / "other"
    shutil.copytree(run, other)
    assert do("add", other, "--label", "Walk", unknown[0], unknown[1]) == 0
    assert do("merge", run, other) == 0
    assert held(run).names == held(other).names
    np.testing.assert_array_equal(held(run).gammas, held(other).gammas)
    assert do("merge", run, other / repository.FILE_NAME) == 0
    assert len(held(run).codes) == len(held(other).codes), "merging twice changes nothing"
    capsys.readouterr()
    assert do("list", run) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["action", "videos", "codes", "spread", "gamma"]
    row = next(line.split() for line in lines if line.startswith("Walk "))
    assert row[1:] == ["2", "4", f"{held(run).spread[-1]:.4g}", f"{held(run).gammas[-1]:.4g}"]
    assert do("merge", run, make_run(seed=1)) == 1
    assert "another model" in capsys.readouterr().err


def test_mistakes(make_run: MakeRun, unknown: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = make_run()
    name = held(run).names[0]
    train = Path(load_config(run / "config.yaml").data.root) / held(run).videos[0]
    cases = [
        (("list", tmp_path), "is no run directory"),
        (("remove", run, "--label", name[:-1]), f"Did you mean '{name}'"),
        (("add", run, "--label", " ", unknown[0]), "must not be empty"),
        (("add", run, "--label", "Walk", train), f"in the repository as '{name}'; it cannot be 'Walk' as well"),
        (("merge", run, tmp_path / "none.safetensors"), "there is no repository of actions at"),
        (("evaluate", run, "--split", "train"), "--allow-contaminated"),
    ]
    for (action, *arguments), words in cases:
        assert do(action, *arguments) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["repository", "reconise", "--run", str(run)])
    assert "Did you mean 'recognise'?" in capsys.readouterr().err


def test_blanks_around_a_name_make_no_other_action(make_run: MakeRun, unknown: list[Path]) -> None:
    run = make_run()
    before = held(run)
    assert do("add", run, "--label", " Walk", unknown[0]) == 0
    assert do("add", run, "--label", "Walk\t", unknown[1]) == 0
    assert held(run).names == (*before.names, "Walk")
    assert do("remove", run, "--label", " Walk ") == 0
    assert held(run).names == before.names
    before.add(" Walk", before.codes[:1], ["old.mp4"]).save(run / repository.FILE_NAME)
    assert do("remove", run, "--label", " Walk") == 0, "a name of the time before this was so"
    assert do("remove", run, "--label", " ") == 1


def test_a_copy_counts_as_the_video_that_it_is_a_copy_of(
    make_run: MakeRun, stick_actions: Path, unknown: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run()
    before = held(run)
    name, video = before.names[0], before.videos[0]
    copy = Path(shutil.copy(stick_actions / video, tmp_path / "renamed.mp4"))
    assert do("add", run, "--label", "Walk", copy) == 1
    said = capsys.readouterr()
    assert f"{copy}: a copy of {video}, counts as that video" in said.out
    assert f"the video {video} is in the repository as '{name}'; it cannot be 'Walk' as well" in said.err
    assert do("add", run, "--label", name, copy) == 0
    assert sorted(held(run).videos) == sorted(before.videos)
    own = [Path(shutil.copy(unknown[0], tmp_path / f"own{number}.mp4")) for number in range(2)]
    assert do("add", run, "--label", "Walk", *own) == 0
    assert set(held(run).videos) - set(before.videos) == {str(own[0])}


def test_a_run_of_several_folds_names_its_parts(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    shutil.move(run, run.parent / "moved")
    run.mkdir()
    shutil.move(run.parent / "moved", run / "fold-1")
    whole = (run / "fold-1" / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub("^folds: .*$", "folds: all", whole, flags=re.MULTILINE))
    for action, *arguments in (("list",), ("evaluate",), ("recognise", "x.mp4"), ("add", "--label", "Walk", "x.mp4")):
        assert do(action, run, *arguments) == 1
        assert f"is a run of several folds; give one of them, such as {run / 'fold-1'}." in capsys.readouterr().err
    assert do("list", run / "fold-1") == 0


def test_a_repository_that_is_not_the_models_is_refused(
    make_run: MakeRun, unknown: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = make_run(), make_run(seed=1)
    whole = (run / repository.FILE_NAME).read_bytes()
    shutil.copy(other / repository.FILE_NAME, run / repository.FILE_NAME)
    for action, *arguments in (("recognise", unknown[0]), ("add", "--label", "Walk", unknown[0]), ("evaluate",)):
        assert do(action, run, *arguments) == 1
        assert "was made with another model" in capsys.readouterr().err
    (run / repository.FILE_NAME).write_bytes(whole[:-100])
    for action, *arguments in (("recognise", unknown[0]), ("remove", "--label", "Walk"), ("list",), ("evaluate",)):
        assert do(action, run, *arguments) == 1
        assert "or a damaged one" in capsys.readouterr().err
    (run / repository.FILE_NAME).unlink()
    for action, *arguments in (("recognise", unknown[0]), ("remove", "--label", "Walk"), ("list",), ("evaluate",)):
        assert do(action, run, *arguments) == 1
        assert "training.repository" in capsys.readouterr().err


ADD = """
import sys, pathlib, time, numpy
from keras_actrec.training import repository_command
run, label = pathlib.Path(sys.argv[1]), sys.argv[2]
size = repository_command.open_repository(run).code_size
time.sleep(max(0, float(sys.argv[3]) - time.time()))
for number in range(8):
    code, video = numpy.full((1, size), number, numpy.float32), f"{label}{number}"
    with repository_command.changing(run) as change:
        change(lambda known: known.add(label, code, [video]))
print(sorted({"keras", "tensorflow"} & set(sys.modules)))
"""


def test_processes_that_add_at_once_lose_nothing(make_run: MakeRun) -> None:
    run, start = make_run(), time.time() + 8
    environment = {**os.environ, "PYTHONPATH": str(Path(repository.__file__).parents[2])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(run), label, str(start)], env=environment, stdout=subprocess.PIPE, text=True
        )
        for label in "abc"
    ]
    for process in processes:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert said.strip() == "[]", "changing a repository needs no network"
    added = sorted(video for video in held(run).videos if video[0] in "abc" and len(video) == 2)
    assert added == [f"{label}{number}" for label in "abc" for number in range(8)]


def test_a_lock_that_is_held_for_long_is_told(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    monkeypatch.setattr(repository_command, "WAIT_SEC", 0.1)
    lock = Lock(run / repository_command.LOCK)
    lock.acquire()
    assert do("remove", run, "--label", held(run).names[0]) == 1
    assert "has been changing the repository" in capsys.readouterr().err
    lock.release()
    assert do("remove", run, "--label", held(run).names[0]) == 0


def test_tailored_runs_say_where_boxes_come_from(
    make_run: MakeRun, unknown: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run("data.tailor={margin: 0.1}")
    copy = Path(shutil.copy(unknown[0], tmp_path / "copy.mp4"))
    assert do("recognise", run, unknown[0], copy) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("person boxes: manifest")
    assert second.endswith("person boxes: whole frame")
    encoder = video_codes.open_encoder(run)
    assert not np.allclose(encoder.encode(unknown[0]).codes, encoder.encode(copy).codes)


def test_a_detector_finds_the_person_of_other_files(
    make_run: MakeRun, stick_actions: Path, unknown: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A detector that says what the manifest's box file says gives the codes of the manifest's clip."""
    run = make_run("data.tailor={weights: some preset}")
    encoder = video_codes.open_encoder(run)
    copy = Path(shutil.copy(unknown[0], tmp_path / "copy.mp4"))
    inside = unknown[0].relative_to(stick_actions).as_posix()
    row = next(clip for clip in encoder.manifest.clips if clip.path == inside)
    info = decode.probe(unknown[0])
    shares = boxes.read(stick_actions / row.boxes, info.frames)

    class Detector:
        def __init__(self) -> None:
            self.seen = 0

        def detect(self, frames: np.ndarray, last: np.ndarray | None = None) -> np.ndarray:
            height, width = frames.shape[1:3]
            self.seen += len(frames)
            return shares[self.seen - len(frames) : self.seen] * [width, height, width, height]

    monkeypatch.setattr(video_codes.PersonDetector, "open", lambda weights: Detector())
    mine, known = encoder.encode(copy), encoder.encode(unknown[0])
    assert (mine.boxes, known.boxes) == ("yolov8", "manifest")
    np.testing.assert_allclose(mine.codes, known.codes, rtol=1e-3, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["runs"]


def test_evaluation_says_which_clips_cannot_be_read(
    make_run: MakeRun, stick_actions: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run()
    root = Path(shutil.copytree(stick_actions, tmp_path / "damaged"))
    manifest = datasets.load(load_config(run / "config.yaml"))
    lost = manifest.split("test")[1]
    (root / lost.path).write_bytes((root / lost.path).read_bytes()[:300])
    assert do("evaluate", run, f"data.root={root}") == 0
    numbers = files.read_json(run / "repository-test.json")
    expected = len(manifest.split("test")) + len(manifest.split("unknown"))
    assert (numbers["expected"], numbers["evaluated"]) == (expected, expected - 1)
    assert numbers["clips"] + numbers["unknown"]["clips"] + numbers["left_out"] == expected - 1
    assert [(row["path"], row["split"]) for row in numbers["quarantined"]] == [(lost.path, "test")]
    assert f"coverage {expected - 1} of {expected} clips (1 cannot be read)" in capsys.readouterr().out.splitlines()


def test_depth_and_several_inputs(make_run: MakeRun, stick_actions: Path) -> None:
    run = make_run("data.modalities=[rgb,depth]")
    encoder = video_codes.open_encoder(run)
    clip = next(clip for clip in encoder.manifest.clips if clip.depth)
    found = encoder.encode(stick_actions / clip.path)
    assert found.name == clip.path
    assert np.isfinite(found.codes).all()


def with_clips(encoder: video_codes.Encoder, root: Path, *clips: Clip) -> video_codes.Encoder:
    """Return the encoder for a data set of other clips."""
    manifest = Manifest("x", root, 1, encoder.manifest.classes, clips)
    return video_codes.Encoder(encoder.config, manifest, encoder.network, encoder.views)


def test_the_clips_of_one_file(make_run: MakeRun, stick_actions: Path) -> None:
    """A file of which the manifest has one stretch is that stretch; one of which it has several is read as a whole."""
    encoder = video_codes.open_encoder(make_run())
    row = encoder.manifest.clips[0]
    parts = [
        Clip(row.path, row.label, row.split, start_sec=start, end_sec=start + 0.2, depth=row.depth)
        for start in (0.1, 0.3)
    ]
    whole = encoder.encode(stick_actions / row.path)
    alone = with_clips(encoder, stick_actions, parts[0]).encode(stick_actions / row.path)
    assert alone.name == video_name(parts[0]) == f"{row.path}#0.1:0.3"
    assert not np.allclose(alone.codes, whole.codes)
    again = with_clips(encoder, stick_actions, *parts).encode(stick_actions / row.path)
    assert again.name == row.path
    np.testing.assert_allclose(again.codes, whole.codes)


def test_the_files_of_a_data_set_may_be_links(
    make_run: MakeRun, stick_actions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip is known by the name that the manifest has for it, wherever its file is kept, and however it is named."""
    encoder = video_codes.open_encoder(make_run())
    path = encoder.manifest.clips[0].path
    kept, root = tmp_path / "kept.mp4", tmp_path / "linked"
    shutil.copy(stick_actions / path, kept)
    (root / path).parent.mkdir(parents=True)
    (root / path).symlink_to(kept)
    (tmp_path / "other").symlink_to(root)
    (root / "second.mp4").symlink_to(root / path)
    linked = with_clips(encoder, root, Clip(path, encoder.manifest.clips[0].label, "train"))
    monkeypatch.chdir(root)
    for video in (root / path, tmp_path / "other" / path, Path(path)):
        assert linked.encode(video).name == path
    through = with_clips(encoder, tmp_path / "other", *linked.manifest.clips)
    for video in (root / path, tmp_path / "other" / path, Path(path)):
        assert through.encode(video).name == path
    assert linked.encode(root / "second.mp4").name == "second.mp4", "kept elsewhere, it is not told by links"
    assert linked.encode(kept).name == str(kept)


def test_movement_of_other_files_is_not_kept_beside_them(
    make_run: MakeRun, unknown: list[Path], tmp_path: Path
) -> None:
    run = make_run("data.selection=variance_rate")
    folder = tmp_path / "mine"
    folder.mkdir()
    copy = Path(shutil.copy(unknown[0], folder / "copy.mp4"))
    encoder = video_codes.open_encoder(run)
    np.testing.assert_allclose(encoder.encode(copy).codes, encoder.encode(unknown[0]).codes, rtol=1e-4, atol=1e-5)
    assert list(folder.iterdir()) == [copy]
