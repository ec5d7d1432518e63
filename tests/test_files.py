"""Atomic publication."""

from pathlib import Path

import pytest

from keras_actrec import files


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "value.json"
    files.write_json(target, {"b": 1, "a": 2})

    def fail() -> None:
        with files.publish(target) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert files.read_json(target) == {"a": 2, "b": 1}
    assert [entry.name for entry in target.parent.iterdir()] == ["value.json"]


def test_equal_values_give_equal_bytes_and_the_hash_tells(tmp_path: Path) -> None:
    files.write_json(tmp_path / "one", {"b": 1, "a": 2})
    files.write_json(tmp_path / "two", {"a": 2, "b": 1})
    assert files.sha256(tmp_path / "one") == files.sha256(tmp_path / "two")


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "value.json", float("nan"))
    assert not (tmp_path / "value.json").exists()


def test_published_files_have_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    files.write_text(tmp_path / "published", "x")
    assert (tmp_path / "published").stat().st_mode == (tmp_path / "plain").stat().st_mode
