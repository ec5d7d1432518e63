"""Predictions of a network over a split: several clips x crops per video, averaged as probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from keras_actrec.data.manifest import Clip
from keras_actrec.data.targets import Target
from keras_actrec.errors import UserError
from keras_actrec.evaluation import composed, metrics

MAX_CLIPS_PER_PASS = 32
LABEL = "label"
"""Name of the only head of a network that has one."""


class EvaluationLoader(Protocol):
    """The part of `data.pipeline.Loader` that evaluation uses."""

    clips: Sequence[Clip]
    classes: Sequence[str]

    def evaluation_dataset(self) -> Iterable[tuple[Mapping[str, Any], Any]]:
        """Batches of ({view name: float32 (B, V, T, H, W, C)}, int32 indices (B,)), V = clips x crops."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a network says of the clips that could be read.

    Attributes:
        probabilities: float32 (N, K), mean over V of each view's softmax; rows in the order of `indices`.
        labels: int64 (N,), the true classes.
        indices: int64 (N,), positions in the list of clips that was asked for, rising.
        expected: number of clips that was asked for; clips that could not be read make N smaller than this.
        heads: what each of several heads says of them; the rest is then about what they make together
            (`evaluation.composed`).
    """

    probabilities: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    expected: int
    heads: Mapping[str, Predictions] = dataclasses.field(default_factory=dict)

    def hits(self, k: int = 1) -> np.ndarray:
        """Return bool (N,): whether the truth is among the k most probable answers; of all heads together, if several.

        Of several heads all combinations of their classes are answers, also those that no clip shows.
        """
        if not self.heads:
            return metrics.hits(self.probabilities, self.labels, k)
        parts = tuple(self.heads.values())
        return composed.ranks([part.probabilities for part in parts], [part.labels for part in parts]) < k

    def accuracy(self, k: int = 1) -> float | None:
        """Return the share of clips that `hits`; None without clips."""
        return float(self.hits(k).mean()) if len(self.labels) else None

    @property
    def coverage(self) -> float:
        """Share of the clips asked for that were predicted; 1 when none was asked for."""
        return len(self.indices) / self.expected if self.expected else 1.0


def predict(
    model: Any,
    loader: EvaluationLoader,
    *,
    max_clips_per_pass: int = MAX_CLIPS_PER_PASS,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Run `model` over `loader.evaluation_dataset()` and average the probabilities of each video's views.

    The views are folded into the batch, and that is cut into equal passes, so memory stays bounded whatever the number
    of clips and crops. Passes are padded to one size, so the network is traced once.

    Args:
        model: Keras model that gives logits (B, K), or {name of a target: logits}, for (B, T, H, W, C).
        loader: gives the batches; its `clips` hold the labels, its `classes` their order in the network's output, its
            `targets`, if it has some, those of several heads.
        max_clips_per_pass: largest number of views (B x V) in one forward pass.
        progress: called with (videos done, videos asked for) after each batch.

    Raises:
        UserError: a clip's label is missing or not among the classes, or the network gives NaN or infinite numbers.
    """
    classes = {name: index for index, name in enumerate(loader.classes)}
    labels = _labels(loader.clips, classes)
    targets: tuple[Target, ...] = getattr(loader, "targets", ())
    widths = {target.name: len(target.classes) for target in targets} or {LABEL: len(classes)}
    forward = Forward(model, max_clips_per_pass, widths)
    rows = {name: [np.zeros((0, width), np.float32)] for name, width in widths.items()}
    found: list[np.ndarray] = [np.zeros(0, np.int64)]
    for inputs, indices in batches(loader):
        found.append(np.asarray(indices, np.int64))
        for name, logits in forward.outputs(inputs).items():
            rows[name].append(softmax(logits).mean(axis=1).astype(np.float32))
        if progress:
            progress(sum(map(len, found)), len(labels))
    indices = np.concatenate(found)
    if not targets:
        return _collect(np.concatenate(rows[LABEL]), indices, labels)
    heads = {
        target.name: _collect(np.concatenate(rows[target.name]), indices, target.numbers(loader.clips))
        for target in targets
    }
    return _compose(heads, targets, labels)


def _compose(heads: Mapping[str, Predictions], targets: Sequence[Target], labels: np.ndarray) -> Predictions:
    """Put the heads' answers together to those of the data set's classes."""
    parts = [heads[target.name].probabilities for target in targets]
    known = composed.of_known_classes(parts, [target.of_class for target in targets])
    first = next(iter(heads.values()))
    return Predictions(known, labels[first.indices], first.indices, first.expected, heads)


