"""Which training clips keep their label: groups stay whole, the draw is that of the seed, and it says what it did."""

import dataclasses
import itertools
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_actrec.config import LabelsConfig
from keras_actrec.data import labelled_split
from keras_actrec.data.labelled_split import split, straddling, with_truth, write_list
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.splits import group_key
from keras_actrec.data.synthetic import render
from keras_actrec.errors import UserError


def clip(number: int, label: str | None, group: str = "", part: str = "train", **more: object) -> Clip:
    return Clip(f"{label}/{number:03d}.mp4", label, part, group, **more)


def manifest(*clips: Clip, root: Path = Path("videos")) -> Manifest:
    return Manifest.from_clips("made-up", root, 1, clips)


def grid(classes: str = "abc", groups: int = 6, each: int = 3) -> Manifest:
    """Every class has `each` clips in every group; further clips in the other splits."""
    clips = [
        clip(100 * group + number, label, f"g{group}")
        for label in classes
        for group in range(groups)
        for number in range(each)
    ]
    others = [clip(900 + i, "a", f"o{i}", part) for i, part in enumerate(("validation", "test", "unknown"))]
    return manifest(*clips, *others, clip(950, None, "u", "unlabelled"))


def paths(of: Manifest, part: str) -> set[str]:
    return {clip.path for clip in of.split(part)}


def groups(of: Manifest, part: str) -> set[str]:
    return {group_key(clip) for clip in of.split(part)}


def per_class(number: int, per_group: int = 1, seed: int | None = None) -> LabelsConfig:
    return LabelsConfig(per_class=number, per_group=per_group, seed=seed)


many_clips = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.integers(0, 7),
        st.sampled_from(["train", "train", "train", "validation", "test", "unlabelled", "unknown"]),
    ),
    min_size=1,
    max_size=60,
).map(lambda rows: [clip(i, label, (group and f"g{group}") or "", part) for i, (label, group, part) in enumerate(rows)])


@given(many_clips, st.floats(0.05, 0.9), st.integers(1, 3), st.integers(0, 3))
def test_a_draw_of_any_data_set(clips: list[Clip], rate: float, per_group: int, seed: int) -> None:
    before = manifest(*clips)
    training = [clip for clip in clips if clip.split == "train"]
    if not any(clip.label for clip in training):
        with pytest.raises(UserError, match="no training clip with a label"):
            split(before, LabelsConfig(rate=rate), seed)
        return
    drawn = split(before, LabelsConfig(rate=rate, per_group=per_group), seed)
    after = drawn.manifest

    for label in {clip.label for clip in training} - {None}:
        own = Counter(group_key(clip) for clip in training if clip.label == label)
        possible = sum(min(per_group, count) for count in own.values())
        got = Counter(group_key(clip) for clip in after.split("train") if clip.label == label)
        assert got.total() == min(possible, max(1, int(rate * own.total() + 0.5)))
        assert max(got.values()) <= per_group
    by_path = {clip.path: clip for clip in after.clips}
    for old in clips:
        new = by_path.get(old.path)
        if new is None:
            assert old.split == "train"
            assert group_key(old) in groups(after, "train")
        elif old.split == "train":
            assert new in (old, dataclasses.replace(old, split="unlabelled"))
            assert new == old or group_key(new) not in groups(after, "train")
        else:
            assert new == old
    assert drawn.left_out == len(clips) - len(after.clips)
    assert (after.classes, after.name, after.root, after.fold) == (before.classes, "made-up", Path("videos"), 1)


@given(many_clips, st.integers(0, 3), st.randoms())
def test_no_group_is_divided_and_the_order_of_rows_is_nothing(clips: list[Clip], seed: int, rng: random.Random) -> None:
    clips = [clip for clip in clips if clip.split != "unlabelled"] + [clip(999, "a")]
    drawn = split(manifest(*clips), LabelsConfig(rate=0.3), seed).manifest
    assert not groups(drawn, "train") & groups(drawn, "unlabelled")
    assert straddling(drawn) == 0
    rng.shuffle(clips)
    again = split(manifest(*clips), LabelsConfig(rate=0.3), seed).manifest
    assert again.clips == drawn.clips
    assert again.hash == drawn.hash


