"""The model card of an export: one document of facts (`export.json`), and a page for people made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from keras_actrec import files
from keras_actrec.data.views import View
from keras_actrec.serving.export_compare import counted, lost
from keras_actrec.serving.export_run import ExportRun, clip_shape, output_names

FACTS = "export.json"
PAGE = "MODEL_CARD.md"
NO_LICENCE = (
    "Not stated. The package's licence (Apache-2.0) covers its code, not these weights: what may be done with them "
    "depends on the training videos and on the weights that training began with."
)
FRAMES = {
    "uniform": "frame floor((t + 1/2) N / T)",
    "random_run": "the run of every {stride}-th frame in the middle of the video, the last frame repeated where it is "
    "too short",
    "several_runs": "{runs} runs of every {stride}-th frame, each in the middle of its part of the video",
    "shadow": "frame {stride} t",
    "step": "frame t floor(N / T)",
    "dense": "the run of every {stride}-th frame in the middle of the video, the stride narrowed where it is too short",
    "variance_rate": "the frames at the quantiles (t + 1/2) / T of the movement (keras_actrec.data.motion)",
}
"""Selection of a view -> which of a video's N frames is frame t of T."""
FITS = {
    "crop": "scale the shorter side to {size}, cut the central square (of an odd rest, the larger half goes first)",
    "squash": "scale to {size} x {size}, whatever the aspect ratio",
    "pad": "scale the longer side to {size}, add black borders",
}
RESIZING = "area averaging where it shrinks (OpenCV's INTER_AREA), bilinear where it grows"


def document(run: ExportRun, export: Mapping[str, Any], licence: str | None) -> dict[str, Any]:
    """Return the facts about an export.

    Args:
        run: what was exported.
        export: facts of the file: format, precision, model, sha256, comparison and so on.
        licence: of the weights; None: not stated.
    """
    metrics = _read(run, "metrics.json")
    return {
        **export,
        "inputs": [_input(view) for view in run.views],
        "outputs": [
            {"name": name, "head": head, "kind": kind, "shape": [None, len(classes)], "dtype": "float32"}
            for head, classes in run.heads.items()
            for kind, name in zip(("logits", "probabilities"), output_names(run.heads, head), strict=True)
        ],
        "classes": {head: list(classes) for head, classes in run.heads.items()},
        "run": _run(run),
        "training_data": _training_data(run),
        "metrics": _metrics(metrics),
        "limits": list(_limits(run, export, metrics)),
        "licence": licence or NO_LICENCE,
    }


