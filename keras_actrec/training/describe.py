"""`python -m keras_actrec datasets --describe`: look at all videos of a data set and write what they are like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.config import RunConfig
from keras_actrec.data import survey, survey_facts
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.source import VideoSource
from keras_actrec.data.survey_facts import Facts, Key
from keras_actrec.data.threads import default_workers
from keras_actrec.evaluation import survey_numbers, survey_page, survey_pictures
from keras_actrec.training import datasets
from keras_actrec.training.progress import Progress

PAGE, NUMBERS, CLIPS = "describe.html", "describe.json", "clips.json"


def describe(config: RunConfig, out: str | None = None) -> Path:
    """Write page and numbers of a configuration's data set, print a summary, and return the folder.

    Args:
        config: names the data set; the videos themselves are read, not a prepared cache of them.
        out: folder; default: OUTPUT/datasets/NAME. What it holds of an earlier survey is not measured again.
    """
    manifest = datasets.load(config)
    print(datasets.summary(manifest))
    folder = Path(out) if out else Path(config.output) / "datasets" / manifest.name
    workers = config.data.workers or default_workers()
    source = datasets.videos(config.data, manifest)
    found = measure(manifest, source, folder / CLIPS, workers)
    numbers = survey_numbers.build(manifest, found)
    files.write_json(folder / NUMBERS, numbers)
    with Progress("sample frames", unit="clips") as progress:
        pictures = survey_pictures.strips(manifest.clips, found, source, workers=workers, progress=progress)
    survey_page.write(folder / PAGE, numbers, pictures, str(manifest.root))
    print("\n".join(summary(numbers)))
    return folder


def measure(manifest: Manifest, source: VideoSource, path: Path, workers: int) -> dict[Key, Facts]:
    """Return the facts of all clips; they are kept at `path`, also when the work is interrupted."""
    known, found = survey_facts.load(path, survey.SETTINGS), {}
    try:
        with Progress("looking at videos", unit="clips") as progress:
            return survey.survey(manifest, source, known, workers=workers, progress=progress, found=found)
    finally:
        survey_facts.save(path, known | found, survey.SETTINGS)


def summary(numbers: dict[str, Any]) -> list[str]:
    """Return the main numbers as lines of text."""
    lines = [f"{numbers['readable']} of {numbers['clips']} clips can be read, {numbers['hours']:.2f} hours"]
    if numbers["seconds"]:
        lines += [_lengths(numbers), _kinds(numbers["sizes"], "frame sizes", "")]
        lines += [_kinds(numbers["rates"], "frame rates", " per second"), *_motion(numbers)]
    lines += [f"not readable: {entry['path']}: {entry['reason']}" for entry in numbers["unreadable"]]
    return lines


def _lengths(numbers: dict[str, Any]) -> str:
    seconds, frames = numbers["seconds"], numbers["frames"]
    return (
        f"lengths: {seconds['least']:.1f} to {seconds['most']:.1f} s, median {seconds['median']:.1f}; "
        f"{frames['least']:.0f} to {frames['most']:.0f} frames, median {frames['median']:.0f}"
    )


def _kinds(counted: dict[str, int], title: str, unit: str) -> str:
    first = [f"{name}{unit} ({count})" for name, count in list(counted.items())[:4]]
    more = f" and {len(counted) - 4} more" if len(counted) > 4 else ""
    return f"{title}: {', '.join(first)}{more}"


def _motion(numbers: dict[str, Any]) -> list[str]:
    moved = {name: row["motion"] for name, row in numbers["classes"].items() if row["motion"] is not None and name}
    if not moved:
        return []
    least, most = min(moved, key=moved.get), max(moved, key=moved.get)
    return [
        f"motion: least in {least} ({moved[least]:.1f} grey values per frame), most in {most} ({moved[most]:.1f}); "
        f"at most {numbers['motion_sample']['clips_per_class']} clips per class"
    ]
