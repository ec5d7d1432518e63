"""Real clips of a run's data as an export takes them: uint8, one deterministic clip of each video."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_actrec.data import assemble, person_boxes, prepared, remote
from keras_actrec.data.manifest import Clip
from keras_actrec.data.prepared_layout import read_receipt
from keras_actrec.data.source import FrameSource, VideoSource
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.serving.export_run import LABEL, ExportRun
from keras_actrec.training.progress import Progress

Inputs = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Clips:
    """Clips that could be read.

    Attributes:
        split: of the manifest that they are from.
        inputs: name of each input -> uint8 (N, T, H, W, C).
        labels: name of each head -> int64 (N,), -1 where a clip has no class.
        names: paths of the videos, below the data set's root.
        unreadable: paths of those that could not be read.
    """

    split: str
    inputs: Inputs
    labels: dict[str, np.ndarray]
    names: tuple[str, ...]
    unreadable: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, size: int) -> Iterator[Inputs]:
        """Yield the inputs of so many clips at a time, the last batch smaller."""
        for start in range(0, len(self), size):
            yield {name: value[start : start + size] for name, value in self.inputs.items()}


def read(run: ExportRun, split: str, count: int) -> Clips:
    """Read clips that are spread evenly over a split of the run's data.

    Clips that are cut towards people are cut by the boxes that training took; a detector's are made where missing.

    Args:
        run: whose data, and which frames of it.
        split: "train" or "test", or "validation".
        count: of clips; 0: all.

    Raises:
        UserError: the split has no clips, none of them can be read, or person boxes that cannot be had.
    """
    chosen = _spread(run.manifest.split(split), count)
    if not chosen:
        raise UserError(f"the run's data has no {split} clips to compare the export on.")
    chosen, source = _with_boxes(run, chosen), open_source(run)
    read_clips, rows, unreadable = [], [], []
    for clip in chosen:
        try:
            rows.append(_frames(run, source, clip))
            read_clips.append(clip)
        except UnreadableVideoError:
            unreadable.append(clip.path)
    if not rows:
        raise UserError(
            f"none of {len(chosen)} {split} clips of '{run.manifest.name}' can be read in {run.manifest.root} (such as "
            f"{unreadable[0]}); say with --root where the videos lie, or export without a comparison: --no-compare."
        )
    inputs = {view.name: np.stack(parts) for view, parts in zip(run.views, zip(*rows, strict=True), strict=True)}
    names = tuple(clip.path for clip in read_clips)
    return Clips(split, inputs, _labels(run, read_clips), names, tuple(unreadable))


def open_source(run: ExportRun) -> FrameSource:
    """Return what the run was trained on: its prepared cache where that is at hand, else the videos."""
    data = run.config.data
    if data.prepared is not None and read_receipt(remote.open_folder(data.prepared)) is not None:
        return prepared.PreparedSource(data.prepared, run.manifest.root)
    return VideoSource(Path(run.manifest.root), depth_range_mm=data.depth_range_mm)


def _spread(clips: tuple[Clip, ...], count: int) -> list[Clip]:
    wanted = min(count, len(clips)) if count else len(clips)
    return [clips[position * len(clips) // wanted] for position in range(wanted)]


def _with_boxes(run: ExportRun, clips: list[Clip]) -> list[Clip]:
    """Return the clips with the box files that the run wants; `manifest.lock` names the data set's own."""
    data = run.config.data
    if data.tailor is None:
        return clips
    videos = VideoSource(Path(run.manifest.root), depth_range_mm=data.depth_range_mm)
    chosen = dataclasses.replace(run.manifest, clips=tuple(clips))
    with Progress("detecting people", unit="clips") as progress:
        attached, _ = person_boxes.attach(chosen, data.tailor, videos, progress)
    return list(attached.clips)


def _frames(run: ExportRun, source: FrameSource, clip: Clip) -> list[np.ndarray]:
    """Return uint8 (T, H, W, C) for each view."""
    key = assemble.Key(run.config.seed, 0, 0)
    return [stack[0] for stack in assemble.assemble_evaluation(clip, run.views, source, key)]


def _labels(run: ExportRun, clips: list[Clip]) -> dict[str, np.ndarray]:
    if run.targets:
        return {target.name: target.numbers(clips) for target in run.targets}
    numbers = {name: number for number, name in enumerate(run.manifest.classes)}
    return {LABEL: np.array([numbers.get(clip.label, -1) for clip in clips], np.int64)}
