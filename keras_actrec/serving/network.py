"""One run's network, asked about frames as they come from videos: passes of a few fixed sizes that fit memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.evaluation import repository as repositories
from keras_actrec.evaluation.codes import with_codes
from keras_actrec.evaluation.predict import LABEL, Forward, softmax
from keras_actrec.evaluation.repository import Repository
from keras_actrec.evaluation.trained import Trained
from keras_actrec.serving import memory
from keras_actrec.serving.reading import Frames, Wish

MOST_CLIPS = 16
"""In one pass, unless asked for otherwise."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """What networks say of N windows.

    Attributes:
        probabilities: float64 (N, K), means over the clips of a window, and over the networks.
        distances: float64 (N, K), of the windows' codes to the centres of a repository; None without one.
    """

    probabilities: np.ndarray
    distances: np.ndarray | None = None

    def rows(self, start: int, stop: int) -> Scores:
        """Return the scores of some windows."""
        distances = None if self.distances is None else self.distances[start:stop]
        return Scores(self.probabilities[start:stop], distances)


def joined(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several lists of windows, one after the other."""
    distances = [part.distances for part in parts if part.distances is not None]
    return Scores(
        np.concatenate([part.probabilities for part in parts]), np.concatenate(distances) if distances else None
    )


class Network:
    """A trained network that takes uint8 frames. To be used by one thread at a time.

    Args:
        trained: the run.
        most_clips: in one pass; None: as many as fit memory, up to `MOST_CLIPS`.
        repository: of the run, whose actions are then the classes; None: the network's own classes.

    Attributes:
        trained: likewise.
        repository: likewise.
        classes: names, K.
        wish: what it is given of a video.
        sizes: clips of its passes, rising.
    """

    def __init__(self, trained: Trained, most_clips: int | None = None, repository: Repository | None = None) -> None:
        self.trained, self.repository = trained, repository
        self.classes = trained.classes if repository is None else repository.names
        self.wish = Wish(trained.views, trained.config.seed)
        self._model, self._widths = trained.model, {LABEL: len(trained.classes)}
        if repository is not None:
            self._model, self._widths = with_codes(trained.model, len(trained.classes))
        most = most_clips or memory.clips_that_fit(trained.model, MOST_CLIPS)
        self.sizes = pass_sizes(most)
        self._forwards: dict[int, Forward] = {}

    def scores(self, frames: Frames) -> Scores:
        """Return what the network says.

        Args:
            frames: of each of the wish's views, uint8 (N, V, T, S, S, C).

        Raises:
            UserError: the network gives NaN or infinite numbers, or not even one clip fits the device's memory.
        """
        windows, views = next(iter(frames.values())).shape[:2]
        folded = {name: array.reshape(-1, *array.shape[2:]) for name, array in frames.items()}
        while True:
            try:
                outputs = self._outputs(folded, windows * views)
                break
            except Exception as error:
                self._halve(error)
        return self._score({name: array.reshape(windows, views, -1) for name, array in outputs.items()})

    def warm_up(self) -> None:
        """Trace the passes of each size, which takes seconds in a large network."""
        for size in self.sizes:
            shapes = {view.name: (size, 1, *_shape(view)) for view in self.wish.views}
            self.scores({name: np.full(shape, 127, np.uint8) for name, shape in shapes.items()})

    def _outputs(self, folded: Frames, rows: int) -> dict[str, np.ndarray]:
        parts = []
        for start, size in passes(rows, self.sizes):
            inputs = {name: array[start : start + size] for name, array in folded.items()}
            parts.append(self._forward(size).outputs(self._normalized(inputs)))
        return {name: np.concatenate([part[name][:, 0] for part in parts]) for name in self._widths}

    def _forward(self, size: int) -> Forward:
        if not self._forwards:
            _keep_from_xla(self._model)
        return self._forwards.setdefault(size, Forward(self._model, size, self._widths, size))

    def _normalized(self, inputs: Frames) -> dict[str, np.ndarray]:
        from keras_actrec.data import pipeline  # TensorFlow normalises, whatever backend the network runs on

        return {view.name: pipeline.normalize(inputs[view.name][:, None], view).numpy() for view in self.wish.views}

    def _score(self, outputs: Mapping[str, np.ndarray]) -> Scores:
        if self.repository is None:
            return Scores(softmax(outputs[LABEL]).mean(axis=1))
        codes = outputs["code"].mean(axis=1)
        kernel, bias = repositories.as_classifier(self.repository.centres, self.repository.spread)
        return Scores(softmax(codes.astype(np.float64) @ kernel + bias), self.repository.distances(codes))

    def _halve(self, error: Exception) -> None:
        """Go on with smaller passes where a device's memory is too small for these; raise anything else."""
        if not memory.is_exhausted(error):
            raise error
        if self.sizes == (1,):
            raise UserError(
                f"the device's memory is too small for one clip of {self.trained.path}; free some, or run it on a CPU."
            ) from error
        self.sizes = pass_sizes(self.sizes[-1] // 2)
        self._forwards = {size: forward for size, forward in self._forwards.items() if size in self.sizes}


def pass_sizes(most: int) -> tuple[int, ...]:
    """Return the sizes of passes, rising: `most`, half of it, and so on down to 1; few, as each is traced."""
    sizes = [most]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return tuple(reversed(sizes))


def passes(rows: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield start and size of the passes over some rows; the last one may be larger than what is left.

    The largest size that is filled comes first; a rest is padded where that computes no more than smaller passes would.
    """
    start = 0
    while start < rows:
        left = rows - start
        filled = max((size for size in sizes if size <= left), default=sizes[0])
        larger = min((size for size in sizes if size >= left), default=sizes[-1])
        size = larger if larger <= _padded(left, filled) else filled
        yield start, size
        start += size


def _padded(rows: int, size: int) -> int:
    """Return how many rows passes of one size compute for so many rows."""
    return -(-rows // size) * size


def _shape(view: Any) -> tuple[int, ...]:
    from keras_actrec.data.assemble import frames_read

    return (frames_read(view), view.size, view.size, 1 if view.modality == "depth" else 3)


def _keep_from_xla(model: Any) -> None:
    from keras_actrec.evaluation.predict import prepare_for_inference

    prepare_for_inference(model)
