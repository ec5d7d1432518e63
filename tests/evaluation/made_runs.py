"""Finished runs of made-up numbers, written by what writes real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_actrec import config as configuration
from keras_actrec import files
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.training.run_directory import RunDirectory


def manifest(test: tuple[str, ...] = ("t0", "t1"), train: tuple[str, ...] = ("a", "b")) -> Manifest:
    """Return clips of two classes, without files."""
    clips = [
        Clip(f"{name}.mp4", f"class_{number % 2}", split)
        for split, names in (("train", train), ("validation", ("v0", "v1")), ("test", test))
        for number, name in enumerate(names)
    ]
    return Manifest.from_clips("toy", Path("nowhere"), 1, clips)


def make(
    output: Path,
    name: str,
    seed: int,
    top1: float | None,
    *,
    clips: Manifest | None = None,
    ended: str | None = None,
    finish: bool = True,
    minutes: float | None = 2.0,
    metrics: dict[str, Any] | None = None,
    **sections: Any,
) -> Path:
    """Write a run.

    Args:
        output: folder of the run directory.
        name: of the run.
        seed: of the run.
        top1: test accuracy.
        clips: the manifest.
        ended: when, ISO 8601; default: now.
        finish: whether the run is marked as finished.
        minutes: of training; None: no timing.json.
        metrics: further entries of metrics.json.
        sections: of the configuration.
    """
    clips = clips or manifest()
    document = {"name": name, "seed": seed, "output": str(output), **sections}
    with RunDirectory.create(configuration.parse_config(document), clips) as run:
        top5 = None if top1 is None else min(1.0, top1 + 0.2)
        results = {"test": {"top1": top1, "top5": top5, "coverage": 1.0}, "validation": {"top1": top1}}
        files.write_json(run.metrics, {**results, "seed": seed, "manifest_hash": clips.hash, **(metrics or {})})
        if minutes is not None:
            run.add_timing(training_sec=60 * minutes)
        if finish:
            run.mark_finished()
        if finish and ended is not None:
            files.write_json(run.path / "finished.json", {"finished": ended})
    return run.path
