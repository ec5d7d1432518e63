"""What a run writes down of the clips that its first weights have learnt from, also when it is resumed."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keras_actrec.config import parse_config
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.evaluation import provenance
from keras_actrec.training import fold, joint
from keras_actrec.training.run_directory import RunDirectory


def manifest_of(root: Path, name: str, **clips: str) -> Manifest:
    """Return a data set of the clips <name>.mp4, each with its split."""
    rows = [Clip(f"{clip}.mp4", "xy"[index % 2], split) for index, (clip, split) in enumerate(clips.items())]
    return Manifest.from_clips(name, root, 1, rows, ("x", "y"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "abcdef":
        (tmp_path / f"{name}.mp4").write_bytes(name.encode() * 100)
    return tmp_path


@pytest.fixture
def parent(root: Path) -> Path:
    """A run that has learnt from a.mp4."""
    folder = root / "parent"
    folder.mkdir()
    record = provenance.record(manifest_of(root, "first", a="train", b="validation"))
    provenance.write(folder / provenance.FILE_NAME, record)
    return folder


def started_from(parent: Path, manifest: Manifest) -> RunDirectory:
    config = parse_config({"output": str(parent.parent / "runs"), "training": {"init_from": str(parent)}})
    return RunDirectory.create(config, manifest)


def known_of(run: RunDirectory, manifest: Manifest) -> dict[str, int]:
    """Return how many test clips the guard knows, by the split that they were learnt in."""
    record = provenance.read(run.path / provenance.FILE_NAME)
    return dict(provenance.find(record, manifest, manifest.split("test")).learnt)


@pytest.mark.parametrize("gone", ["folder", "file", "nothing"])
def test_a_resumed_run_knows_what_its_first_weights_learnt(root: Path, parent: Path, gone: str) -> None:
    manifest = manifest_of(root, "second", c="train", d="validation", a="test")
    with started_from(parent, manifest) as run:
        fold.record_provenance(run, manifest, fold.starting_from(run))
        assert known_of(run, manifest) == {"train": 1}
        if gone == "folder":
            shutil.rmtree(parent)
        elif gone == "file":
            (parent / provenance.FILE_NAME).unlink()
        first = (run.path / provenance.FILE_NAME).read_bytes()
        for _ in range(2):
            fold.record_provenance(run, manifest, fold.starting_from(run))
            assert (run.path / provenance.FILE_NAME).read_bytes() == first


def test_a_run_on_several_data_sets_keeps_each_ancestor_once(root: Path, parent: Path) -> None:
    manifests = [
        manifest_of(root, "second", c="train", d="validation", a="test"),
        manifest_of(root, "third", e="train", f="validation", a="test"),
    ]
    with started_from(parent, manifests[0]) as run:

        def part(manifest: Manifest) -> Any:
            child = run.child(manifest.name, run.config, manifest)
            return SimpleNamespace(name=manifest.name, directory=child, data=SimpleNamespace(manifest=manifest))

        parts = [part(manifest) for manifest in manifests]
        paths = [directory.path / provenance.FILE_NAME for directory in (run, *(one.directory for one in parts))]
        joint._record_provenance(run, parts)
        first = [path.read_bytes() for path in paths]
        shutil.rmtree(parent)
        for _ in range(2):
            joint._record_provenance(run, parts)
            assert [path.read_bytes() for path in paths] == first
        assert all(known_of(one.directory, one.data.manifest) == {"train": 1} for one in parts)