def batches(loader: EvaluationLoader) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Yield the batches; raise what stopped a loader's worker itself, not TensorFlow's quotation of it."""
    iterator = iter(loader.evaluation_dataset())
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            failure = getattr(loader, "failure", None)
            if isinstance(failure, Exception):
                raise failure from error
            raise
        yield batch


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return float64 probabilities (..., K) of logits (..., K)."""
    shifted = np.asarray(logits, np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def prepare_for_inference(model: Any) -> None:
    """Keep XLA away from an uncompiled model on TensorFlow, where Keras would choose it by itself.

    On a CPU, XLA compiles a DenseNet for minutes. JAX needs it, and PyTorch does not choose it.
    """
    import keras

    if keras.backend.backend() == "tensorflow" and not model.compiled:
        model.jit_compile = False


def arrange(model: Any, inputs: Mapping[str, np.ndarray]) -> Any:
    """Return the named arrays in the structure that `model` takes: one array, or a dictionary by input name."""
    names = [tensor.name for tensor in model.inputs]
    if len(names) == 1 and len(inputs) == 1:
        return next(iter(inputs.values()))
    missing = [name for name in names if name not in inputs]
    if missing:
        raise UserError(
            f"the model takes the inputs {', '.join(names)}, the data gives {', '.join(inputs)}; "
            f"add a view named '{missing[0]}' or evaluate with the configuration of its own run."
        )
    return inputs[names[0]] if len(names) == 1 else {name: inputs[name] for name in names}


@dataclasses.dataclass
class Forward:
    """Forward passes of one fixed size.

    Attributes:
        model: gives one output, called "label", or {name: output}; each (rows, width).
        max_clips: largest number of views in one pass.
        widths: what the model's outputs are called, and how wide each must be.
        size: rows of a pass; settled by the first batch.
    """

    model: Any
    max_clips: int
    widths: Mapping[str, int]
    size: int = 0

    def outputs(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Map a batch {name: (B, V, T, H, W, C)} to the model's outputs of each view, float32 (B, V, width).

        Raises:
            UserError: outputs of another width, or numbers that are NaN or infinite.
        """
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        leading = {array.shape[:2] for array in arrays.values()}
        if len(leading) != 1:
            raise UserError(f"all views must have equally many clips x crops; found (videos, views) {sorted(leading)}.")
        videos, views = leading.pop()
        if not videos:
            return {name: np.zeros((0, views, width), np.float32) for name, width in self.widths.items()}
        folded = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
        passes = list(self._passes(folded, videos * views))
        found = {}
        for name, width in self.widths.items():
            rows = np.concatenate([part[name] for part in passes]).astype(np.float32)
            _check_outputs(rows, width)
            found[name] = rows.reshape(videos, views, width)
        return found

    def _passes(self, folded: Mapping[str, np.ndarray], rows: int) -> Iterator[dict[str, np.ndarray]]:
        if not self.size:
            self.size = -(-rows // -(-rows // self.max_clips))
            prepare_for_inference(self.model)
        for start in range(0, rows, self.size):
            part = {name: array[start : start + self.size] for name, array in folded.items()}
            count = len(next(iter(part.values())))
            padded = {name: _pad(array, self.size) for name, array in part.items()}
            # Under MirroredStrategy each replica gets the whole batch and the results stand one after the other.
            outputs = self.model.predict_on_batch(arrange(self.model, padded))
            yield {name: np.asarray(logits)[:count] for name, logits in self._by_name(outputs).items()}

    def _by_name(self, outputs: Any) -> Mapping[str, Any]:
        named = outputs if isinstance(outputs, Mapping) else {LABEL: outputs}
        if set(named) != set(self.widths):
            raise UserError(
                f"the model tells {', '.join(named)}, the configuration asks for {', '.join(self.widths)}; evaluate it "
                "with the data.targets that it was trained with."
            )
        return named


def _pad(array: np.ndarray, rows: int) -> np.ndarray:
    """Repeat the last row: real numbers cannot upset a network as zeros might."""
    missing = rows - len(array)
    return array if not missing else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def _check_outputs(logits: np.ndarray, num_classes: int) -> None:
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise UserError(
            f"the model gives outputs of shape {logits.shape[1:]}, the data set has {num_classes} classes; "
            "evaluate it with the class map that it was trained with."
        )
    bad = int((~np.isfinite(logits)).any(axis=1).sum())
    if bad:
        raise UserError(
            f"the network gives NaN or infinite numbers for {bad} of {len(logits)} clips: its training diverged. "
            "Train again with a lower learning rate or with gradient clipping (training.optimizer.clip_norm)."
        )


def _labels(clips: Sequence[Clip], classes: Mapping[str, int]) -> np.ndarray:
    for clip in clips:
        if clip.label not in classes:
            what = f"has the label '{clip.label}'" if clip.label else "has no label"
            raise UserError(f"clip {clip.path} {what}; expected one of the model's {len(classes)} classes.")
    return np.array([classes[clip.label] for clip in clips], np.int64)


def _collect(probabilities: np.ndarray, indices: np.ndarray, labels: np.ndarray) -> Predictions:
    if len(np.unique(indices)) != len(indices):
        raise ValueError("the loader gave a clip twice; each clip must be evaluated once")
    order = np.argsort(indices)
    return Predictions(probabilities[order], labels[indices[order]], indices[order], len(labels))
