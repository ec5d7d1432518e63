"""From what is shown of the clips to a FiftyOne dataset: media, boxes, reasons, and what a run says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_actrec.data.fiftyone_sets import fields, writing
from keras_actrec.data.manifest import Manifest
from keras_actrec.inspection.answers import Answers
from keras_actrec.inspection.findings import Explained
from keras_actrec.inspection.shown import Shown

MEDIA, DEPTH, EXPLANATION = "shown", "depth_shown", "explanation"
REASON, PERSON = "reason", "person"
QUARANTINED, EXPLAINED, CONTAMINATED = "quarantined", "explained", "learnt from"
PREDICTION, TOP, VIEWS = "prediction", "top_answers", "view_predictions"
CORRECT, CONFIDENCE, RANK, TRUTH = "correct", "confidence", "rank_of_truth", "confidence_in_truth"
DUPLICATES = "near_duplicates"
MAP = "features"
"""Key of the visualisation that holds the map of the features."""
TOP_ANSWERS = 5
MOST_CLASSES_KEPT = 1000
"""Up to so many classes, all probabilities are kept with a prediction."""
_BATCH = 256


def create(fiftyone: Any, name: str, manifests: Sequence[Manifest]) -> Any:
    """Return a new, empty FiftyOne dataset for the clips of manifests; it goes with the database's last user."""
    dataset = fiftyone.Dataset(name)
    dataset.media_type = "video"
    fields.declare(dataset, sorted(manifest.fold for manifest in manifests))
    for field in (MEDIA, DEPTH, EXPLANATION, REASON):
        dataset.add_sample_field(field, fiftyone.StringField)
    dataset.add_frame_field(PERSON, fiftyone.EmbeddedDocumentField, embedded_doc_type=fiftyone.Detection)
    dataset.info[fields.INFO] = writing.describe(manifests)
    dataset.save()
    return dataset


def fill(dataset: Any, shown: Sequence[Shown], fold: int, progress: Any = None) -> None:
    """Add a sample for each clip, in order. All fields are declared: looking for new ones takes thrice as long."""
    for start in range(0, len(shown), _BATCH):
        part = shown[start : start + _BATCH]
        dataset.add_samples([_sample(one, fold) for one in part], expand_schema=False)
        if progress:
            progress(start + len(part), len(shown))


def _sample(one: Shown, fold: int) -> Any:
    import fiftyone as fo

    sample = writing.sample(one.row, fold, _filepath(one))
    medium = one.medium
    sample[MEDIA], sample[EXPLANATION] = str(medium.path), str(medium.path)
    sample[DEPTH] = str(one.depth or medium.path)
    sample[REASON] = one.reason or None
    sample.metadata = fo.VideoMetadata(
        frame_width=medium.width,
        frame_height=medium.height,
        frame_rate=medium.fps,
        total_frame_count=medium.frames,
        duration=medium.frames / medium.fps if medium.fps else None,
    )
    if one.reason:
        sample.tags.append(QUARANTINED)
    if one.boxes is not None:
        sample.frames.merge(_frames(one.boxes))
    return sample


def _filepath(one: Shown) -> str:
    """Return the original's path, where FiftyOne takes its name for a video's."""
    import fiftyone.core.media as kinds

    return str(one.original) if kinds.get_media_type(str(one.original)) == kinds.VIDEO else str(one.medium.path)


def _frames(boxes: np.ndarray) -> dict[int, Any]:
    """Return frame number, from 1 -> the person's box, as FiftyOne counts and measures."""
    import fiftyone as fo

    return {
        number: fo.Frame(**{PERSON: fo.Detection(label="person", bounding_box=_box(*row))})
        for number, row in enumerate(boxes.tolist(), start=1)
        if row[0] == row[0]  # not NaN: somebody is seen
    }


def _box(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right - left, bottom - top]


def add_answers(
    dataset: Any,
    ids: Sequence[str],
    labels: Sequence[str | None],
    answers: Answers,
    classes: Sequence[str],
    heads: Mapping[str, Sequence[str]],
) -> None:
    """Write what a run says of the clips of a split.

    Args:
        dataset: the FiftyOne dataset.
        ids: of the samples, in the order of the split's clips.
        labels: of the same clips.
        answers: of the run.
        classes: in the order of the network's outputs.
        heads: name of each of several heads -> its classes.
    """
    chosen = [ids[index] for index in answers.indices]
    truths = [labels[index] for index in answers.indices]
    for name, values in _columns(answers, truths, classes, heads).items():
        dataset.set_values(name, dict(zip(chosen, values, strict=True)), key_field="id", dynamic=True)
    if answers.contaminated:
        dataset.select(chosen).tag_samples(CONTAMINATED)


