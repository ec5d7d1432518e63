"""HMDB-51 and UCF-101: from RAR, zip or folders, one manifest for three folds, any fold after any other."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from made_up import Film, hmdb51, rar, ucf101
from stand_in import StandIn

from keras_actrec import files
from keras_actrec.config import DataConfig
from keras_actrec.config.fetch import FetchConfig
from keras_actrec.data import splits
from keras_actrec.data.collections import load_manifest
from keras_actrec.data.fetch import archives, bring, hmdb_ucf
from keras_actrec.data.fetch.bring import Fetched
from keras_actrec.data.manifest import read_csv
from keras_actrec.errors import UserError

pytest.importorskip("rarfile")
pytest.importorskip("fiftyone.utils.hmdb51")

CLASSES = {"brush_hair": 9, "wave": 12}


def fetch(to: Path, mirror: str | Path, dataset: str = "hmdb51", **settings: Any) -> Fetched:
    config = FetchConfig(dataset=dataset, to=str(to), mirror=str(mirror), interval_sec=0, wait_sec=0.01, **settings)
    return bring.fetch(config)


@pytest.fixture
def archives_folder(tmp_path: Path, film: Film) -> Path:
    """The archives of both collections, downloaded already."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    videos, lists = hmdb51(CLASSES, film)
    (folder / "hmdb51_org.rar").write_bytes(videos)
    (folder / "test_train_splits.rar").write_bytes(lists)
    videos, lists = ucf101(("Archery", "Bowling"), 9, film)
    (folder / "UCF101.zip").write_bytes(videos)  # a RAR under another name: contents decide
    (folder / "UCF101TrainTestSplits-RecognitionTask.zip").write_bytes(lists)
    return folder


def rows(root: Path, fold: int) -> list[tuple[str, str, str, str]]:
    return [
        (clip.path.removeprefix("videos/"), clip.label, clip.split, clip.group)
        for clip in read_csv(root / "manifest.csv", fold)
    ]


@pytest.mark.parametrize("dataset", ["hmdb51", "ucf101"])
@pytest.mark.parametrize("fold", [1, 2, 3])
def test_the_manifest_says_of_every_fold_what_the_official_lists_say(
    tmp_path: Path, archives_folder: Path, dataset: str, fold: int
) -> None:
    fetch(tmp_path / "out", archives_folder, dataset)
    read = {"hmdb51": splits.read_hmdb51, "ucf101": splits.read_ucf101}[dataset]
    official = read(tmp_path / "out" / "lists", fold, validation_fraction=0)
    assert rows(tmp_path / "out", fold) == sorted((clip.path, clip.label, clip.split, clip.group) for clip in official)
    assert all((tmp_path / "out" / clip.path).is_file() for clip in read_csv(tmp_path / "out" / "manifest.csv", fold))


def test_the_official_reader_finds_videos_and_lists(tmp_path: Path, archives_folder: Path) -> None:
    out = tmp_path / "out"
    fetch(out, archives_folder)
    by_reader = load_manifest(
        DataConfig(source="hmdb51", root=str(out / "videos"), lists=str(out / "lists"), fold=2), 0
    )
    by_manifest = load_manifest(DataConfig(source="manifest", root=str(out), fold=2), 0)
    assert {f"videos/{clip.path}" for clip in by_reader.split("test")} == {
        clip.path for clip in by_manifest.split("test")
    }


def test_fold_2_after_fold_1_is_fold_2(tmp_path: Path, archives_folder: Path) -> None:
    """FiftyOne silently gives fold 1 again."""
    fetch(tmp_path / "out", archives_folder, fold=1, per_class=2)
    again = fetch(tmp_path / "out", archives_folder, fold=2, per_class=2)
    fetch(tmp_path / "fresh", archives_folder, fold=2, per_class=2)
    assert (tmp_path / "out/manifest.csv").read_bytes() == (tmp_path / "fresh/manifest.csv").read_bytes()
    official = {clip.path: clip.split for clip in splits.read_hmdb51(tmp_path / "out/lists", 2, 0)}
    found = rows(tmp_path / "out", 2)
    assert Counter((label, split) for _, label, split, _ in found) == dict.fromkeys(
        [(label, split) for label in CLASSES for split in ("train", "test")], 2
    )
    assert all(official[path] == split for path, _, split, _ in found)
    assert again.receipt["settings"]["fold"] == 2
    with pytest.raises(UserError, match="fold 1 was asked for, the file has split_2"):
        read_csv(tmp_path / "out/manifest.csv", 1)


