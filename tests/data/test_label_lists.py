"""Lists of labelled clips in every format that is published, found among a manifest's clips, and their mistakes."""

import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_actrec.data.clip_index import ClipIndex
from keras_actrec.data.label_lists import Listed, line, read
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.splits import read_hmdb51, read_ucf101
from keras_actrec.errors import UserError

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "official_lists.tar.gz"

UCF = [
    Clip("Archery/v_Archery_g08_c01.avi", "Archery", "train", "Archery/g08"),
    Clip("Archery/v_Archery_g08_c02.avi", "Archery", "train", "Archery/g08"),
    Clip("Archery/v_Archery_g09_c01.avi", "Archery", "validation", "Archery/g09"),
    Clip("Archery/v_Archery_g01_c01.avi", "Archery", "test", "Archery/g01"),
    Clip("HandstandPushups/v_HandStandPushups_g08_c01.avi", "HandstandPushups", "train", "HandstandPushups/g08"),
    Clip("Unlabelled/v_Unlabelled_g51_c01.avi", None, "unlabelled", "g51"),
]
KINETICS = [
    Clip("riding a bike/-3rIc5nLAa4_000092_000102.mp4", "riding a bike", "train"),
    Clip("riding a bike/6Jm6rB2pTqo.mp4", "riding a bike", "train"),
    Clip("yoga/ZVCg0QruY1M_000030_000040.mp4", "yoga", "train"),
    Clip("yoga/yVu7qbWGZlo_000155_000165.mp4", "yoga", "train"),
    Clip("yoga/yVu7qbWGZlo_000200_000210.mp4", "yoga", "train"),
]
CUT = [
    Clip("day 1.mp4", "open door", "train", start_sec=0.0, end_sec=2.5),
    Clip("day 1.mp4", "close door", "train", start_sec=2.5, end_sec=4.0),
    Clip("day 1.mp4", "open door", "train", start_sec=7.0),
    Clip("day2.mp4", "close door", "train", start_frame=0, end_frame=60),
    Clip("day2.mp4", "close door", "train", start_frame=60, end_frame=90),
]


def listed(folder: Path, text: str, clips: list[Clip] = UCF) -> Listed:
    path = folder / "labelled.txt"
    path.write_text(text)
    return read(path, Manifest.from_clips("made-up", folder, 1, clips))


def names(found: Listed) -> list[str]:
    return [Path(clip.path).stem for clip in found.clips]


@pytest.mark.parametrize(
    "text",
    [
        "Archery/v_Archery_g08_c02.avi 12\nHandstandPushups/v_HandStandPushups_g08_c01.avi 3\n",  # mmaction, videos
        "Archery/v_Archery_g08_c02 250 12\nHandstandPushups/v_HandStandPushups_g08_c01 9 3\n",  # mmaction, pictures
        "HandstandPushups/v_HandStandPushups_g08_c01.avi 36\r\n\r\nArchery/v_Archery_g08_c02.avi 3\r\n",  # UCF-101
        "Archery/v_Archery_g08_c02.avi\nHandstandPushups/v_HandStandPushups_g08_c01.avi\n",
        "v_Archery_g08_c02.avi\nv_HandStandPushups_g08_c01.avi",  # names alone
        "v_Archery_g08_c02\nv_HandStandPushups_g08_c01\nv_Archery_g08_c02\n",
        "/data/UCF-101/Archery/v_Archery_g08_c02.mp4\t0\n./HandstandPushups/v_HandStandPushups_g08_c01.avi\t1\n",
        "videos\\Archery\\v_Archery_g08_c02.avi,0\nHandstandPushups/v_HandStandPushups_g08_c01.avi, 1\n",
        "# own\n#\nArchery/v_Archery_g08_c02.avi Archery\nHandstandPushups/v_HandStandPushups_g08_c01.avi "
        "HandstandPushups\n",
        '"Archery/v_Archery_g08_c02.avi" archery\nHandstandPushups/v_HandStandPushups_g08_c01.avi "Handstand Pushups"',
        "\ufeffpath,label\nArchery/v_Archery_g08_c02.avi,Archery\nv_HandStandPushups_g08_c01,HandstandPushups\n",
        "Label, Video\n0, Archery/v_Archery_g08_c02.avi\n7, v_HandStandPushups_g08_c01.avi\n",
        "filename\nArchery/v_Archery_g08_c02.avi\nv_HandStandPushups_g08_c01.avi\n",
    ],
)
def test_formats(tmp_path: Path, text: str) -> None:
    found = listed(tmp_path, text)
    assert found.clips == (UCF[1], UCF[4])
    assert found.held_out == 0


