"""Something-Something v2: templates, labels in their order, files."""

from pathlib import Path

import pytest
from trees import document, number_of, video

from keras_actrec.config import DataConfig
from keras_actrec.data.collections import load_manifest
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UserError

LABELS = {
    "Putting something next to something": "1",
    "Approaching something with your camera": "0",
    "Bending something": "2",
}
TEMPLATES = (
    "Approaching [something] with your camera",
    "Putting [something] next to [something]",
    "Bending [something]",
)


def entry(name: int | str, template: str) -> dict[str, object]:
    return {"id": name, "label": "putting a cup next to a pen", "template": template, "placeholders": ["a cup"]}


def write_lists(folder: Path, prefix: str = "something-something-v2-") -> Path:
    training = [entry(str(100 + n), TEMPLATES[n % 3]) for n in range(15)]
    document(folder / f"{prefix}train.json", training)
    document(folder / f"{prefix}validation.json", [entry(str(n), TEMPLATES[n % 3]) for n in range(3)])
    document(folder / f"{prefix}labels.json", LABELS)
    return folder


def read(root: Path, lists: Path) -> Manifest:
    return load_manifest(DataConfig(source="something_something_v2", root=str(root), lists=str(lists)), seed=0)


@pytest.mark.parametrize("prefix", ["something-something-v2-", ""])
def test_rows(tmp_path: Path, prefix: str) -> None:
    """Classes in the order of their numbers; the official validation list is the test."""
    manifest = read(tmp_path, write_lists(tmp_path, prefix))
    assert manifest.classes == tuple(template.replace("[", "").replace("]", "") for template in TEMPLATES)
    assert manifest.split("test")[1] == Clip("1.webm", "Putting something next to something", "test")
    assert {split: len(manifest.split(split)) for split in ("train", "validation")} == {"train": 12, "validation": 3}
    assert {clip.label for clip in manifest.split("validation")} == set(LABELS)


def test_files_wherever_they_are(tmp_path: Path) -> None:
    video(tmp_path / "20bn-something-something-v2" / "102.webm", 5)
    manifest = read(tmp_path, write_lists(tmp_path / "labels"))
    (clip,) = [clip for clip in manifest.clips if clip.path == "20bn-something-something-v2/102.webm"]
    assert clip.label == "Bending something"
    assert [number_of(frame) for frame in VideoSource(tmp_path).read(clip, [0, 4])] == [0, 4]


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "train.json",
            [entry("1", TEMPLATES[0]), entry("2", "Bendin [something]")],
            "entry 2: the template 'Bendin someth",
        ),
        ("train.json", [{"id": "1"}], "entry 1: expected an object with id, template"),
        ("validation.json", {"id": "1"}, "expected a list of objects with id, template"),
        ("labels.json", {"a": "0", "b": "0"}, "a number of its own for each label from 0 to 1"),
        ("labels.json", {"a": "7"}, "expected a number from 0 to 0, found '7'"),
        ("labels.json", [], "expected labels and their numbers"),
    ],
)
def test_malformed_list(tmp_path: Path, name: str, content: object, message: str) -> None:
    document(write_lists(tmp_path, "") / name, content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, tmp_path)
    assert name in str(error.value)


def test_missing_list(tmp_path: Path) -> None:
    for name in ("train", "validation", "labels"):
        (write_lists(tmp_path) / f"something-something-v2-{name}.json").unlink()
        with pytest.raises(UserError, match=f"there is no list something-something-v2-{name}.json or {name}.json"):
            read(tmp_path, tmp_path)
