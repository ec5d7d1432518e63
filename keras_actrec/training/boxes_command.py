"""The command `boxes`: person boxes by the YOLOv8 detector, made beforehand. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_actrec.errors import UnreadableVideoError, UserError

if TYPE_CHECKING:
    import numpy as np

    from keras_actrec.data.manifest import Manifest

MOST_NAMED = 5
"""Unreadable videos that are named."""


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Find the person in every frame with YOLOv8 and write box files, which MS3D's tailor strategy cuts clips by.

    They lie in ROOT/boxes-yolov8, and a training run with data.tailor.boxes: yolov8 takes them. Files that are there
    are kept, so the command goes on where it was interrupted. Where the manifest has box files of its own, the mean
    overlap with them (intersection over union) is printed.

    Example: python -m keras_actrec boxes --config configs/folder.yaml --weights yolo_v8_m_pascalvoc data.root=VIDEOS
    """
    parser.add_argument("--config", required=True, metavar="FILE", help="run configuration (YAML)")
    parser.add_argument(
        "--weights", metavar="W", help="preset folder of the detector, or a preset's name; default: data.tailor.weights"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, such as data.root=PATH")


def run(options: argparse.Namespace) -> None:
    """Make the box files as the options say, and print what they hold."""
    from keras_actrec.config import TailorConfig, load_config
    from keras_actrec.data import person_boxes
    from keras_actrec.training import datasets
    from keras_actrec.training.progress import Progress

    config = load_config(options.config, options.overrides)
    given = config.data.tailor or TailorConfig()
    weights = options.weights or given.weights
    if weights is None:
        raise UserError(
            "boxes wants the detector's weights: --weights (or data.tailor.weights) and its preset folder, or the name "
            "of a preset that KerasCV downloads, such as yolo_v8_m_pascalvoc."
        )
    manifest = datasets.load(config)
    source = datasets.videos(config.data, manifest)
    with Progress("finding people", unit="videos") as progress:
        unreadable = person_boxes.make(manifest.root, manifest.clips, weights, source, progress)
    print("\n".join(summary(manifest, unreadable)))
    print(f"boxes: {manifest.root / person_boxes.FOLDER}")


def summary(manifest: Manifest, unreadable: dict[str, str]) -> list[str]:
    """Return what the detector's box files of a manifest hold, in sentences.

    Args:
        manifest: as it was read, with its own box files.
        unreadable: box file that was not made -> reason.
    """
    import numpy as np

    from keras_actrec.data import boxes, person_boxes

    clips = {person_boxes.file_of(clip): clip for clip in manifest.clips}
    made = {file: boxes.read(manifest.root / file) for file in clips if file not in unreadable}
    rows = np.concatenate([np.zeros((0, 4)), *made.values()])
    seen = ~np.isnan(rows).any(axis=1)
    lines = [f"{len(made)} of {len(clips)} videos have boxes"]
    if len(rows):
        lines.append(f"a person is seen in {100 * seen.mean():.1f} % of {len(rows)} frames")
    named = [f"{clips[file].path}: {reason}" for file, reason in unreadable.items()]
    lines += [f"cannot be read: {text}" for text in named[:MOST_NAMED]]
    if len(named) > MOST_NAMED:
        lines.append(f"and {len(named) - MOST_NAMED} more cannot be read")
    own = {file: clips[file].boxes for file in made if clips[file].boxes}
    values = _overlaps(manifest, [(made[file], path) for file, path in own.items()])
    if len(values):
        lines.append(
            f"mean overlap with the manifest's boxes (intersection over union): {values.mean():.3f} over {len(values)} "
            "frames; where nobody was found it is 0"
        )
    return lines


def _overlaps(manifest: Manifest, pairs: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
    """Return the overlap in each frame in which a box of the manifest's shows a person: float64 (N,)."""
    import numpy as np

    from keras_actrec.data import boxes
    from keras_actrec.data.person_detector import overlaps

    parts = [np.zeros(0)]
    for found, path in pairs:
        try:
            true = boxes.read(manifest.root / path, len(found))
        except UnreadableVideoError:
            continue  # a clip without a true box has nothing to compare with; training names it
        shown = ~np.isnan(true).any(axis=1)
        parts.append(overlaps(np.nan_to_num(found[shown]), true[shown]))
    return np.concatenate(parts)
