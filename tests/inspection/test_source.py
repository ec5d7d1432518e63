"""FiftyOne datasets as a source of training, and what the command says of mistakes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keras_actrec.config import DataConfig
from keras_actrec.data import collections
from keras_actrec.data.fiftyone_sets import connection, fields, source, writing
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.errors import UserError


def made(fiftyone: Any, name: str, root: Path) -> tuple[Any, Manifest]:
    clips = [Clip(f"{n}.mp4", "run" if n % 2 else "sit", ("train", "validation", "test")[n % 3]) for n in range(12)]
    manifest = Manifest.from_clips("mine", root, 1, clips)
    dataset = fiftyone.Dataset(name, persistent=True)
    dataset.media_type = "video"
    fields.declare(dataset, [1])
    dataset.info[fields.INFO] = writing.describe([manifest])
    dataset.save()
    dataset.add_samples([writing.sample(row, 1, str(root / row.clip.path)) for row in writing.rows([manifest])])
    return dataset, manifest


def data(name: str, **more: Any) -> DataConfig:
    return DataConfig(source="fiftyone", fiftyone={"dataset": name, **more})


@pytest.mark.integration
def test_a_process_of_its_own_reads_the_dataset(
    fiftyone: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(connection.URI, address)
    _, manifest = made(fiftyone, "for training", tmp_path)
    assert collections.load_manifest(data("for training"), seed=0) == manifest
    with pytest.raises(UserError, match=r"has no dataset 'for trainin'. Did you mean 'for training'"):
        collections.load_manifest(data("for trainin"), seed=0)


def test_the_reader_answers_in_this_process(fiftyone: Any, tmp_path: Path) -> None:
    dataset, manifest = made(fiftyone, "answered", tmp_path)
    wish = {"fold": 1, "root": "nowhere", "seed": 0, "test_fraction": 0.2, "validation_fraction": 0.2}
    fields_of_wish = {"label_field": None, "split_field": None, "group_field": None}
    found = source.answer({"dataset": "answered", "view": None, **wish, **fields_of_wish})
    assert Manifest.from_json(found["manifest"], found["root"]) == manifest
    assert found["folds"] == [1]
    dataset.save_view("tested", dataset.match_tags("test"))
    found = source.answer({"dataset": "answered", "view": "tested", **wish, **fields_of_wish})
    assert {clip["split"] for clip in found["manifest"]["clips"]} == {"test"}


def test_a_dataset_wants_a_name() -> None:
    with pytest.raises(UserError, match=r"set data.fiftyone.dataset"):
        collections.load_manifest(DataConfig(source="fiftyone"), seed=0)


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], DataConfig]:
    def write(text: str) -> DataConfig:
        (tmp_path / "clips.csv").write_text(text)
        return DataConfig(source="manifest", root=str(tmp_path), lists=str(tmp_path / "clips.csv"))

    return write


def test_a_table_without_splits_is_dealt_out_by_group(table: Callable[[str], DataConfig]) -> None:
    rows = [f"{n}.mp4,{'run' if n % 2 else 'sit'},person{n // 4}" for n in range(60)]
    manifest = collections.load_manifest(table("path,label,group\n" + "\n".join(rows)), seed=0)
    counts = {split: sum(found.values()) for split, found in manifest.counts().items()}
    assert counts == {"train": 40, "validation": 8, "test": 12}
    other = collections.load_manifest(table("path,label,group\n" + "\n".join(rows)), seed=7)
    assert other.hash != manifest.hash


def test_a_table_may_name_absolute_paths(table: Callable[[str], DataConfig], tmp_path: Path) -> None:
    from keras_actrec.data.source import VideoSource

    rows = [f"{tmp_path}/videos/{n}.mp4,{'run' if n % 2 else 'sit'}" for n in range(20)]
    manifest = collections.load_manifest(table("path,label\n" + "\n".join(rows)), seed=0)
    assert {clip.split for clip in manifest.clips} == {"train", "validation", "test"}
    with pytest.raises(UserError, match=f"{tmp_path}/videos/0.mp4: missing file"):
        VideoSource("/elsewhere").probe(dataclasses.replace(manifest.clips[0]))


def test_a_table_without_splits_has_one_fold(table: Callable[[str], DataConfig]) -> None:
    config = table("path,label\na.mp4,run\n").model_copy(update={"fold": 2})
    with pytest.raises(UserError, match=r"names no splits, so it has one fold; data.fold is 2"):
        collections.load_manifest(config, seed=0)
