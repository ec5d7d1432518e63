import dataclasses
import shutil
from pathlib import Path

import pytest

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.errors import UserError
from keras_actrec.evaluation import provenance

SPLITS = ("train", "train", "validation", "test", "test")


def make(root: Path, splits: tuple[str, ...] = SPLITS, *, name: str = "sticks", fold: int = 1) -> Manifest:
    rows = []
    for index, split in enumerate(splits):
        path = f"class{index % 2}/{index}.mp4"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(bytes([index]) * (200_000 + index))
        rows.append(Clip(path, f"class{index % 2}", split))
    return Manifest.from_clips(name, root, fold, rows)


def test_the_own_test_split_is_clean(tmp_path: Path) -> None:
    manifest = make(tmp_path)
    found = provenance.check(provenance.record(manifest), manifest, manifest.split("test"))
    assert not found
    assert found.to_json() == {"contaminated": False, "contaminated_clips": {}}


@pytest.mark.parametrize(("split", "count"), [("train", 2), ("validation", 1)])
def test_clips_of_its_own_lists_are_refused_by_name(tmp_path: Path, split: str, count: int) -> None:
    manifest = make(tmp_path)
    with pytest.raises(UserError, match=f"{count} in its {split} list.*--allow-contaminated"):
        provenance.check(provenance.record(manifest), manifest, manifest.split(split))


def test_what_is_allowed_is_marked(tmp_path: Path) -> None:
    manifest = make(tmp_path)
    found = provenance.check(provenance.record(manifest), manifest, manifest.clips, allow_contaminated=True)
    assert found.to_json() == {"contaminated": True, "contaminated_clips": {"train": 2, "validation": 1}}
    assert found.clips == 5


def test_another_fold_whose_test_holds_training_clips_is_refused(tmp_path: Path) -> None:
    first = make(tmp_path)
    second = make(tmp_path, ("test", "test", "train", "train", "train"), fold=2)
    with pytest.raises(UserError, match="2 in its train list"):
        provenance.check(provenance.record(first), second, second.split("test"))


def test_another_fold_is_refused_without_the_files(tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path, ("test", *SPLITS[1:]), fold=2)
    known = provenance.record(first, fingerprints=False)
    shutil.rmtree(tmp_path)
    assert provenance.find(known, second, second.split("test")).learnt == {"train": 1}


def test_a_moved_data_root_changes_nothing(tmp_path: Path) -> None:
    old = make(tmp_path / "old")
    known = provenance.record(old, fingerprints=False)
    shutil.move(tmp_path / "old", tmp_path / "new")
    moved = dataclasses.replace(old, root=tmp_path / "new")
    assert provenance.find(known, moved, moved.split("train")).learnt == {"train": 2}
    assert not provenance.find(known, moved, moved.split("test"))


def test_renamed_files_in_another_manifest_are_found_by_content(tmp_path: Path) -> None:
    old = make(tmp_path / "old")
    known = provenance.record(old)
    rows = []
    for index, clip in enumerate(old.clips):
        (tmp_path / "new").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "old" / clip.path, tmp_path / "new" / f"clip-{index}.mp4")
        rows.append(Clip(f"clip-{index}.mp4", clip.label, "test"))
    new = Manifest.from_clips("my-videos", tmp_path / "new", 1, rows)
    assert provenance.find(known, new, new.clips).learnt == {"train": 2, "validation": 1}


def test_a_true_duplicate_within_the_official_split_is_no_contamination(tmp_path: Path) -> None:
    manifest = make(tmp_path)
    shutil.copy(tmp_path / manifest.split("train")[0].path, tmp_path / manifest.split("test")[0].path)
    known = provenance.record(manifest)
    assert not provenance.check(known, manifest, manifest.split("test"))
    # Another share of validation gives another hash; the names are still the official ones.
    other = make_with(manifest, {"validation": "train"})
    assert other.hash != manifest.hash
    assert not provenance.check(known, other, other.split("test"))


def make_with(manifest: Manifest, renamed: dict[str, str]) -> Manifest:
    rows = [dataclasses.replace(clip, split=renamed.get(clip.split, clip.split)) for clip in manifest.clips]
    return Manifest.from_clips(manifest.name, manifest.root, manifest.fold, rows, manifest.classes)


def test_stretches_of_one_file_count_when_they_overlap(tmp_path: Path) -> None:
    def clip(start: float | None, end: float | None, split: str) -> Clip:
        return Clip("kitchen.mp4", "cut", split, start_sec=start, end_sec=end)

    known = provenance.record(Manifest.from_clips("epic", tmp_path, 1, [clip(10, 20, "train")]))
    for stretch, learnt in [((20, 30), 0), ((0, 10), 0), ((19.5, 30), 1), ((None, None), 1), ((15, None), 1)]:
        asked = Manifest.from_clips("epic", tmp_path, 2, [clip(*stretch, "test")], ["cut"])
        assert sum(provenance.find(known, asked, asked.clips).learnt.values()) == learnt, stretch


def test_clips_of_the_network_it_started_from_count(tmp_path: Path) -> None:
    first = make(tmp_path)
    second = make_with(first, {"test": "train", "train": "test"})
    child = provenance.record(second, ancestors=[provenance.record(first)])
    assert provenance.find(child, second, second.split("test")).learnt == {"train": 2}


def test_unlabelled_clips_count_when_the_regime_learns_from_them(tmp_path: Path) -> None:
    manifest = make(tmp_path, ("train", "train", "unlabelled", "test", "test"))
    asked = make_with(manifest, {"unlabelled": "test"})
    assert not provenance.find(provenance.record(manifest), asked, asked.split("test"))
    semi = provenance.record(manifest, splits=("train", "validation", "unlabelled"))
    assert provenance.find(semi, asked, asked.split("test")).learnt == {"unlabelled": 1}


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("class1", "class0"), "another order"),
        (("class0", "jump"), "unknown to the model: jump; missing in the data: class1"),
    ],
)
def test_another_class_map_is_refused(tmp_path: Path, classes: tuple[str, ...], words: str) -> None:
    manifest = make(tmp_path)
    with pytest.raises(UserError, match=words):
        provenance.check(provenance.record(manifest), dataclasses.replace(manifest, classes=classes), [])


def test_it_survives_the_disk(tmp_path: Path) -> None:
    manifest = make(tmp_path / "videos")
    pieces = [Clip("0.mp4", "cut", "train", start_sec=start, end_sec=end) for start, end in ((0.1, 1e-7), (2, None))]
    parent = provenance.record(Manifest.from_clips("epic", tmp_path, 1, [*pieces, Clip("1.mp4", "cut", "train")]))
    known = provenance.record(manifest, ancestors=[parent])
    path = provenance.beside(tmp_path / "best.keras")
    provenance.write(path, known)
    assert path.name == "best.provenance.json"
    assert provenance.read(path) == known
    assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 99}', '{"version": 1, "dataset": 3}'])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "provenance.json").write_text(text)
    with pytest.raises(UserError, match=r"damaged|another version"):
        provenance.read(tmp_path / "provenance.json")


def test_a_missing_file_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run directory"):
        provenance.read(tmp_path / "provenance.json")


def test_empty_and_missing_files_have_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert provenance.fingerprint(tmp_path / "empty.mp4") is None
    assert provenance.fingerprint(tmp_path / "absent.mp4") is None
    assert provenance.fingerprint(tmp_path) is None
