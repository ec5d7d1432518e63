"""Official lists: small ones in the real formats, and the real ones where they are at hand."""

import dataclasses
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_actrec.data.manifest import Clip
from keras_actrec.data.splits import carve_validation, group_key, read_hmdb51, read_ucf101
from keras_actrec.errors import UserError

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "official_lists.tar.gz"


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not ARCHIVE.exists():
        pytest.skip("the official lists are not here")
    folder = tmp_path_factory.mktemp("official")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def groups(clips: Iterable[Clip], split: str, key: Callable[[Clip], str] = group_key) -> set[str]:
    return {key(clip) for clip in clips if clip.split == split}


def write_ucf(folder: Path, classes: tuple[str, ...] = ("Archery", "Biking"), tests: int = 2, trains: int = 6) -> Path:
    (folder / "classInd.txt").write_text("".join(f"{n} {name}\r\n" for n, name in enumerate(classes, 1)))
    for fold in (1, 2, 3):
        names = [
            [(f"{c}/v_{c}_g{g:02d}_c{k:02d}.avi", n) for n, c in enumerate(classes, 1) for g in numbers for k in (1, 2)]
            for numbers in (range(1, tests + 1), range(tests + 1, tests + trains + 1))
        ]
        (folder / f"testlist0{fold}.txt").write_text("".join(f"{name}\r\n" for name, _ in names[0]))
        (folder / f"trainlist0{fold}.txt").write_text("".join(f"{name} {n}\r\n" for name, n in names[1]))
    return folder


def write_hmdb(folder: Path, label: str, rows: Iterable[tuple[str, int]], fold: int = 1) -> Path:
    lines = [f"{source}_{label}_u_nm_np1_ba_goo_{i}.avi {tag} \n" for i, (source, tag) in enumerate(rows)]
    (folder / f"{label}_test_split{fold}.txt").write_text("".join(lines))
    return folder


def test_ucf_rows(tmp_path: Path) -> None:
    clips = read_ucf101(write_ucf(tmp_path), 1, validation_fraction=0)
    assert clips[0] == Clip("Archery/v_Archery_g03_c01.avi", "Archery", "train", "Archery/g03")
    assert clips[-1] == Clip("Biking/v_Biking_g02_c02.avi", "Biking", "test", "Biking/g02")
    assert Counter(clip.split for clip in clips) == {"train": 24, "test": 8}


