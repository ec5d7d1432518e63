"""Confusion by attribute: worked numbers, both kinds of table, the command, and clear mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keras_actrec import cli
from keras_actrec.errors import UserError
from keras_actrec.evaluation import attributes
from keras_actrec.evaluation.attributes import AttributeTable

CLASSES = ["Back 2 PIKE", "Back 10 TUCK", "Forward 2 TUCK", "Forward 10 PIKE"]
TABLE = "class,takeoff,turns,position\n" + "".join(
    f"{name},{name.replace(' ', ',')}\n" for name in (*CLASSES, "Inward 3 FREE")
)
CONFUSION = [[5, 1, 0, 2], [0, 4, 3, 0], [1, 0, 6, 0], [0, 2, 0, 8]]
"""32 clips, 23 of them right."""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "attributes.csv"
    path.write_text(TABLE)
    return path


def test_worked_numbers(table: Path) -> None:
    found = attributes.fold(CONFUSION, CLASSES, attributes.read(table))
    takeoff, turns, position = found.values()
    assert list(found) == ["takeoff", "turns", "position"]
    # Back: classes 0 and 1; Forward: 2 and 3. The class "Inward" is no class of the run.
    assert takeoff["values"] == ["Back", "Forward"]
    assert takeoff["confusion"] == [[5 + 1 + 0 + 4, 0 + 2 + 3 + 0], [1 + 0 + 0 + 2, 6 + 0 + 0 + 8]]
    assert takeoff["accuracy"] == pytest.approx(24 / 32)
    assert takeoff["chance"] == pytest.approx(17 / 32)
    assert takeoff["per_value"]["Back"]["recall"] == pytest.approx(10 / 15)
    # 2: classes 0 and 2; 10: classes 1 and 3; 2 stands before 10.
    assert turns["values"] == ["2", "10"]
    assert turns["confusion"] == [[5 + 0 + 1 + 6, 1 + 2 + 0 + 0], [0 + 3 + 0 + 0, 4 + 0 + 2 + 8]]
    # PIKE: classes 0 and 3; TUCK: 1 and 2.
    assert position["confusion"] == [[5 + 2 + 0 + 8, 1 + 0 + 2 + 0], [0 + 0 + 1 + 0, 4 + 3 + 0 + 6]]


def test_folding_keeps_every_clip_and_no_attribute_is_harder_than_the_class(table: Path) -> None:
    found = attributes.fold(CONFUSION, CLASSES, attributes.read(table))
    for part in found.values():
        assert sum(map(sum, part["confusion"])) == 32
        assert part["accuracy"] >= 23 / 32


def test_attributes_wrong_at_once(table: Path) -> None:
    """Of the 9 clips that are wrong: 0 -> 1 turns and position (1), 0 -> 3 takeoff and turns (2), 1 -> 2 takeoff and
    turns (3), 2 -> 0 takeoff and position (1), 3 -> 1 takeoff and position (2): two attributes each."""
    assert attributes.joint_errors(CONFUSION, CLASSES, attributes.read(table)) == [23, 0, 9, 0]


def test_an_attribute_of_each_class_alone_is_the_confusion_itself() -> None:
    table = AttributeTable(("name",), {name: (name,) for name in CLASSES})
    order = sorted(range(4), key=CLASSES.__getitem__)
    found = attributes.fold(CONFUSION, CLASSES, table)["name"]
    assert sorted(found["values"]) == sorted(CLASSES)
    position = [CLASSES.index(value) for value in found["values"]]
    assert found["confusion"] == [[CONFUSION[row][column] for column in position] for row in position]
    assert len(order) == 4


def test_without_clips_there_is_no_accuracy() -> None:
    table = AttributeTable(("name",), dict.fromkeys(CLASSES, ("x",)))
    found = attributes.fold([[0] * 4] * 4, CLASSES, table)["name"]
    assert (found["accuracy"], found["chance"], found["confusion"]) == (None, None, [[0]])


def test_the_official_vocabulary_of_diving48(tmp_path: Path) -> None:
    path = tmp_path / "Diving48_vocab.json"
    path.write_text(json.dumps([["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "NoTwis", "PIKE"]]))
    table = attributes.read(path)
    assert table.names == ("takeoff", "somersault", "twist", "flight position")
    found = attributes.fold([[3, 1], [0, 2]], ["Back 15som 05Twis FREE", "Back 15som NoTwis PIKE"], table)
    assert found["takeoff"]["confusion"] == [[6]]
    assert found["takeoff"]["accuracy"] == 1
    assert found["twist"]["values"] == ["05Twis", "NoTwis"]
    assert found["twist"]["confusion"] == [[3, 1], [0, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,turns\nA,2\n", "expected a first line 'class,ATTRIBUTE,...'"),
        ("class\nA\n", "expected a first line"),
        ("class,turns,turns\nA,2,2\n", "with different names"),
        ("class,turns\nA,2\nB\n", "line 3: expected 2 values"),
        ("class,turns\nA,\n", "line 2: expected 2 values"),
        ("class,turns\nA,2\nA,3\n", "line 3: the class 'A' is there twice"),
        ("", "expected a first line"),
    ],
)
def test_mistakes_in_a_table(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        attributes.read(path)


def test_mistakes_in_what_is_asked(tmp_path: Path, table: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as a table"):
        attributes.read(tmp_path / "absent.csv")
    with pytest.raises(UserError, match=r"no class 'Back 2 PIK'\. Did you mean 'Back 2 PIKE'"):
        attributes.fold(CONFUSION, ["Back 2 PIK", *CLASSES[1:]], attributes.read(table))


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "dives"
    path.mkdir(parents=True)
    metrics: dict[str, Any] = {"model": "ctn", "dataset": "diving48", "fold": 1, "classes": CLASSES}
    (path / "metrics.json").write_text(json.dumps({**metrics, "test": {"top1": 23 / 32, "confusion": CONFUSION}}))
    return path


def test_the_command_writes_a_page_and_the_numbers(run: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["attributes", "--run", str(run), "--table", str(table)]) == 0
    said = capsys.readouterr().out
    assert "takeoff: 75.0 % (always the most frequent value: 53.1 %)" in said
    numbers = json.loads((run / "attributes" / "attributes.json").read_text())
    assert numbers["attributes"]["takeoff"]["confusion"] == [[10, 5], [3, 14]]
    assert numbers["wrong"] == [23, 0, 9, 0]
    page = (run / "attributes" / "attributes.html").read_text()
    assert "75.0&nbsp;%" in page and "71.9&nbsp;%" in page
    assert page.count('"type":"heatmap"') == 3


def test_mistakes_of_the_command(run: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["attributes", "--run", str(run / "absent"), "--table", str(table)]) == 1
    assert "finish the run" in capsys.readouterr().err
    (run / "metrics.json").write_text(json.dumps({"folds": [1, 2], "summary": {}}))
    assert cli.main(["attributes", "--run", str(run), "--table", str(table)]) == 1
    assert "of several folds, name one" in capsys.readouterr().err