def _columns(
    answers: Answers, truths: Sequence[str | None], classes: Sequence[str], heads: Mapping[str, Sequence[str]]
) -> dict[str, list[Any]]:
    """Return field -> value for each clip that was predicted."""
    import fiftyone as fo

    shares = answers.probabilities
    order = np.argsort(-shares, axis=1, kind="stable")
    numbers = {name: number for number, name in enumerate(classes)}
    known = [numbers.get(truth) for truth in truths]
    columns: dict[str, list[Any]] = {
        PREDICTION: [_prediction(row, best[0], classes) for row, best in zip(shares, order, strict=True)],
        TOP: [_several(fo, row, best[:TOP_ANSWERS], classes) for row, best in zip(shares, order, strict=True)],
        CONFIDENCE: [float(row[best[0]]) for row, best in zip(shares, order, strict=True)],
        CORRECT: [None if truth is None else bool(best[0] == truth) for truth, best in zip(known, order, strict=True)],
        RANK: [
            None if truth is None else int((best == truth).argmax()) + 1
            for truth, best in zip(known, order, strict=True)
        ],
        TRUTH: [None if truth is None else float(row[truth]) for truth, row in zip(known, shares, strict=True)],
    }
    if answers.views is not None and answers.views.shape[1] > 1:
        columns[VIEWS] = [_several(fo, views, views.argmax(axis=1), classes, by_row=True) for views in answers.views]
    for name, values in answers.heads.items():
        columns[f"{PREDICTION}_{name}"] = [_prediction(row, int(row.argmax()), heads[name]) for row in values]
    return columns


def _prediction(row: np.ndarray, best: int, classes: Sequence[str]) -> Any:
    import fiftyone as fo

    kept = {"probabilities": row.round(6).tolist()} if len(row) <= MOST_CLASSES_KEPT else {}
    return fo.Classification(label=classes[best], confidence=float(row[best]), **kept)


def _several(fo: Any, shares: np.ndarray, best: Iterable[int], classes: Sequence[str], by_row: bool = False) -> Any:
    """Return answers with their confidence: of one view, or the first answer of each of several."""
    found = [
        fo.Classification(label=classes[number], confidence=float(shares[place, number] if by_row else shares[number]))
        for place, number in enumerate(best)
    ]
    return fo.Classifications(classifications=found)


def add_explanations(dataset: Any, explained: Mapping[str, Explained]) -> None:
    """Let the App show the overlays of clips that were explained, in place of their videos, where that is asked for."""
    if not explained:
        return
    by_path = dict(zip(*dataset.values([fields.COLUMNS["path"], "id"]), strict=True))
    found = {by_path[path]: one for path, one in explained.items() if path in by_path}
    for field, values in {
        EXPLANATION: {key: str(one.overlay) for key, one in found.items()},
        "explained_by": {key: one.method for key, one in found.items()},
        "explained_class": {key: one.label for key, one in found.items()},
    }.items():
        dataset.set_values(field, values, key_field="id")
    dataset.select(list(found)).tag_samples(EXPLAINED)


def add_duplicates(dataset: Any, groups: Mapping[str, int]) -> None:
    """Write the number of the group of near duplicates that a file belongs to."""
    if not groups:
        return
    paths, ids = dataset.values([fields.COLUMNS["path"], "id"])
    values = {key: groups[path] for path, key in zip(paths, ids, strict=True) if path in groups}
    dataset.set_values(DUPLICATES, values, key_field="id")


def add_map(dataset: Any, ids: Sequence[str], points: np.ndarray) -> None:
    """Keep points of the plane, float (N, 2), as a visualisation that the App's panel "Embeddings" draws."""
    import fiftyone.brain as brain

    brain.compute_visualization(
        dataset.select(list(ids), ordered=True),
        points=dict(zip(ids, np.asarray(points, np.float64), strict=True)),
        brain_key=MAP,
        method="manual",
        progress=False,
    )