def test_ucf_validation_by_group(tmp_path: Path) -> None:
    clips = read_ucf101(write_ucf(tmp_path), 2, validation_fraction=0.34, seed=3)
    assert Counter(clip.split for clip in clips) == {"train": 16, "validation": 8, "test": 8}
    assert not groups(clips, "train") & groups(clips, "validation")
    assert clips == read_ucf101(tmp_path, 2, validation_fraction=0.34, seed=3)
    assert len({tuple(read_ucf101(tmp_path, 2, seed=seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    "name, line, message",
    [
        ("trainlist01.txt", "Archery/v_Archery_g09_c01.avi 2", "class 'Archery' has number 1"),
        ("trainlist01.txt", "Archeri/v_Archeri_g09_c01.avi 1", "Did you mean 'Archery'"),
        ("trainlist01.txt", "v_Archery_g09_c01.avi 1", "expected Class/v_Class_gNN_cNN.avi"),
        ("testlist01.txt", "Archery/v_Archery.avi", "expected Class/v_Class_gNN_cNN.avi"),
        ("testlist01.txt", "Archery/v_Archery_g09_c01.avi 1 2", "expected Class/v_Class_gNN_cNN.avi"),
        ("classInd.txt", "Archery 1", "expected a number and a class"),
    ],
)
def test_ucf_malformed_line(tmp_path: Path, name: str, line: str, message: str) -> None:
    path = write_ucf(tmp_path) / name
    number = len(path.read_text().splitlines()) + 2
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_ucf101(tmp_path, 1)
    assert f"{name}, line {number}: " in str(error.value)


def test_ucf_clip_in_both_lists(tmp_path: Path) -> None:
    path = write_ucf(tmp_path) / "testlist01.txt"
    path.write_text("Archery/v_Archery_g05_c01.avi\n")
    with pytest.raises(UserError, match="2 times \\(test, train\\)"):
        read_ucf101(tmp_path, 1)


@pytest.mark.parametrize("name", ["classInd.txt", "trainlist03.txt", "testlist03.txt"])
def test_ucf_missing_list(tmp_path: Path, name: str) -> None:
    (write_ucf(tmp_path) / name).unlink()
    with pytest.raises(UserError, match=f"there is no list .*{name}"):
        read_ucf101(tmp_path, 3)


@pytest.mark.parametrize("read", [read_ucf101, read_hmdb51])
@pytest.mark.parametrize("fold", [0, 4])
def test_folds(tmp_path: Path, read: Callable[..., list[Clip]], fold: int) -> None:
    with pytest.raises(UserError, match=f"folds 1, 2 and 3; fold {fold}"):
        read(tmp_path, fold)


def test_hmdb_rows(tmp_path: Path) -> None:
    write_hmdb(tmp_path, "brush_hair", [("My_brush_hair_film", 1), ("Other", 2), ("Unused", 0)])
    clips = read_hmdb51(tmp_path, 1, validation_fraction=0)
    names = "My_brush_hair_film_brush_hair_u_nm_np1_ba_goo_0.avi", "Other_brush_hair_u_nm_np1_ba_goo_1.avi"
    assert clips == [
        Clip(f"brush_hair/{names[0]}", "brush_hair", "train", "brush_hair/My_brush_hair_film"),
        Clip(f"brush_hair/{names[1]}", "brush_hair", "test", "brush_hair/Other"),
    ]


def test_hmdb_validation_shares_no_film(tmp_path: Path) -> None:
    films = [(f"Film_{i}", 1) for i in range(10)] + [("Held_out", 2)]
    for label in ("kick", "kick_ball", "run"):
        write_hmdb(tmp_path, label, films)
    clips = read_hmdb51(tmp_path, 1)
    film = [
        {clip.group.partition("/")[2] for clip in clips if clip.split == split} for split in ("train", "validation")
    ]
    assert len(film[1]) == 2
    assert not film[0] & film[1]


def test_hmdb_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no list"):
        read_hmdb51(tmp_path, 1)
    write_hmdb(tmp_path, "run", [("A", 1), ("B", 2)])
    write_hmdb(tmp_path, "kick", [("A", 1), ("B", 2)], fold=2)
    with pytest.raises(UserError, match=r"no list .*kick_test_split1.txt, but other folds"):
        read_hmdb51(tmp_path, 1)
    write_hmdb(tmp_path, "kick", [("A", 1), ("B", 3)])
    with pytest.raises(UserError, match=r"kick_test_split1.txt, line 2: expected a file and 0, 1 or 2"):
        read_hmdb51(tmp_path, 1)


clips_of_many_kinds = st.lists(
    st.builds(
        lambda label, group, split: Clip("", f"class{label}", split, group and f"group{group}"),
        st.integers(0, 3),
        st.integers(0, 12),
        st.sampled_from(["train", "train", "train", "test", "unlabelled"]),
    ),
    max_size=60,
).map(lambda clips: [dataclasses.replace(c, path=f"{i}", group=c.group or "") for i, c in enumerate(clips)])


@given(clips_of_many_kinds, st.floats(0.05, 0.6), st.integers(0, 9))
def test_carving(clips: list[Clip], fraction: float, seed: int) -> None:
    carved = carve_validation(clips, fraction, seed)
    assert [clip.path for clip in carved] == [clip.path for clip in clips]
    for before, after in zip(clips, carved, strict=True):
        assert after == before or (before.split, after.split) == ("train", "validation")
    assert not groups(carved, "train") & groups(carved, "validation")
    for label in {clip.label for clip in clips if clip.split == "train"}:
        assert any(clip.label == label and clip.split == "train" for clip in carved)
    assert carved == carve_validation(clips, fraction, seed)


@given(st.integers(2, 30), st.integers(1, 4), st.floats(0.05, 0.5), st.integers(0, 9))
def test_carving_meets_the_share(count: int, size: int, fraction: float, seed: int) -> None:
    """Groups of one size: each class gives its share, rounded to groups, at least one."""
    clips = [Clip(f"{c}/{g}/{i}", f"{c}", "train", f"{c}/{g}") for c in "ab" for g in range(count) for i in range(size)]
    carved = carve_validation(clips, fraction, seed)
    for label in "ab":
        got = len({clip.group for clip in carved if clip.split == "validation" and clip.label == label})
        assert abs(got - max(1, fraction * count)) <= 0.51
    assert len(groups(carved, "train")) + len(groups(carved, "validation")) == 2 * count


def test_carving_hardly_changes_when_clips_are_added() -> None:
    clips = [Clip(f"{i}", "a", "train") for i in range(100)]
    before = groups(carve_validation(clips, 0.2, 0), "validation")
    after = groups(carve_validation([*clips, Clip("new", "a", "train")], 0.2, 0), "validation")
    assert len(before ^ after) <= 2


def test_the_order_of_rows_does_not_matter() -> None:
    clips = [Clip(f"{i}", f"{i % 3}", "train", f"{i % 11}") for i in range(60)]
    carved = carve_validation(clips, 0.25, 1)
    backwards = carve_validation(clips[::-1], 0.25, 1)
    assert groups(carved, "validation") == groups(backwards, "validation")


@pytest.mark.parametrize("fold, train, test", [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_official_ucf101(official: Path, fold: int, train: int, test: int) -> None:
    clips = read_ucf101(official / "ucfTrainTestlist", fold)
    counts = Counter(clip.split for clip in clips)
    assert counts["test"] == test
    assert counts["train"] + counts["validation"] == train
    assert 0.18 < counts["validation"] / train < 0.22
    check_official(clips, 101)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_official_hmdb51(official: Path, fold: int) -> None:
    clips = read_hmdb51(official / "testTrainMulti_7030_splits", fold)
    counts = Counter(clip.split for clip in clips)
    assert counts["test"] == 1530
    assert counts["train"] + counts["validation"] == 3570
    assert 0.17 < counts["validation"] / 3570 < 0.23
    check_official(clips, 51)
    films = {
        split: groups(clips, split, lambda clip: clip.group.partition("/")[2]) for split in ("train", "validation")
    }
    assert not films["train"] & films["validation"]


def check_official(clips: list[Clip], classes: int) -> None:
    for split in ("train", "validation", "test"):
        assert len({clip.label for clip in clips if clip.split == split}) == classes
    sets = [groups(clips, split) for split in ("train", "validation", "test")]
    assert sum(map(len, sets)) == len(set.union(*sets))