def test_exact_counts() -> None:
    """Two clips of each of three classes from the same two groups; the seven other clips of each of these are gone."""
    drawn = split(grid(), per_class(2), seed=0)
    assert Counter(clip.label for clip in drawn.manifest.split("train")) == {"a": 2, "b": 2, "c": 2}
    assert len(groups(drawn.manifest, "train")) == 2
    assert drawn.left_out == 2 * (9 - 3)
    assert len(drawn.manifest.split("unlabelled")) == 4 * 9 + 1
    assert all(clip.label for clip in drawn.manifest.split("unlabelled") if clip.group != "u")
    assert drawn.manifest.hash != grid().hash
    for part in ("validation", "test", "unknown"):
        assert drawn.manifest.split(part) == grid().split(part)


def test_the_seed_decides() -> None:
    found = {tuple(sorted(paths(split(grid(), per_class(2), seed).manifest, "train"))) for seed in range(8)}
    assert len(found) > 4
    own = split(grid(), per_class(2, seed=3), seed=0).manifest
    assert own == split(grid(), per_class(2), seed=3).manifest
    assert own != split(grid(), per_class(2), seed=0).manifest


def test_the_draw_is_the_same_everywhere() -> None:
    """Frozen: a change here changes everybody's labelled clips."""
    drawn = split(grid(), per_class(2), seed=7).manifest
    assert sorted(paths(drawn, "train")) == [
        "a/201.mp4",
        "a/401.mp4",
        "b/201.mp4",
        "b/401.mp4",
        "c/200.mp4",
        "c/401.mp4",
    ]


@pytest.mark.parametrize("per_group", [1, 2, 3])
def test_few_labels_are_among_more(per_group: int) -> None:
    drawn = [paths(split(grid(), per_class(n, per_group), seed=1).manifest, "train") for n in range(1, 7)]
    for fewer, more in itertools.pairwise(drawn):
        assert fewer < more
    rates = [paths(split(grid(), LabelsConfig(rate=r, per_group=3), 1).manifest, "train") for r in (0.1, 0.2, 0.5)]
    assert rates[0] < rates[1] < rates[2]


def test_more_clips_of_a_group_spare_groups() -> None:
    drawn = split(grid(), per_class(6, per_group=3), seed=0)
    assert len(groups(drawn.manifest, "train")) == 2
    assert drawn.left_out == 0


def test_rate_rounds_and_takes_one_at_least() -> None:
    clips = [clip(i, "many") for i in range(25)] + [clip(i, "few") for i in range(2)]
    drawn = split(manifest(*clips), LabelsConfig(rate=0.1), seed=0).manifest
    assert Counter(clip.label for clip in drawn.split("train")) == {"many": 3, "few": 1}
    assert len(drawn.split("unlabelled")) == 22 + 1


def test_rate_takes_what_groups_allow() -> None:
    drawn = split(grid(groups=2, each=10), LabelsConfig(rate=0.5), seed=0).manifest
    assert Counter(clip.label for clip in drawn.split("train")) == {"a": 2, "b": 2, "c": 2}


def test_too_few_clips() -> None:
    rare = [clip(700 + i, "rare", "g0") for i in range(3)]
    with pytest.raises(UserError, match="2 labelled clips of class 'rare'") as error:
        split(manifest(*grid().clips, *rare), per_class(2), seed=0)
    for part in ("3 training clips in 1 group", "so that 1 can be", "per_group 1", "smaller per_class", "larger per_g"):
        assert part in str(error.value)
    assert split(manifest(*grid().clips, *rare), per_class(2, per_group=2), seed=0).left_out > 0
    with pytest.raises(UserError, match=r"class 'a'.* \(and so for 2 further classes\)"):
        split(grid(), per_class(7), seed=0)


def test_clips_cut_from_one_file_are_a_group() -> None:
    cut = [Clip(f"long{i}.mp4", label, "train", start_sec=j) for i in range(4) for j, label in enumerate("abab")]
    drawn = split(manifest(*cut), per_class(1), seed=0)
    assert len(paths(drawn.manifest, "train")) == 1
    assert drawn.left_out == 2
    assert paths(drawn.manifest, "train").isdisjoint(paths(drawn.manifest, "unlabelled"))


def test_clips_without_label_become_unlabelled() -> None:
    clips = [clip(1, "a"), clip(2, None)]
    drawn = split(manifest(*clips), per_class(1), seed=0).manifest
    assert paths(drawn, "train") == {"a/001.mp4"}
    assert paths(drawn, "unlabelled") == {"None/002.mp4"}


