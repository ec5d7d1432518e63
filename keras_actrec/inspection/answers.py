"""What a run's network says of the clips of a split: probabilities of each view, and the features behind them.

They are kept in the run directory, under what they depend on, so that looking a second time needs no network.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec import files, tensor_file
from keras_actrec.config import RunConfig
from keras_actrec.data.manifest import Manifest
from keras_actrec.errors import UserError
from keras_actrec.evaluation import run_search

FOLDER = "inspection"
FEATURES = "features"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Answers:
    """What is known of the clips of a split that could be read.

    Attributes:
        indices: int64 (N,), positions in the split's list of clips.
        probabilities: float32 (N, K), mean over the views.
        views: float32 (N, V, K), of each clip and crop of a video; None for several heads.
        heads: of several heads: name -> float32 (N, Kh).
        features: float32 (N, D), what the classifier sees; None where the network has no layer "logits".
        contaminated: whether the network has learnt from clips of the split.
        unreadable: position -> reason.
    """

    indices: np.ndarray
    probabilities: np.ndarray
    views: np.ndarray | None
    heads: Mapping[str, np.ndarray]
    features: np.ndarray | None
    contaminated: bool
    unreadable: Mapping[int, str]


def of_split(directory: Path, config: RunConfig, manifest: Manifest, split: str, overrides: Sequence[str]) -> Answers:
    """Return a run's answers for a split, from the run directory or from its network.

    Raises:
        UserError: the run has no trained network, or the split no clips.
    """
    path = directory / FOLDER / f"answers-{split}.safetensors"
    key = _key(directory, config, manifest)
    with contextlib.suppress(tensor_file.DamagedFileError):
        arrays, notes = tensor_file.load(path)
        if notes["key"] == key:
            return _unpack(arrays, notes)
    answers = _ask(str(directory), split, overrides)
    try:
        tensor_file.save(path, *_pack(answers, key))
    except OSError as error:  # a run of somebody else's, or on a disk that is read-only, can be looked at, too
        print(f"note: the answers cannot be kept in {path.parent} ({error.strerror}); the next look predicts again.")
    return answers


def _key(directory: Path, config: RunConfig, manifest: Manifest) -> dict[str, Any]:
    """Return all that the answers depend on."""
    model = directory / "model.keras"
    if not model.is_file():
        run_search.check_one_network(directory)
        raise UserError(
            f"{directory} holds no trained model (model.keras); train first, or inspect its data: --config."
        )
    data = config.data.model_dump(mode="json", exclude={"workers", "augmentation"})
    evaluation = config.evaluation.model_dump(mode="json", include={"clips", "crops"})
    facts = {"format": _FORMAT, "model": files.sha256(model), "manifest": manifest.hash}
    return {**facts, "data": data, "evaluation": evaluation}


def _ask(path: str, split: str, overrides: Sequence[str]) -> Answers:
    from keras_actrec.training import evaluate
    from keras_actrec.training.progress import Progress

    opened = evaluate.open_finished(path, split, overrides, allow_contaminated=True)
    loader = opened.data.evaluation(split)
    with Progress(f"predicting {split}", unit="clips") as progress:
        found, indices = _outputs(opened.network, loader, progress)
    order = np.argsort(indices)
    found = {name: rows[order] for name, rows in found.items()}
    features = found.pop(FEATURES, None)
    unreadable = _unreadable(opened.data.quarantine, loader.clips, set(indices.tolist()))
    heads = {target.name: found[target.name].mean(axis=1) for target in loader.targets}
    views = None if heads else next(iter(found.values()))
    mean = views.mean(axis=1) if views is not None else _composed(heads, loader.targets)
    return Answers(indices[order], mean, views, heads, features, bool(opened.contamination), unreadable)


def _outputs(network: Any, loader: Any, progress: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the probabilities (N, V, width) by head, the features (N, D), and the clips they belong to."""
    from keras_actrec.evaluation.predict import LABEL, MAX_CLIPS_PER_PASS, Forward, batches, softmax

    widths = {target.name: len(target.classes) for target in loader.targets} or {LABEL: len(loader.classes)}
    model, dimensions = _with_features(network, widths)
    widths |= {FEATURES: dimensions} if dimensions else {}
    forward = Forward(model, MAX_CLIPS_PER_PASS, widths)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in widths}
    indices: list[int] = []
    for inputs, batch in batches(loader):
        indices.extend(np.asarray(batch).tolist())
        for name, values in forward.outputs(inputs).items():
            rows[name].append(values.mean(axis=1) if name == FEATURES else softmax(values).astype(np.float32))
        progress(len(indices), len(loader.clips))
    if not indices:
        raise UserError("no clip of the split could be read, so there is nothing to predict.")
    return {name: np.concatenate(parts) for name, parts in rows.items()}, np.asarray(indices, np.int64)


def _with_features(network: Any, widths: Mapping[str, int]) -> tuple[Any, int]:
    """Return a network that tells its features as well, and their number; as it is and 0 where it has none."""
    import keras

    from keras_actrec.evaluation import embedding

    try:
        body = embedding.before_classifier(network)
    except UserError:
        return network, 0
    outputs = network.output if isinstance(network.output, Mapping) else {next(iter(widths)): network.output}
    both = keras.Model(network.inputs, {**outputs, FEATURES: body.output})
    return both, int(body.output.shape[-1])


def _composed(heads: Mapping[str, np.ndarray], targets: Sequence[Any]) -> np.ndarray:
    from keras_actrec.evaluation import composed

    parts = [heads[target.name] for target in targets]
    return composed.of_known_classes(parts, [target.of_class for target in targets])


def _unreadable(quarantine: Any, clips: Sequence[Any], read: set[int]) -> dict[int, str]:
    reasons = {
        (entry.path, entry.start_sec, entry.end_sec, entry.start_frame, entry.end_frame): entry.reason
        for entry in quarantine.entries
    }
    keys = ((clip.path, clip.start_sec, clip.end_sec, clip.start_frame, clip.end_frame) for clip in clips)
    return {index: reasons[key] for index, key in enumerate(keys) if index not in read and key in reasons}


def _pack(answers: Answers, key: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {"indices": answers.indices, "probabilities": answers.probabilities}
    arrays |= {name: value for name in ("views", FEATURES) if (value := getattr(answers, name)) is not None}
    arrays |= {f"head {name}": value for name, value in answers.heads.items()}
    notes = {
        "key": key,
        "contaminated": answers.contaminated,
        "unreadable": {str(index): reason for index, reason in answers.unreadable.items()},
    }
    return arrays, notes


def _unpack(arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> Answers:
    return Answers(
        arrays["indices"],
        arrays["probabilities"],
        arrays.get("views"),
        {name.removeprefix("head "): value for name, value in arrays.items() if name.startswith("head ")},
        arrays.get(FEATURES),
        notes["contaminated"],
        {int(index): reason for index, reason in notes["unreadable"].items()},
    )
