"""Copies of videos are told by their content, whatever they are called."""

from __future__ import annotations

from pathlib import Path

from keras_actrec.evaluation import video_copies


def test_originals(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    for folder in (root, other):
        folder.mkdir()
    for name, content in (("a", b"aaaa"), ("b", b"bbbb"), ("same as b", b"bbbb"), ("long", b"aaaaa"), ("empty", b"")):
        (root / name).write_bytes(content)
        (other / name).write_bytes(content)
    held = ["a", "b#0:1", "b#2:3", "long", "gone", str(other / "empty")]
    given = ["a", "b#5:6", "same as b", "missing", "empty", *(str(other / name) for name in ("a", "long"))]
    copies = video_copies.originals(held, given, root)
    assert copies == {"same as b": "b", str(other / "a"): "a", str(other / "long"): "long"}
    assert video_copies.originals([], [str(other / "b"), "b", "same as b", "a"], root) == {
        "b": str(other / "b"),
        "same as b": str(other / "b"),
    }
    assert video_copies.originals(held, [], root) == {}
