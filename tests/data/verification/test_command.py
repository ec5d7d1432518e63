"""`python -m keras_actrec verify`: counts, reasons, leaks, the receipt, exit codes, and going on after a stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import Film, film

from keras_actrec import files
from keras_actrec.cli import main
from keras_actrec.data.manifest import Clip, Manifest, write_csv
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.verification import receipt as receipts
from keras_actrec.data.verification import text
from keras_actrec.training import verify_command


def write(root: Path, clips: list[Clip]) -> None:
    write_csv(root / "manifest.csv", [clips])


def data_set(root: Path) -> list[Clip]:
    """Twelve sound clips: two classes, three splits."""
    clips = []
    for seed in range(12):
        split = ("train", "train", "validation", "test")[seed // 2 % 4 if seed < 8 else 0]
        label = ("jump", "run")[seed % 2]
        clips.append(Clip(f"{label}/{seed:02d}.mp4", label, split, group=f"g{seed}"))
        film(root / clips[-1].path, seed, Film(frames=20))
    write(root, clips)
    return clips


def verified(root: Path, *options: str) -> tuple[int, dict]:
    """Exit code and receipt."""
    with pytest.raises(SystemExit) as end:
        raise SystemExit(main(["verify", "--data", str(root), "--workers", "2", *options]))
    path = next((root / ".keras_actrec").glob("verify-*/verification.json"), None)
    return end.value.code, json.loads(path.read_text()) if path else {}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    data_set(root)
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "set", ignore=shutil.ignore_patterns(".keras_actrec")))


def clips_of(root: Path) -> list[Clip]:
    from keras_actrec.data.manifest import read_csv

    return read_csv(root / "manifest.csv", 1)


def test_a_sound_data_set_ends_with_0_and_leaves_its_receipt(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, receipt = verified(root)
    out = capsys.readouterr().out
    assert code == 0
    assert "12 of 12 clips can be read (index, first, middle and last frame)" in out
    assert (receipt["official"], receipt["present"], receipt["decodable"]) == (12, 12, 12)
    assert receipt["splits"]["train"]["classes"]["jump"] == {"official": 4, "present": 4, "decodable": 4}
    folder = next((root / ".keras_actrec").glob("verify-*"))
    manifest = Manifest.from_json(files.read_json(folder / "manifest.lock"), root)
    assert manifest.hash == receipt["manifest"]["hash"]
    assert receipts.find(manifest) == receipt
    assert files.read_json(folder / "quarantine.json") == []
    assert receipt["tools"]["av"] and receipt["mode"] == "quick" and receipt["limits"]["seconds"] == 60


def test_what_cannot_be_read_is_counted_and_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "jump/00.mp4").unlink()
    (root / "run/01.mp4").write_bytes(b"")
    (root / "jump/06.mp4").write_bytes((root / "jump/06.mp4").read_bytes()[:1500])
    code, receipt = verified(root, "--deep")
    out = capsys.readouterr().out
    assert code == verify_command.FINDINGS
    assert {entry["path"]: entry["reason"] for entry in receipt["unreadable"]} == {
        "jump/00.mp4": "missing file",
        "run/01.mp4": "empty file",
        "jump/06.mp4": "truncated: the index (moov) is lost",
    }
    assert (receipt["official"], receipt["present"], receipt["decodable"]) == (12, 11, 9)
    assert receipt["splits"]["test"]["classes"]["jump"] == {"official": 1, "present": 1, "decodable": 0}
    assert receipt["reasons"] == {"missing file": 1, "empty file": 1, "truncated": 1}
    assert "9 of 12 clips can be read (every frame decoded)" in out
    assert "4/3/3" in out and "  jump/06.mp4 (test): truncated: the index (moov) is lost" in out
    quarantine = Quarantine(next((root / ".keras_actrec").glob("verify-*")) / "quarantine.json")
    assert quarantine.count("test") == 1 and quarantine.reasons()["run/01.mp4"] == "empty file"


def test_only_the_bad_one_of_two_stretches_is_in_quarantine(root: Path) -> None:
    """One goes up to a moment, the other one begins there, after the file's end: it has no frames."""
    clips = [clip for clip in clips_of(root) if clip.path != "run/01.mp4"]
    halves = [
        Clip("run/01.mp4", "run", "train", group="g1", **bound) for bound in ({"end_sec": 5.0}, {"start_sec": 5.0})
    ]
    write(root, [*clips, *halves])
    code, receipt = verified(root)
    assert code == verify_command.FINDINGS
    (bad,) = Quarantine(next((root / ".keras_actrec").glob("verify-*")) / "quarantine.json").entries
    assert (bad.start_sec, bad.end_sec) == (5.0, None)
    assert len(receipt["unreadable"]) == 1


