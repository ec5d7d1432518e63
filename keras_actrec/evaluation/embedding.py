"""What a network's features look like: the clips of a split as points of a plane (t-SNE), and who their neighbours are.

The features are what the classifier sees, the input of the layer "logits", as the thesis on video Transformers draws
them in Fig. 3.6 and 3.7. A plane shows only part of what is near to what, so a number goes with the picture: the share
of the nearest neighbours, in all dimensions, that are of a clip's own class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.evaluation.predict import (
    MAX_CLIPS_PER_PASS,
    EvaluationLoader,
    arrange,
    batches,
    prepare_for_inference,
)

CLASSIFIER = "logits"
NEIGHBOURS = 10
PERPLEXITY = 30.0
LEAST_CLIPS = 5
MOST_DIMENSIONS = 50
"""More than these are reduced by principal components before t-SNE, as its authors do."""


@dataclasses.dataclass(frozen=True)
class Features:
    """What the classifier sees of the clips that could be read.

    Attributes:
        values: float32 (N, D), the mean over a clip's views.
        labels: int64 (N,), classes.
        indices: int64 (N,), positions in the list of clips that was asked for, rising.
    """

    values: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def rows(self, chosen: np.ndarray) -> Features:
        """Return some of them."""
        return Features(self.values[chosen], self.labels[chosen], self.indices[chosen])


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """How much like their neighbours clips are.

    Attributes:
        share: mean over clips of the share of the k nearest neighbours that are of the clip's class.
        chance: the share that random neighbours would reach.
        per_class: the mean over the clips of each class, by its number.
        k: number of neighbours.
    """

    share: float
    chance: float
    per_class: Mapping[int, float]
    k: int


def extract(
    model: Any,
    loader: EvaluationLoader,
    *,
    max_clips_per_pass: int = MAX_CLIPS_PER_PASS,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Run a network up to its classifier over a split.

    Args:
        model: Keras model with a layer "logits"; of several heads, the features are those of the first.
        loader: gives the clips; all views of a clip are averaged.
        max_clips_per_pass: largest number of views in one forward pass.
        progress: called with (clips done, clips asked for) after each batch.

    Raises:
        UserError: the model has no such layer, or gives NaN or infinite numbers.
    """
    body = before_classifier(model)
    prepare_for_inference(body)
    positions = {name: number for number, name in enumerate(loader.classes)}
    values, indices = [], []
    for inputs, batch in batches(loader):
        values.append(_mean_over_views(body, inputs, max_clips_per_pass))
        indices.extend(np.asarray(batch).tolist())
        if progress:
            progress(len(indices), len(loader.clips))
    if not values:
        raise UserError("no clip of the split could be read, so there is nothing to draw.")
    found, order = np.concatenate(values), np.argsort(indices)
    if not np.isfinite(found).all():
        raise UserError("the network's features hold NaN or infinite numbers: its training diverged.")
    labels = np.array([positions[loader.clips[index].label] for index in indices], np.int64)
    return Features(found[order], labels[order], np.asarray(indices, np.int64)[order])


def before_classifier(model: Any) -> Any:
    """Return the network up to what its classifier sees: the same inputs -> features (B, D).

    Raises:
        UserError: there is no dense layer "logits" at its end.
    """
    import keras

    if CLASSIFIER not in [layer.name for layer in model.layers]:
        raise UserError(
            f"the network has no layer '{CLASSIFIER}', whose input would be drawn; every model here has one."
        )
    return keras.Model(model.inputs, model.get_layer(CLASSIFIER).input, name=f"{model.name}_features")