def test_groups_with_unlabelled_clips_come_last() -> None:
    clips = [clip(i, "a", f"g{i}") for i in range(6)] + [clip(i, None, f"g{i}", "unlabelled") for i in range(5)]
    for seed in range(4):
        drawn = split(manifest(*clips), per_class(1), seed)
        assert groups(drawn.manifest, "train") == {"g5"}
        assert straddling(split(manifest(*clips), per_class(2), seed).manifest) == 1


def test_summary() -> None:
    assert split(grid(), per_class(2), seed=0).summary() == (
        "6 labelled clips (2 of each of 3 classes, 2 groups), 37 unlabelled ones,"
        " 12 left out as their groups are labelled"
    )
    clips = [clip(i, "many") for i in range(20)] + [clip(i, "few") for i in range(3)]
    assert split(manifest(*clips), LabelsConfig(rate=0.1), seed=0).summary() == (
        "3 labelled clips (1 to 2 of each of 2 classes, 3 groups), 20 unlabelled ones"
    )


def test_a_list_leaves_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a/000.mp4\nb/000.mp4\nc/100.mp4\n")
    labels = LabelsConfig(list=str(tmp_path / "list.txt"))
    drawn = split(grid(), labels, seed=0)
    assert paths(drawn.manifest, "train") == {"a/000.mp4", "b/000.mp4", "c/100.mp4"}
    assert len(drawn.manifest.clips) == len(grid().clips)
    assert straddling(drawn.manifest) == 2
    assert drawn.drawn == "listed in list.txt"
    assert drawn.summary().endswith("52 unlabelled ones, 2 groups with both labelled and unlabelled clips")


def test_validation_makes_way_for_a_list_by_whole_groups(tmp_path: Path) -> None:
    held_out = [clip(900, "a", "v", "validation"), clip(901, "b", "v", "validation"), clip(902, "b", "w", "validation")]
    data = manifest(*(row for row in grid().clips if row.split != "validation"), *held_out)
    (tmp_path / "list.txt").write_text("a/900.mp4\nb/000.mp4\nc/100.mp4\n")
    drawn = split(data, LabelsConfig(list=str(tmp_path / "list.txt")), seed=0)
    assert paths(drawn.manifest, "train") == {"a/900.mp4", "b/000.mp4", "c/100.mp4"}
    assert paths(drawn.manifest, "validation") == {"b/902.mp4"}
    assert "b/901.mp4" in paths(drawn.manifest, "unlabelled")
    assert "2 clips taken back from validation for the list" in drawn.summary()
    (tmp_path / "list.txt").write_text("a/900.mp4\nb/902.mp4\nc/100.mp4\n")
    with pytest.raises(UserError, match=r"nothing is left to watch the training by; raise data\.validation_fraction"):
        split(data, LabelsConfig(list=str(tmp_path / "list.txt")), seed=0)


def films(*others: Clip) -> Manifest:
    """HMDB-51 in small: clips of two classes were cut from each of eight films."""
    clips = [clip(film, label, f"{label}/Film{film}") for label in ("kick", "run") for film in range(8)]
    return Manifest.from_clips("hmdb51", Path("videos"), 1, [*clips, *others])


@pytest.mark.parametrize("seed", range(4))
def test_no_film_of_hmdb51_is_on_both_sides(seed: int) -> None:
    drawn = split(films(), per_class(2), seed=seed).manifest
    labelled, unlabelled = (
        {group.partition("/")[2] for group in groups(drawn, part)} for part in ("train", "unlabelled")
    )
    assert len(drawn.split("train")) == 4
    assert unlabelled and not labelled & unlabelled
    assert straddling(drawn) == 0


def test_validation_makes_way_for_a_list_by_whole_films(tmp_path: Path) -> None:
    held_out = [clip(9, label, f"{label}/Film{film}", "validation") for label in ("sit", "stand") for film in (8, 9)]
    (tmp_path / "list.txt").write_text("kick/001.mp4\nrun/001.mp4\nsit/008.mp4\nstand/001.mp4\n")
    held_out = [dataclasses.replace(row, path=f"{row.label}/{int(row.group[-1]):03d}.mp4") for row in held_out]
    data = films(*held_out, clip(1, "sit", "sit/Film1"), clip(1, "stand", "stand/Film1"))
    drawn = split(data, LabelsConfig(list=str(tmp_path / "list.txt")), seed=0)
    assert paths(drawn.manifest, "validation") == {"sit/009.mp4", "stand/009.mp4"}
    assert drawn.taken_back == 2