def test_leaks_between_splits_are_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = clips_of(root)
    shutil.copy(root / "jump/00.mp4", root / "jump/copy.mp4")
    shutil.copy(root / "jump/00.mp4", root / "run/again.mp4")
    film(root / "run/small.mp4", 1, Film(frames=20, scale=0.5))
    clips += [Clip("jump/copy.mp4", "jump", "train", group="g0"), Clip("run/again.mp4", "run", "test", group="g0")]
    clips += [Clip("run/small.mp4", "run", "test", group="x")]
    clips += [Clip("run/03.mp4", "run", "test", group="y", start_sec=0.5)]
    write(root, clips)
    code, receipt = verified(root)
    out = capsys.readouterr().out
    assert code == verify_command.FINDINGS
    (equal,) = receipt["exact_duplicates"]
    assert {clip["path"] for clip in equal["clips"]} == {"jump/00.mp4", "jump/copy.mp4", "run/again.mp4"}
    assert equal["across_splits"] and equal["labels_differ"]
    (near,) = receipt["near_duplicates"]
    assert [clip["path"] for clip in near["clips"]] == ["run/01.mp4", "run/small.mp4"]
    assert receipt["straddling_groups"] == [{"group": "g0", "splits": {"train": 2, "test": 1}}]
    (overlap,) = receipt["overlaps"]
    assert {text.name(clip) for clip in overlap["clips"]} == {"run/03.mp4", "run/03.mp4 [0.5 s to end]"}
    assert "1 group in several splits" in out and "1 pair of near duplicates across splits" in out


def test_near_duplicates_alone_are_no_error(root: Path) -> None:
    film(root / "run/small.mp4", 1, Film(frames=20, scale=0.5))
    write(root, [*clips_of(root), Clip("run/small.mp4", "run", "test", group="x")])
    code, receipt = verified(root)
    assert code == 0 and len(receipt["near_duplicates"]) == 1


def kept(root: Path) -> list[str]:
    return (root / ".keras_actrec" / "verified.jsonl").read_text().splitlines()[1:]


def test_only_what_is_new_is_read_again(root: Path) -> None:
    verified(root)
    before = kept(root)
    assert len(before) == 12
    verified(root)
    assert kept(root) == before
    film(root / "run/01.mp4", 99, Film(frames=25))
    verified(root)
    assert kept(root)[:12] == before and json.loads(kept(root)[12])["path"] == "run/01.mp4" and len(kept(root)) == 13
    verified(root, "--deep")
    assert all(json.loads(line)["deep"] for line in kept(root)[-12:])
    code, receipt = verified(root)  # nothing is read: all is known, and deeper
    assert code == 0 and receipt["mode"] == "deep"
    assert len(kept(root)) == 12