@pytest.mark.parametrize(
    "text",
    [
        "label,youtube_id,time_start,time_end,split\nriding a bike,-3rIc5nLAa4,92,102,train\n"
        "riding a bike,6Jm6rB2pTqo,3,13,train\nyoga,yVu7qbWGZlo,155.0,165.0,train\n",
        "youtube_id,time_start,time_end\n-3rIc5nLAa4,92,102\n6Jm6rB2pTqo,0,10\nyVu7qbWGZlo,155,165\n",
        "riding_a_bike/-3rIc5nLAa4_000092_000102.mp4 267\nriding_a_bike/6Jm6rB2pTqo_000003_000013.mp4 267\n"
        "yoga/yVu7qbWGZlo_000155_000165.mp4 398\n",
        "riding a bike/-3rIc5nLAa4_000092_000102 300 267\n6Jm6rB2pTqo_000003_000013 300 267\n"
        "yVu7qbWGZlo_000155_000165 300 398\n",
        "-3rIc5nLAa4\n6Jm6rB2pTqo\nyoga/yVu7qbWGZlo_000155_000165\n",
        "-3rIc5nLAa4 riding a bike\n6Jm6rB2pTqo riding_a_bike\nyVu7qbWGZlo_000155_000165 yoga\n",
    ],
)
def test_kinetics(tmp_path: Path, text: str) -> None:
    assert names(listed(tmp_path, text, KINETICS)) == [
        "-3rIc5nLAa4_000092_000102",
        "6Jm6rB2pTqo",
        "yVu7qbWGZlo_000155_000165",
    ]


def test_kinetics_needs_the_right_stretch(tmp_path: Path) -> None:
    head = "youtube_id,time_start,time_end\n6Jm6rB2pTqo,0,10\n"
    with pytest.raises(UserError, match=r"'ZVCg0QruY1M' from 31.0 to 41.0 \(line 3\) is not among the training clips"):
        listed(tmp_path, head + "ZVCg0QruY1M,31,41\n", KINETICS)
    with pytest.raises(UserError, match=r"line 2: 'yVu7qbWGZlo' may be yoga/yVu7qbWGZlo_000155.* or yoga/yVu7"):
        listed(tmp_path, "6Jm6rB2pTqo\nyVu7qbWGZlo\n", KINETICS)
    with pytest.raises(UserError, match="line 3: expected seconds for time_start and time_end, found 'x' and '41'"):
        listed(tmp_path, head + "ZVCg0QruY1M,x,41\n", KINETICS)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ('"day 1.mp4" "open door" seconds=0.0:2.5\nday2.mp4 "close door" frames=60:90\n', [0, 4]),
        ("day 1.mp4 seconds=7:\nday2.mp4 frames=0:60\n", [2, 3]),
        ("day 1.mp4 open door\nday2 close_door\n", [0, 2, 3, 4]),
        ("day 1\n", [0, 1, 2]),
        ("path,start_sec,end_sec,label\nday 1.mp4,0,2.5,open door\nday2.mp4,,,close door\n", [0, 3, 4]),
    ],
)
def test_clips_cut_from_a_file(tmp_path: Path, text: str, chosen: list[int]) -> None:
    assert listed(tmp_path, text, CUT).clips == tuple(CUT[i] for i in chosen)


def test_cut_clips_that_a_number_cannot_tell_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"day 1.mp4 has clips of several classes \(close door, open door\)"):
        listed(tmp_path, "day 1.mp4 3\n", CUT)
    with pytest.raises(UserError, match=r"'day 1.mp4' from 1.0 to 2.5 \(line 1\) is not among"):
        listed(tmp_path, '"day 1.mp4" "open door" seconds=1:2.5\nday2.mp4\n', CUT)