def test_other_classes_give_those_classes(tmp_path: Path, archives_folder: Path) -> None:
    """FiftyOne gives back the data set of the same name, with the classes that it had."""
    fetch(tmp_path / "out", archives_folder, classes=("wave",))
    fetch(tmp_path / "out", archives_folder, classes=("brush_hair",))
    assert {label for _, label, _, _ in rows(tmp_path / "out", 1)} == {"brush_hair"}
    with pytest.raises(UserError, match=r"hmdb51 has no class 'waving'\. Did you mean 'wave'"):
        fetch(tmp_path / "out", archives_folder, classes=("waving",))


def test_from_an_address_also_as_the_other_kind_of_archive(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    videos, lists = hmdb51(CLASSES, film)
    hosts.put("/mirror/hmdb51_org.zip", videos)
    hosts.put("/mirror/test_train_splits.rar", lists)
    hosts.misbehave("/mirror/hmdb51_org.zip", "truncated", 503)
    fetched = fetch(tmp_path / "out", f"{hosts.url}/mirror/")
    assert fetched.listing.coverage == {"train": 1.0, "test": 1.0}
    assert not list((tmp_path / "out/.fetch/archives").iterdir())
    before = sum(hosts.requests.values())
    fetch(tmp_path / "out", f"{hosts.url}/mirror/")
    assert sum(hosts.requests.values()) == before  # nothing is missing: nobody is asked


def test_a_kept_archive_serves_a_larger_subset(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    videos, lists = hmdb51(CLASSES, film)
    hosts.put("/hmdb51_org.rar", videos)
    hosts.put("/test_train_splits.rar", lists)
    few = fetch(tmp_path / "out", hosts.url, per_class=1, keep_archives=True)
    many = fetch(tmp_path / "out", hosts.url, per_class=2, keep_archives=True)
    assert hosts.requests["/hmdb51_org.rar"] == 1
    assert {row.path for row in few.listing.rows} < {row.path for row in many.listing.rows}
    assert many.listing.totals["train"].present == 4


def test_extracted_videos_are_taken_and_left_alone(tmp_path: Path, archives_folder: Path) -> None:
    fetch(tmp_path / "first", archives_folder)
    own = tmp_path / "own"
    shutil.copytree(tmp_path / "first/videos", own / "anywhere/hmdb")
    shutil.copytree(tmp_path / "first/lists", own / "lists")
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    fetch(tmp_path / "second", own)
    assert (tmp_path / "first/manifest.csv").read_bytes() == (tmp_path / "second/manifest.csv").read_bytes()
    shutil.rmtree(tmp_path / "second")
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_what_is_missing_or_broken_is_listed_and_lowers_the_coverage(tmp_path: Path, archives_folder: Path) -> None:
    fetch(tmp_path / "first", archives_folder)
    own = tmp_path / "own"
    shutil.copytree(tmp_path / "first", own)
    clips = read_csv(own / "manifest.csv", 1)
    gone, broken = (next(clip for clip in clips if clip.label == label and clip.split == "test") for label in CLASSES)
    (own / gone.path).unlink()
    (own / broken.path).write_bytes((own / broken.path).read_bytes()[:300])
    fetched = fetch(tmp_path / "second", own)
    assert {entry["clip"]: entry["reason"].split(":")[0] for entry in fetched.receipt["dead"]} == {
        gone.path: "not in the folder",
        broken.path: "unreadable",
    }
    test = fetched.listing.totals["test"]
    assert (test.official - test.present, test.requested) == (2, test.official)
    assert fetched.listing.coverage == {"train": 1.0, "test": test.present / test.official}
    assert rows(tmp_path / "second", 1) == rows(own, 1)  # they stay in the manifest, so that training tells of them
    replaced = fetch(tmp_path / "third", own, per_class=1)
    assert replaced.listing.coverage == {"train": 1.0, "test": 1.0}


def test_a_damaged_archive_is_deleted_and_comes_again(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    videos, lists = hmdb51(CLASSES, film)
    hosts.put("/hmdb51_org.rar", videos[: len(videos) // 2])
    hosts.put("/test_train_splits.rar", lists)
    with pytest.raises(UserError, match="this download was deleted, and the same command brings it again"):
        fetch(tmp_path / "out", hosts.url)
    kept = len(list((tmp_path / "out/videos").rglob("*.avi")))
    hosts.put("/hmdb51_org.rar", videos)
    assert fetch(tmp_path / "out", hosts.url).listing.coverage == {"train": 1.0, "test": 1.0}
    assert kept > 0


@pytest.mark.parametrize("spoilt", ["/hmdb51_org.rar", "/test_train_splits.rar"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_page_in_place_of_an_archive_does_not_stay(
    tmp_path: Path, hosts: StandIn, film: Film, spoilt: str, keep: bool
) -> None:
    """As hosts answer with status 200 when a quota is exceeded."""
    whole = dict(zip(("/hmdb51_org.rar", "/test_train_splits.rar"), hmdb51(CLASSES, film), strict=True))
    for path, content in whole.items():
        hosts.put(path, b"<html>too many downloads of this file</html>" if path == spoilt else content)
    with pytest.raises(UserError, match=r"it is no tar, zip or RAR archive; this download was deleted"):
        fetch(tmp_path / "out", hosts.url, per_class=1, keep_archives=keep)
    hosts.put(spoilt, whole[spoilt])
    fetched = fetch(tmp_path / "out", hosts.url, per_class=1, keep_archives=keep)
    assert fetched.listing.coverage == {"train": 1.0, "test": 1.0}


def test_lists_that_lack_some_do_not_block_the_folder(tmp_path: Path, archives_folder: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(archives_folder / "UCF101.zip", own)
    lists = {}
    for member in archives.walk(archives_folder / "UCF101TrainTestSplits-RecognitionTask.zip", tmp_path):
        lists[member.name] = member.store(tmp_path / "list").read_bytes()
    for name in ("classInd.txt", "trainlist01.txt", "testlist01.txt"):
        (own / name).write_bytes(lists[name])
    with pytest.raises(UserError, match=r"lists in .*own cannot be used: there is no list trainlist02\.txt\.$"):
        fetch(tmp_path / "out", own, "ucf101")
    for name, content in lists.items():
        (own / name).write_bytes(content)
    (own / "wave_test_split1.txt").write_text("of the other collection")
    assert fetch(tmp_path / "out", own, "ucf101").listing.coverage == {"train": 1.0, "test": 1.0}


def test_other_peoples_archives_in_the_folder_do_not_stop_the_fetch(tmp_path: Path, archives_folder: Path) -> None:
    """They are told of only where something is missing, and then looked at again by the next call."""
    (archives_folder / "Another.zip").write_bytes(b"PK\x03\x04" + b"x" * 500)
    (archives_folder / "UCF.tar").write_bytes(b"x" * 2000)  # goes before the one that is needed
    (archives_folder / "Empty.rar").touch()
    (archives_folder / "Compressed.rar").write_bytes(rar({"a.avi": b"x" * 50}, method=0x33)[:60])
    assert fetch(tmp_path / "out", archives_folder, "ucf101").notes == ()
    whole = (archives_folder / "UCF101.zip").read_bytes()
    (archives_folder / "UCF101.zip").write_bytes(whole[: len(whole) // 2])
    before = {path: path.read_bytes() for path in archives_folder.iterdir()}
    fetched = fetch(tmp_path / "half", archives_folder, "ucf101")
    assert 0 < fetched.listing.totals["train"].present < fetched.listing.totals["train"].official
    assert [note.partition(" cannot")[0].rpartition("/")[2] for note in fetched.notes][-2:] == ["UCF.tar", "UCF101.zip"]
    assert all(note.endswith("; it may hold some of what is missing.") for note in fetched.notes)
    assert set(fetched.receipt["reasons"]) == {"not in the folder"}
    assert {path: path.read_bytes() for path in archives_folder.iterdir()} == before
    (archives_folder / "UCF101.zip").write_bytes(whole)
    assert fetch(tmp_path / "half", archives_folder, "ucf101").listing.coverage == {"train": 1.0, "test": 1.0}


def test_a_smaller_number_from_a_folder_deletes_nothing(tmp_path: Path, archives_folder: Path) -> None:
    """Not even when the first of the order turns up only now."""
    own = tmp_path / "own"
    fetch(own, archives_folder)
    first, out = fetch(tmp_path / "first", archives_folder, per_class=1), tmp_path / "out"
    best = [row.path for row in first.listing.rows]
    for path in best:
        (own / path).rename(tmp_path / Path(path).name)
    fetch(out, own, per_class=3)
    before = set((out / "videos").rglob("*.avi"))
    for path in best:
        (tmp_path / Path(path).name).rename(own / path)
    again = fetch(out, f"{own}/", per_class=1)  # another spelling, so that what was lacking is looked for
    assert [row.path for row in again.listing.rows] == best
    assert set((out / "videos").rglob("*.avi")) == before | {out / path for path in best}


def test_without_a_rar_tool_the_official_download_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archives_folder: Path
) -> None:
    def no_tool() -> None:
        raise UserError("no tool")

    config = FetchConfig(dataset="hmdb51", to=str(tmp_path / "out"))
    monkeypatch.setattr(archives, "need_rar_tool", no_tool)
    monkeypatch.setattr(
        hmdb_ucf.FoldedCollection, "_ensure_lists", lambda self, work: shutil.copytree(tmp_path / "lists", self._lists)
    )
    fetch_lists = tmp_path / "lists"
    fetch_lists.mkdir()
    for member in archives.walk(archives_folder / "test_train_splits.rar", tmp_path):
        member.store(fetch_lists / member.name)
    with pytest.raises(UserError, match="no tool"):
        bring.fetch(config)


def test_a_folder_without_lists_or_with_something_else(tmp_path: Path, archives_folder: Path) -> None:
    (archives_folder / "test_train_splits.rar").unlink()
    with pytest.raises(UserError, match=r"official lists of hmdb51 \(test_train_splits.rar\) cannot be had: not in"):
        fetch(tmp_path / "out", archives_folder)
    (archives_folder / "test_train_splits.rar").write_bytes(rar({"readme.md": b"x"}))
    with pytest.raises(UserError, match=r"rar cannot be used: it holds no official list of hmdb51; put a whole copy"):
        fetch(tmp_path / "out", archives_folder)
    assert (archives_folder / "test_train_splits.rar").is_file()  # it is the user's
    with pytest.raises(UserError, match="no folder and no http"):
        fetch(tmp_path / "out", tmp_path / "nowhere")


def test_whose_folder_it_is(tmp_path: Path, archives_folder: Path) -> None:
    fetch(tmp_path / "out", archives_folder)
    with pytest.raises(UserError, match="holds hmdb51, not ucf101; choose another folder with --to"):
        fetch(tmp_path / "out", archives_folder, "ucf101")
    with pytest.raises(UserError, match=r"holds files that were not fetched, such as UCF101"):
        fetch(archives_folder, archives_folder)
    with pytest.raises(UserError, match="is a file"):
        fetch(archives_folder / "UCF101.zip", archives_folder)


def test_receipts_of_the_same_videos_are_the_same(tmp_path: Path, archives_folder: Path) -> None:
    for name, workers in (("a", 1), ("b", 3)):
        fetch(tmp_path / name, archives_folder, per_class=2, workers=workers)
    assert (tmp_path / "a/receipt.json").read_bytes() == (tmp_path / "b/receipt.json").read_bytes()
    receipt = files.read_json(tmp_path / "a/receipt.json")
    assert receipt["manifest_sha256"] == files.sha256(tmp_path / "a/manifest.csv")
    assert receipt["licence"]["lists"].startswith("CC BY 4.0")
    assert receipt["counts"]["train"]["wave"] == {"official": 4, "requested": 2, "present": 2}
