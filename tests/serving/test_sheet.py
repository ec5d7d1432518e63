"""Answers in a file: written as they come, published whole, kept when the work is interrupted, where they may go."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from keras_actrec.errors import UserError
from keras_actrec.serving import ending, targets
from keras_actrec.serving.sheet import Sheet


def sheet_of(path: Path | None, told: list[str] | None = None) -> Sheet:
    return Sheet(None if path is None else str(path), ["head"], [].append if told is None else told.append)


def test_lines_are_told_or_written_as_they_come_and_published_at_the_end(tmp_path: Path) -> None:
    told: list[str] = []
    sheet = sheet_of(None, told)
    with sheet.opened():
        sheet.add(["a", "b"])
        assert told == ["head", "a", "b"]
    target = tmp_path / "answers.csv"
    sheet = sheet_of(target)
    with sheet.opened():
        sheet.add(["a", "b"])
        (temporary,) = tmp_path.iterdir()
        assert temporary.read_text() == "head\na\nb\n", "what a kill would leave"
        assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]
    assert (target.read_text(), sheet.answers) == ("head\na\nb\n", 1)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, UserError("no number")])
def test_interrupted_work_leaves_its_answers_and_none_leaves_the_older_file(tmp_path: Path, failure: Any) -> None:
    target = tmp_path / "answers.csv"
    target.write_text("older")
    sheet = sheet_of(target)
    with pytest.raises((KeyboardInterrupt, UserError)), sheet.opened():
        raise failure
    assert target.read_text() == "older"
    with pytest.raises((KeyboardInterrupt, UserError)), sheet.opened():
        sheet.add(["a"])
        raise failure
    assert target.read_text() == "head\na\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self._file, self._left = file, 12

        def write(self, data: bytes) -> int:
            if not self._left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = self._file.write(data[: self._left])
            self._left -= written
            return written

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

    monkeypatch.setattr(Path, "open", lambda path, *mode, **more: Full(opened(path, *mode, **more)))
    sheet = sheet_of(tmp_path / "answers.csv")
    with pytest.raises(OSError, match="No space left"), sheet.opened():
        sheet.add(["first"])
        sheet.add(["second"])
    assert (tmp_path / "answers.csv").read_text() == "head\nfirst\n"


def test_sigterm_is_an_interrupt_for_a_while() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ending.as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_places_that_cannot_be_written_to_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    targets.check_file(tmp_path / "deep" / "below" / "new.csv", "--out")
    targets.check_file(tmp_path / "file", "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for target, said in {
        tmp_path: f"--out {tmp_path}: expected the name of a file, that is a folder",
        Path("/dev/null"): "--out /dev/null: expected the name of a file, that is a device",
        tmp_path / "file" / "new.csv": "cannot write there .Not a directory.; name another place",
    }.items():
        with pytest.raises(UserError, match=said):
            targets.check_file(target, "--out")
    targets.check_folder(tmp_path / "kept" / "here", "--keep")
    assert (tmp_path / "kept" / "here").is_dir()
    with pytest.raises(UserError, match=r"--keep .*: expected a folder, that is a file"):
        targets.check_folder(tmp_path / "file", "--keep")

    def forbid(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(targets.tempfile, "TemporaryFile", forbid)
    with pytest.raises(UserError, match=r"--out .*new.csv: cannot write there .Permission denied.; name another"):
        targets.check_file(tmp_path / "new.csv", "--out")
    with pytest.raises(UserError, match=r"--keep .*: cannot write there .Permission denied."):
        targets.check_folder(tmp_path, "--keep")