def test_same_names_in_several_folders(tmp_path: Path) -> None:
    clips = [Clip(f"{part}/{label}/1.mp4", label, part) for part in ("train", "test") for label in ("a", "b")]
    assert listed(tmp_path, "a/1.mp4\ntrain/b/1.mp4\n", clips).clips == tuple(clips[:2])
    with pytest.raises(UserError, match=r"line 1: '1.mp4' may be train/a/1.mp4 or train/b/1.mp4; expected more of its"):
        listed(tmp_path, "1.mp4\n", clips)
    with pytest.raises(UserError, match=r"'test/a/1.mp4' \(line 1\) is in the test split"):
        listed(tmp_path, "test/a/1.mp4\nb/1.mp4\n", clips)
    one = [Clip("a/1.mp4", "a", "train"), Clip("b/2.mp4", "b", "train")]
    with pytest.raises(UserError, match=r"'b/1.mp4' \(line 2\) is not among"):
        listed(tmp_path, "b/2.mp4\nb/1.mp4\n", one)  # the folder is another class: another video of that name


def test_suffixes_and_dots() -> None:
    index = ClipIndex([Clip("a/Vol.1_run.AVI", "a", "train"), Clip("b/frames.d", "b", "train")])
    assert [clip.label for clip in index.find("a/Vol.1_run")] == ["a"]
    assert [clip.label for clip in index.find("Vol.1_run.webm")] == ["a"]
    assert [clip.label for clip in index.find("x/b/frames.d")] == ["b"]
    assert index.find("Vol") == index.find("frames") == index.find("") == ()