def page(facts: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    sections = {
        f"{facts['run']['architecture']} as {facts['format']}, {facts['precision']}": _what(facts),
        "Input and output": _interface(facts),
        "Preprocessing": _preprocessing(facts),
        "Classes": [f"- {head}: {', '.join(classes)}" for head, classes in facts["classes"].items()],
        "Training data": _data(facts["training_data"]),
        "Metrics of the original": _measured(facts["metrics"]),
        "Compared with the original": _compared(facts),
        "Limits": [f"- {limit}" for limit in facts["limits"]],
        "Licence of the weights": [facts["licence"]],
    }
    parts = []
    for number, (title, lines) in enumerate(sections.items()):
        parts.append("\n".join([f"{'#' if number == 0 else '##'} {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _input(view: View) -> dict[str, Any]:
    facts = {
        field.name: getattr(view, field.name)
        for field in dataclasses.fields(view)
        if field.name in {"name", "modality", "frames", "selection", "stride", "runs", "size", "fit", "order", "camera"}
    }
    return {
        **facts,
        "dtype": "uint8",
        "shape": [None, *clip_shape(view)],
        "axes": "batch, time, height, width, channels",
        "channels": "grey depth" if view.modality == "depth" else "RGB",
        "normalization_inside": view.normalization,
        "cut_towards_person": view.tailor is not None,
    }


def _run(run: ExportRun) -> dict[str, Any]:
    return {
        "name": run.config.name,
        "directory": run.path.name,
        "architecture": run.config.model.name,
        "options": run.config.model.model_dump(mode="json"),
        "seed": run.config.seed,
        "parameters": run.model.count_params(),
        "trained_in": run.trained_in,
    }


def _training_data(run: ExportRun) -> dict[str, Any]:
    counts = {split: sum(labels.values()) for split, labels in run.manifest.counts().items()}
    return {
        "dataset": run.manifest.name,
        "fold": run.manifest.fold,
        "manifest_hash": run.manifest.hash,
        "clips": counts,
        "started_from": run.config.training.init_from or run.config.model.options.get("weights", "as the architecture"),
    }


def _read(run: ExportRun, name: str) -> dict[str, Any]:
    path = run.path / name
    return files.read_json(path) if path.is_file() else {}


def _metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("top1", "top5", "mean_class", "coverage", "evaluated", "expected", "clips", "crops", "ece")
    found = {
        split: {name: value for name, value in metrics[split].items() if name in kept}
        for split in ("test", "validation")
        if metrics.get(split)
    }
    return {**found, "contaminated": bool(metrics.get("contaminated"))} if found else {}


def _limits(run: ExportRun, export: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "The probabilities of each clip sum to 1 over the classes above: a video of anything else gets one of these "
        "classes, too."
    )
    yield "One clip of a video is taken; a long video wants several, and their probabilities averaged."
    if run.manifest.name == "stick-actions":
        yield "Trained on rendered stick figures (stick-actions): it says nothing about videos of people."
    if metrics.get("contaminated"):
        yield "Its test clips were partly learnt from (contaminated): the accuracy is too high for new videos."
    if any(view.tailor for view in run.views):
        yield "Its clips are cut towards a person box; the export takes clips that have been cut already."
    if any(view.modality == "depth" for view in run.views):
        near, far = run.config.data.depth_range_mm
        yield f"Depth of {near:g} to {far:g} mm must come as grey 255 to 1, 0 where nothing was measured."
    if (run.path / "repository.safetensors").is_file():
        yield "The run's repository of codes is not in the export: actions added to it are not recognised."
    if run.trained_in != "float32":
        yield f"Trained in {run.trained_in}; the export computes in float32, and was compared with that."
    yield from export.get("notes", ())


def _what(facts: Mapping[str, Any]) -> list[str]:
    run = facts["run"]
    lines = [
        f"Recognises actions in videos. The network of the run `{run['directory']}` ({run['parameters']:,} parameters, "
        f"seed {run['seed']}), exported by keras_actrec {facts['written_with']['keras_actrec']}.",
        "",
        f"- file: `{facts['model']}` ({facts['bytes'] / 1e6:.2f} MB), SHA-256 `{facts['sha256']}`",
        f"- runs in: {facts['runtime']}",
    ]
    if "opset" in facts:
        lines.append(f"- ONNX opset {facts['opset']}")
    return lines


def _interface(facts: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- input `{one['name']}`: uint8 {_shape(one['shape'])} ({one['axes']}), {one['channels']}, 0 to 255"
        for one in facts["inputs"]
    ]
    lines += [f"- output `{one['name']}`: float32 {_shape(one['shape'])}" for one in facts["outputs"]]
    return [*lines, "", "The number of clips in a batch is free. Normalisation and softmax are inside."]


def _shape(shape: list[int | None]) -> str:
    return f"({', '.join('B' if size is None else str(size) for size in shape)})"


def _preprocessing(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for one in facts["inputs"]:
        frames = FRAMES[one["selection"]].format(**one)
        lines += [
            f"- `{one['name']}`, {one['modality']}: T = {one['frames']} frames; of a video of N frames, "
            f"t = 0 ... T - 1 takes {frames}",
            f"  - order of the frames: {one['order']}",
            "  - frames as a player shows them: in order of display, turned as the file's metadata say",
            f"  - size: {FITS[one['fit']].format(**one)}; {RESIZING}",
            f"  - normalisation ({one['normalization_inside']}) is inside the export: give plain bytes",
        ]
        if one["camera"]:
            lines.append(f"  - taken from camera {one['camera']} of the recording, counted from 0")
    return lines


def _data(data: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {split}" for split, count in data["clips"].items())
    return [
        f"- data set: {data['dataset']}, fold {data['fold']}: {counts} clips",
        f"- manifest hash: `{data['manifest_hash']}`",
        f"- initial weights: {data['started_from']}",
    ]


def _measured(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics:
        return ["Not known: the run holds no metrics.json."]
    lines = []
    for split in ("test", "validation"):
        row = metrics.get(split)
        if row:
            views = f", {row['clips']} x {row['crops']} clips x crops a video" if "clips" in row else ""
            lines.append(
                f"- {split}: top-1 {_percent(row.get('top1'))}, top-5 {_percent(row.get('top5'))}, coverage "
                f"{_percent(row.get('coverage'))}{views}"
            )
    return lines


def _compared(facts: Mapping[str, Any]) -> list[str]:
    found = facts.get("comparison")
    if not found:
        return ["Not compared: whether this file gives the numbers of the original is not known."]
    unread = lost(found["unreadable"], found["split"])
    lines = [
        f"- {counted(found)} clips, run in {facts['runtime']}",
        *([f"- {unread}; the numbers are of the others"] if unread else []),
        f"- largest difference of a probability: {found['probability']:.2g} (allowed in float32: "
        f"{facts['tolerance']:g}), of a logit: {found['logit']:.2g}",
        f"- same class: {_percent(found['agreement'])} of the clips",
    ]
    for head, before in found["correct"]["original"].items():
        after = found["correct"]["export"][head]
        lines.append(
            f"- right ({head}): original {_percent(before)}, export {_percent(after)} "
            f"({100 * (after - before):+.1f} points)"
        )
    if facts["precision"] == "float32" and not facts["within_tolerance"]:
        lines.append("- NOT WITHIN THE TOLERANCE: this export does not give the numbers of the original")
    return lines


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.1f} %"
