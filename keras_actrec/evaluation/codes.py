"""The codes of clips: what a network's classifier sees of each view of each clip, and what the network says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError
from keras_actrec.evaluation.predict import MAX_CLIPS_PER_PASS, EvaluationLoader, Forward, batches, softmax

UNKNOWN = -1
_CODE, _LOGITS = "code", "logits"


@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
    """Codes and logits of the clips that could be read; N clips, V views (clips x crops) of each.

    Attributes:
        values: float32 (N, V, D), what the layer "logits" takes; D = 0 where the network has no code.
        logits: float32 (N, V, K).
        indices: int64 (N,), positions in the list of clips that was asked for, rising.
        labels: int64 (N,), classes; -1 for a clip of an unknown class or without a label.
        names: the clips' labels as the manifest has them, "" without one.
    """

    values: np.ndarray
    logits: np.ndarray
    indices: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] = ()

    def mean(self) -> np.ndarray:
        """Return one code per clip, float32 (N, D): the mean over its views."""
        return self.values.mean(axis=1, dtype=np.float64).astype(np.float32)

    def probabilities(self) -> np.ndarray:
        """Return float64 (N, K): the mean of each view's softmax, as evaluation takes it."""
        return softmax(self.logits).mean(axis=1)


def encode(
    network: Any,
    loader: EvaluationLoader,
    *,
    codes_needed: bool = True,
    max_clips_per_pass: int = MAX_CLIPS_PER_PASS,
    progress: Callable[[int, int], None] | None = None,
) -> Codes:
    """Run a network over `loader.evaluation_dataset()` and return codes and logits of every view, in one pass.

    Args:
        network: Keras model that gives logits (B, K); or {"logits": (B, K), "code": (B, D)}, which is traced once for
            all calls.
        loader: gives the clips; a clip of a class that the network does not know is welcome.
        codes_needed: refuse a network that classifies something else than one vector per clip; otherwise its codes are
            empty (D = 0).
        max_clips_per_pass: largest number of views in one forward pass.
        progress: called with (clips done, clips asked for) after each batch.

    Raises:
        UserError: the network has several heads, no code, other classes, or gives NaN or infinite numbers.
    """
    model, widths = with_codes(network, len(loader.classes), codes_needed)
    forward = Forward(model, max_clips_per_pass, widths)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in widths}
    found: list[np.ndarray] = [np.zeros(0, np.int64)]
    for inputs, indices in batches(loader):
        found.append(np.asarray(indices, np.int64))
        for name, part in forward.outputs(inputs).items():
            rows[name].append(part)
        if progress:
            progress(sum(map(len, found)), len(loader.clips))
    indices = np.concatenate(found)
    if len(np.unique(indices)) != len(indices):
        raise ValueError("the loader gave a clip twice; each clip must be encoded once")
    order = np.argsort(indices)
    joined = {name: _join(parts, widths[name])[order] for name, parts in rows.items()}
    logits = joined[_LOGITS]
    values = joined.get(_CODE, np.zeros((*logits.shape[:2], 0), np.float32))
    clips = [loader.clips[index] for index in indices[order]]
    return Codes(
        values, logits, indices[order], _labels(clips, loader.classes), tuple(clip.label or "" for clip in clips)
    )


def with_codes(network: Any, classes: int, needed: bool = True) -> tuple[Any, dict[str, int]]:
    """Return the network with its code as a second output, and the widths of {"logits": (B, K), "code": (B, D)}.

    A network that has these two outputs already, as one under training by a loss of codes, is returned itself.

    Args:
        network: as for `encode`.
        classes: number of classes, K.
        needed: whether to refuse a network without a code; it is returned with its logits alone otherwise.

    Raises:
        UserError: the network has several heads, or no code.
    """
    import keras

    from keras_actrec.models.codes import encoder_of

    given = network.output
    if isinstance(given, dict) and set(given) == {_LOGITS, _CODE}:
        return network, {_LOGITS: classes, _CODE: given[_CODE].shape[-1]}
    if isinstance(given, dict):
        raise UserError(
            f"'{network.name}' has the heads {', '.join(given)}; codes are compared by one label per clip, set "
            "data.targets: label."
        )
    outputs, widths = {_LOGITS: given}, {_LOGITS: classes}
    try:
        code = encoder_of(network).output
    except UserError:
        if needed:
            raise
    else:
        outputs[_CODE], widths[_CODE] = code, code.shape[-1]
    return keras.Model(network.input, outputs, name=f"{network.name}_codes"), widths


def _join(parts: Sequence[np.ndarray], width: int) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, 1, width), np.float32)


def _labels(clips: Sequence[Clip], classes: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(classes)}
    found = [UNKNOWN if clip.split == "unknown" else numbers.get(clip.label, UNKNOWN) for clip in clips]
    return np.array(found, np.int64)