def test_clips_of_validation_are_told_apart(tmp_path: Path) -> None:
    text = "v_Archery_g09_c01.avi\nv_Archery_g08_c01.avi\nv_HandStandPushups_g08_c01.avi\n"
    found = listed(tmp_path, text)
    assert sorted((clip.path, clip.split) for clip in found.clips) == [
        ("Archery/v_Archery_g08_c01.avi", "train"),
        ("Archery/v_Archery_g09_c01.avi", "validation"),
        (UCF[4].path, "train"),
    ]
    assert found.held_out == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["names no clip"]),
        ("# a comment\n\n", ["names no clip"]),
        ("path,label\n", ["names no clip"]),
        ("label,path\nArchery,\n", ["line 2: expected a value for one of path"]),
        (
            "v_Archery_g08_c01\nv_Archery_g01_c01\nv_HandStandPushups_g08_c01\n",
            ["'v_Archery_g01_c01' (line 2) is in the test split of made-up, fold 1", "`data.fold`"],
        ),
        (
            "v_Archery_g08_c01\n" + "".join(f"v_Archery_g3{i}_c01.avi 2\n" for i in range(8)),
            ["'v_Archery_g30_c01.avi 2' (line 2)", "g34_c01.avi 2' (line 6), ..., 8 lines in all, are not among the"],
        ),
        (
            "v_Archery_g08_c01\nv_Unlabelled_g51_c01\n",
            ["'v_Unlabelled_g51_c01' (line 2) is not among the training"],
        ),
        ("x\n", ["'x' (line 1) is not", "such as Archery/v_Archery_g08_c01.avi"]),
        ("#no comment\n", ["'#no comment' (line 1) is not"]),
        ('"unclosed\n', ["'unclosed' (line 1) is not"]),
        (
            "v_Archery_g08_c01 Biking\n",
            ["line 1: Archery/v_Archery_g08_c01.avi is called 'Biking' here, and Archery in the data set"],
        ),
        ("v_Archery_g08_c01 1 2 3\n", ["is called '1 2 3' here"]),
        (
            "v_Archery_g08_c01\nv_Archery_g09_c01\n",
            ["leaves 1 of 2 classes without a labelled training clip: HandstandPushups. Add a clip of each."],
        ),
        ("v_Archery_g08_c01\n", ["leaves 1 of 2 classes", "Add a clip of each."]),
    ],
)
def test_mistakes(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(UserError, match=r"labelled.txt") as error:
        listed(tmp_path, text)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("text", ["{}\n", "{} 3\n", "{} Archery\n"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_listed_clip_needs_a_label_in_the_data_set(tmp_path: Path, text: str, split: str) -> None:
    """A list of names, or of numbers, cannot give it one."""
    clips = [*UCF, Clip("Archery/v_Archery_g10_c01.avi", None, split)]
    text = text.format("v_Archery_g10_c01.avi") + "v_Archery_g08_c02.avi\nv_HandStandPushups_g08_c01.avi\n"
    with pytest.raises(UserError, match=r"line 1: Archery/v_Archery_g10_c01.avi has no label in the data set; give"):
        listed(tmp_path, text, clips)


def test_unreadable_lists(tmp_path: Path) -> None:
    manifest = Manifest.from_clips("made-up", tmp_path, 1, UCF)
    with pytest.raises(UserError, match=r"there is no list .*none.txt; `data.labels.list` must name"):
        read(tmp_path / "none.txt", manifest)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "binary.txt", tmp_path):
        with pytest.raises(UserError, match="cannot read the list"):
            read(path, manifest)
    with pytest.raises(UserError, match=r"labelled.txt, line 1: field larger"):
        listed(tmp_path, '"' + "x" * 140_000)


def test_numbers_of_classes(tmp_path: Path) -> None:
    """As in a published list of HMDB-51, in which some clips of a class have the number of another."""
    clips = [Clip(f"{label}/{i}_{label}.avi", label, "train") for label in ("kick", "kick_ball") for i in range(4)]
    lines = [f"{clip.path} 70 {20 if clip.label == 'kick' else 21}" for clip in clips]
    assert len(listed(tmp_path, "\n".join(lines), clips).clips) == 8
    lines[6] = "kick_ball/2_kick_ball.avi 70 20"
    with pytest.raises(UserError, match=r"line 7: class 'kick_ball' has the number 20, that of 'kick'; 1 of 8 lines"):
        listed(tmp_path, "\n".join(lines), clips)
    lines[6] = "kick_ball/2_kick_ball.avi 70 5"
    with pytest.raises(UserError, match=r"'kick_ball' has the number 5, elsewhere it has 21; 1 of 8 lines"):
        listed(tmp_path, "\n".join(lines), clips)
    same = re.sub(r"\d+(\n|$)", r"3\1", "\n".join(lines))
    with pytest.raises(UserError, match=r"line 1: class 'kick' has the number 3, that of 'kick_ball'; 8 of 8"):
        listed(tmp_path, same, clips)


letters = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=8)


@given(st.lists(st.tuples(letters, letters), min_size=1, max_size=5), st.booleans())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list, cut: bool) -> None:
    """Whatever files and classes are called."""
    part = {"start_sec": 0.1, "end_sec": 1e-7} if cut else {}
    clips = [Clip(f"{i}{path}/{path}{i}.mp4", f"c{label}{i}c", "train", **part) for i, (path, label) in enumerate(rows)]
    text = "\n".join(["# own", *map(line, clips)])
    found = listed(tmp_path_factory.mktemp("lists"), text, clips)
    assert set(found.clips) == set(clips)


def test_published_lists_of_the_real_folds(tmp_path: Path) -> None:
    """Lists in the published formats, of every clip of the official training lists, find each of them."""
    if not ARCHIVE.exists():
        pytest.skip("the official lists are not here")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    ucf = read_ucf101(tmp_path / "ucfTrainTestlist", 1)
    found = listed(tmp_path, (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").read_text(), ucf)
    assert (len(found.clips), found.held_out > 1000) == (9537, True)
    with pytest.raises(UserError, match="are in the test split of made-up"):
        listed(tmp_path, (tmp_path / "ucfTrainTestlist" / "trainlist02.txt").read_text(), ucf)
    hmdb = read_hmdb51(tmp_path / "testTrainMulti_7030_splits", 1, validation_fraction=0)
    training = [clip.path.rpartition("/")[2] for clip in hmdb if clip.split == "train"]
    assert len(listed(tmp_path, "\n".join(training), hmdb).clips) == 3570