def test_a_written_list_gives_the_same_labels(tmp_path: Path) -> None:
    awkward = [
        Clip("my videos/one two.mp4", "shake hands", "train", "p"),
        Clip('my videos/a "b", c.mp4', "it's, well", "train", "q"),
        Clip("long.mp4", "open", "train", "r", start_sec=12.5, end_sec=1e-05 + 17),
        Clip("long.mp4", "close", "train", "r", start_sec=20.0),
        Clip("frames.mp4", "wave", "train", "s", end_frame=30),
        Clip("frames.mp4", "wave", "train", "s", start_frame=30, end_frame=60),
        Clip("both.mp4", "sit", "train", "w"),
        Clip("both.mp4", "sit", "train", "w", start_sec=0.0, end_sec=2.0),
        Clip("#2_Gum.mp4", "3", "train", "t"),
        Clip("plain,comma.mp4", "nod", "train", "v"),
    ]
    drawn = split(manifest(*awkward), per_class(1), seed=5)
    assert len(drawn.manifest.split("train")) == 8
    write_list(tmp_path / "a.txt", drawn.manifest, [drawn.drawn])
    again = split(manifest(*awkward[::-1]), per_class(1), seed=5)
    write_list(tmp_path / "b.txt", again.manifest, [again.drawn])
    text = (tmp_path / "a.txt").read_text()
    assert text == (tmp_path / "b.txt").read_text()
    assert text.startswith("# Labelled clips of made-up, fold 1;")
    assert "# 1 clips of each class, at most 1 of a class from one group, seed 5\n" in text
    assert '"my videos/one two.mp4" "shake hands"\n' in text
    assert f"long.mp4 open seconds=12.5:{1e-05 + 17!r}\nlong.mp4 close seconds=20.0:\n" in text
    again = split(manifest(*awkward), LabelsConfig(list=str(tmp_path / "a.txt")), seed=0)
    assert again.manifest.split("train") == drawn.manifest.split("train")
    assert len(again.manifest.split("unlabelled")) == 2


def test_names_with_line_breaks_fit_no_list(tmp_path: Path) -> None:
    drawn = split(manifest(Clip("a\nb.mp4", "a", "train")), per_class(1), seed=0)
    with pytest.raises(UserError, match="line breaks"):
        write_list(tmp_path / "list.txt", drawn.manifest)


def test_truth(tmp_path: Path) -> None:
    assert labelled_split.TRUTH == render.TRUTH
    hidden = [clip(i, None, "u", "unlabelled") for i in range(3)]
    before = manifest(clip(1, "a"), clip(2, "b"), clip(3, "b", "", "unlabelled"), *hidden, root=tmp_path)
    assert with_truth(before) is before
    (tmp_path / render.TRUTH).write_text("path,label\nNone/000.mp4,b\nNone/002.mp4,a\nb/003.mp4,a\na/001.mp4,b\n")
    known = {clip.path: clip.label for clip in with_truth(before).clips}
    assert known == {
        **{"a/001.mp4": "a", "b/002.mp4": "b", "b/003.mp4": "b"},
        **{"None/000.mp4": "b", "None/001.mp4": None, "None/002.mp4": "a"},
    }
    assert with_truth(before).classes == before.classes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\nNone/000.mp4,bb\n", "line 2: 'bb' is no class. Did you mean 'b'"),
        (b"path,label\nNone/000.mp4\n", "line 2: the column 'label' is empty"),
        (b"path;label\nNone/000.mp4;b\n", "expected a column 'path'"),
        (b"path,label\nNone/000.mp4,a\nNone/000.mp4,b\n", "line 3: None/000.mp4 has two labels, a and b"),
        (b"path,label\n\xff\xfe,a\n", "cannot read the list"),
        (b'path,label\n"' + b"x" * 140_000, "is damaged"),
        (b"", "an empty file"),
    ],
)
def test_damaged_truth(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / render.TRUTH).write_bytes(content)
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        with_truth(manifest(clip(1, "a"), clip(2, "b"), clip(0, None, "", "unlabelled"), root=tmp_path))