def choose(
    labels: np.ndarray,
    classes: Sequence[str],
    wanted: Sequence[str] | None,
    most_classes: int,
    most_clips: int,
    seed: int,
) -> np.ndarray:
    """Return which clips are drawn, rising.

    Args:
        labels: (N,), numbers of classes.
        classes: their names.
        wanted: names of the classes to draw; None: all of them, or as many as `most_classes`, drawn at random.
        most_classes: see `wanted`.
        most_clips: clips drawn at random when there are more.
        seed: of both draws.

    Raises:
        UserError: no such class, or too few clips.
    """
    rng = np.random.default_rng(seed)
    numbers = _class_numbers(labels, classes, wanted, most_classes, rng)
    found = np.flatnonzero(np.isin(labels, numbers))
    if len(found) > most_clips:
        found = np.sort(rng.choice(found, most_clips, replace=False))
    if len(found) < LEAST_CLIPS:
        raise UserError(f"expected at least {LEAST_CLIPS} clips to draw, got {len(found)}; name more classes or clips.")
    return found


def neighbourhood(values: np.ndarray, labels: np.ndarray, k: int = NEIGHBOURS) -> Neighbourhood:
    """Look at the k nearest other clips of each, by Euclidean distance.

    Args:
        values: (N, D).
        labels: (N,).
        k: at most N - 1 are taken.
    """
    k = min(k, len(values) - 1)
    same = np.concatenate([labels[near] == labels[rows, None] for rows, near in _nearest(values, k)]).mean(axis=1)
    sizes = {int(label): int((labels == label).sum()) for label in np.unique(labels)}
    chance = sum(size * (size - 1) for size in sizes.values()) / (len(labels) * (len(labels) - 1))
    per_class = {label: float(same[labels == label].mean()) for label in sizes}
    return Neighbourhood(float(same.mean()), chance, per_class, k)


def to_plane(values: np.ndarray, seed: int, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Lay features out in a plane by t-SNE (van der Maaten and Hinton 2008): (N, D) -> float32 (N, 2).

    Args:
        values: at least five rows.
        seed: of the layout.
        perplexity: about how many neighbours a clip looks at; at most a third of the others are taken.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError:
        raise UserError("the picture is laid out by scikit-learn: pip install scikit-learn") from None
    values = np.asarray(values, np.float64)
    if values.shape[1] > MOST_DIMENSIONS < len(values):
        values = PCA(MOST_DIMENSIONS, svd_solver="full").fit_transform(values)
    start = "pca" if values.shape[1] > 1 and values.std() > 0 else "random"
    layout = TSNE(2, perplexity=min(perplexity, (len(values) - 1) / 3), init=start, random_state=seed)
    return layout.fit_transform(values).astype(np.float32)


def _mean_over_views(body: Any, inputs: Mapping[str, Any], most: int) -> np.ndarray:
    """Map {name: (B, V, T, H, W, C)} to features (B, D)."""
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    videos, views = next(iter(arrays.values())).shape[:2]
    folded = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
    parts = [
        np.asarray(
            body.predict_on_batch(arrange(body, {name: rows[start : start + most] for name, rows in folded.items()})),
            np.float32,
        )
        for start in range(0, videos * views, most)
    ]
    return np.concatenate(parts).reshape(videos, views, -1).mean(axis=1)


def _class_numbers(
    labels: np.ndarray, classes: Sequence[str], wanted: Sequence[str] | None, most: int, rng: np.random.Generator
) -> np.ndarray:
    if wanted is None:
        present = np.unique(labels)
        return present if len(present) <= most else rng.choice(present, most, replace=False)
    for name in wanted:
        if name not in classes:
            raise UserError(f"the run knows no class '{name}'.{did_you_mean(name, classes)}")
    return np.array([list(classes).index(name) for name in wanted])


def _nearest(values: np.ndarray, k: int, rows_at_once: int = 512) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield clips and, for each of them, its k nearest others, a part of all pairs at a time."""
    values = np.asarray(values, np.float64)
    squares = (values**2).sum(axis=1)
    for start in range(0, len(values), rows_at_once):
        rows = np.arange(start, min(start + rows_at_once, len(values)))
        distances = squares[rows, None] + squares - 2 * values[rows] @ values.T
        distances[np.arange(len(rows)), rows] = np.inf
        yield rows, np.argsort(distances, axis=1, kind="stable")[:, :k]