def pictures(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    for number in range(4):
        picture = np.random.default_rng([seed, number]).integers(0, 256, (20, 30, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_folders_of_pictures_are_remembered_until_a_picture_changes(tmp_path: Path, deep: tuple[str, ...]) -> None:
    clips = [Clip(f"{n}", "run", ("train", "validation", "test")[n % 3]) for n in range(6)]
    for number, clip in enumerate(clips):
        pictures(tmp_path / clip.path, number)
    write(tmp_path, clips)
    code, receipt = verified(tmp_path, *deep)
    assert (code, receipt["decodable"]) == (0, 6)
    before = kept(tmp_path)
    verified(tmp_path, *deep)
    assert kept(tmp_path) == before
    first, status = tmp_path / "0/0.png", (tmp_path / "0").stat()
    whole = first.read_bytes()
    first.write_bytes(whole[:40])
    code, receipt = verified(tmp_path, *deep)
    assert (code, receipt["decodable"]) == (verify_command.FINDINGS, 5)
    first.write_bytes(whole)
    assert (tmp_path / "0").stat().st_mtime_ns == status.st_mtime_ns  # written over in place
    code, receipt = verified(tmp_path, *deep)
    assert (code, receipt["decodable"]) == (0, 6)


def test_a_stopped_verification_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: object, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keras_actrec.training.progress.Progress.__call__", interrupt)
        code, receipt = verified(root)
    assert code == 130 and not receipt and len(kept(root)) == 5
    first = kept(root)
    code, receipt = verified(root)
    assert code == 0 and receipt["decodable"] == 12
    assert kept(root)[:5] == first and len(kept(root)) == 12


def test_depth_and_boxes_count_where_a_run_reads_them(root: Path) -> None:
    film(root / "depth.mp4", 5, Film(frames=10))
    (root / "boxes.json").write_text(json.dumps({"height": 96, "width": 128, "boxes": [None] * 20}))
    clips = clips_of(root)
    more = [
        Clip("run/03.mp4", "run", "train", group="g3", depth="depth.mp4"),
        Clip("run/05.mp4", "run", "validation", group="g5", boxes="boxes.json"),
        Clip("run/07.mp4", "run", "test", group="g7", boxes="none.json"),
    ]
    replaced = {clip.path for clip in more}
    write(root, [clip for clip in clips if clip.path not in replaced] + more)
    _, receipt = verified(root)
    assert {entry["path"]: entry["reason"] for entry in receipt["unreadable"]} == {
        "run/03.mp4": "depth video: 10 frames for 20 of the video",
        "run/07.mp4": "box file: missing file",
    }
    (root / "run.yaml").write_text(f"data: {{source: manifest, root: {root}}}\nmodel: {{name: c3d}}\n")
    assert main(["verify", "--config", str(root / "run.yaml")]) == 0  # reads RGB alone


@pytest.mark.parametrize(
    "options, words",
    [
        (["--data", "nowhere"], "there is nothing at nowhere; expected a folder of videos or a manifest file"),
        (["--data", "ROOT", "data.fold=2"], "'data.fold=2' needs --config"),
        (["--data", "ROOT", "--seconds", "0"], "limit seconds: expected a number above 0"),
        (["--data", "ROOT", "--seconds", "inf"], "limit seconds: expected a number above 0, got inf"),
        (["--data", "ROOT", "--memory", "inf"], "--memory: expected a number of gigabytes above 0, got inf"),
        (["--data", "ROOT", "--memory", "nan"], "--memory: expected a number of gigabytes above 0, got nan"),
        (["--data", "ROOT", "--fold", "2"], "fold 2 was asked for"),
        (["--data", "ROOT", "--fold", "-1"], "data.fold: input should be greater than or equal to 1 (got -1)"),
        (["--data", "ROOT", "--fold", "0"], "data.fold: input should be greater than or equal to 1 (got 0)"),
        (["--config", "ROOT/none.yaml", "--fold", "2"], "--fold belongs to --data"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    sound: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *(option.replace("ROOT", str(sound)) for option in options)]) == 1
    assert words in capsys.readouterr().err


def test_json_is_the_receipt_and_a_folder_of_classes_needs_no_manifest(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "manifest.csv").unlink()
    assert main(["verify", "--data", str(root), "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == files.read_json(tmp_path / "out" / "verification.json")
    assert printed["official"] == 12 and not (root / ".keras_actrec").exists()


def test_two_verifications_of_one_root_do_not_meet(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from keras_actrec.locking import Lock

    (root / ".keras_actrec").mkdir()
    lock = Lock(root / ".keras_actrec" / "verified.lock")
    lock.acquire()
    assert main(["verify", "--data", str(root)]) == 1
    assert "another verification" in capsys.readouterr().err
    lock.release()
