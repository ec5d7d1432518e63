"""Networks that answer together: one run, or several whose probabilities are averaged."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.evaluation import repository as repositories
from keras_actrec.evaluation.trained import Trained, open_trained
from keras_actrec.serving.network import Network, Scores
from keras_actrec.serving.reading import Frames, Wish
from keras_actrec.serving.windows import Sliding

UNKNOWN = "unknown"
_WHOLE = ("uniform", "several_runs", "step", "variance_rate")
"""Selections that spread a network's frames over the whole video, so that it knows videos of some length only."""
USUAL_SEC, USUAL_FPS = 4.0, 25.0
"""What is taken where a run's manifest does not tell how long its videos are."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """When an answer is "unknown".

    Attributes:
        least: probability below which it is; 0: never.
        gammas: float64 (K,), distance of each action of a repository from which on it is; None: no repository.
    """

    least: float = 0.0
    gammas: np.ndarray | None = None

    def names(self, scores: Scores, classes: Sequence[str]) -> list[str]:
        """Return what each of N windows is taken for."""
        best = scores.probabilities.argmax(axis=1)
        unknown = scores.probabilities.max(axis=1) < self.least
        if self.gammas is not None and scores.distances is not None:
            unknown |= scores.distances[np.arange(len(best)), best] >= self.gammas[best]
        return [UNKNOWN if no else classes[index] for index, no in zip(best, unknown, strict=True)]


class Predictor:
    """One network, or an ensemble of several with the same classes. To be used by one thread at a time.

    Args:
        networks: at least one.
        least: probability below which an answer is "unknown".

    Attributes:
        networks: likewise.
        classes: names, in the order of the first network.
        wishes: what each network is given of a video.
        rule: when an answer is "unknown".

    Raises:
        UserError: the networks know different classes, look at different videos, or a threshold outside [0, 1].
    """

    def __init__(self, networks: Sequence[Network], least: float = 0.0) -> None:
        if not 0 <= least <= 1:
            raise UserError(f"expected a threshold from 0 to 1, got {least:g}.")
        self.networks = tuple(networks)
        _check_modalities(self.networks)
        self.classes = self.networks[0].classes
        self.wishes: tuple[Wish, ...] = tuple(network.wish for network in networks)
        self._orders = tuple(self._order(network) for network in networks)
        held = self.networks[0].repository
        self.rule = Rule(least, None if held is None else held.gammas)

    @property
    def name(self) -> str:
        """Of the run directory, or of those of an ensemble."""
        return " + ".join(network.trained.path.resolve().name for network in self.networks)

    @property
    def most_clips(self) -> int:
        """Clips of the largest pass."""
        return max(network.sizes[-1] for network in self.networks)

    def scores(self, frames: Sequence[Frames]) -> Scores:
        """Return what the networks say together of N windows; `frames` holds what each of them is given."""
        found = [network.scores(given) for network, given in zip(self.networks, frames, strict=True)]
        if len(found) == 1:
            return found[0]
        rows = [one.probabilities[:, order] for one, order in zip(found, self._orders, strict=True)]
        return Scores(np.mean(rows, axis=0))

    def warm_up(self) -> None:
        """Trace all passes."""
        for network in self.networks:
            network.warm_up()

    def usual_sec(self) -> float:
        """Return how long the videos are that the networks know: the longest of their usual lengths."""
        return max(usual_sec(network.trained) for network in self.networks)

    def _order(self, network: Network) -> list[int]:
        if sorted(network.classes) != sorted(self.classes):
            first = self.networks[0].trained.path
            differing = sorted(set(network.classes) ^ set(self.classes))
            raise UserError(
                f"the runs of an ensemble must know the same classes; {first} and {network.trained.path} differ in "
                f"{', '.join(differing[:5])}."
            )
        places = {name: place for place, name in enumerate(network.classes)}
        return [places[name] for name in self.classes]


def open_predictor(
    directories: Sequence[str | os.PathLike[str]],
    *,
    most_clips: int | None = None,
    least: float = 0.0,
    with_repository: bool = False,
) -> Predictor:
    """Open run directories.

    Args:
        directories: several: an ensemble.
        most_clips: in one pass; None: as many as fit memory.
        least: probability below which an answer is "unknown".
        with_repository: answer with the actions of the run's repository, and "unknown" by its gamma.

    Raises:
        UserError: no run directories, of different classes, or without a repository.
    """
    if with_repository and len(directories) > 1:
        raise UserError("a repository belongs to one network; give one --run with --repository.")
    networks = []
    for directory in directories:
        trained = open_trained(directory)
        held = _repository(trained) if with_repository else None
        networks.append(Network(trained, most_clips, held))
    return Predictor(networks, least)


def usual_sec(trained: Trained) -> float:
    """Return how long a video a network is used to, in seconds.

    Where its frames are spread over the whole video, that is the middle length of its training clips as far as the
    manifest tells; else it is the length of a run of frames.
    """
    clips = [clip for clip in _rows(trained) if clip["split"] == "train"]
    rates = [clip["fps"] for clip in clips if clip.get("fps")]
    if trained.config.data.selection not in _WHOLE:
        span = max((view.frames - 1) * view.stride + 1 for view in trained.views)
        return span / (statistics.median(rates) if rates else USUAL_FPS)
    lengths = [length for clip in clips if (length := _length_sec(clip)) is not None]
    return statistics.median(lengths) if lengths else USUAL_SEC


def default_sliding(predictor: Predictor, window_sec: float | None = None, hop_sec: float | None = None) -> Sliding:
    """Return how long videos are cut.

    Args:
        predictor: whose usual length is a window's, unless it is given.
        window_sec: length of a window; given, all videos longer than that are cut; else those of twice the length.
        hop_sec: default: a quarter of the window.
    """
    window = predictor.usual_sec() if window_sec is None else window_sec
    from_sec = 2 * window if window_sec is None and hop_sec is None else window
    return Sliding(window, window / 4 if hop_sec is None else hop_sec, from_sec)


def _check_modalities(networks: Sequence[Network]) -> None:
    """Refuse networks that look at colours beside such that look at depth: each file would be shown to all of them."""
    seen = [(network.trained.path, ", ".join(network.trained.config.data.modalities)) for network in networks]
    for path, modalities in seen:
        if modalities != seen[0][1]:
            raise UserError(
                f"the runs of an ensemble must look at the same videos; {seen[0][0]} looks at {seen[0][1]}, {path} at "
                f"{modalities}; `evaluate --fuse` averages such runs on a data set that has both."
            )


def _repository(trained: Trained) -> repositories.Repository:
    path = trained.path / repositories.FILE_NAME
    if not path.is_file():
        raise UserError(
            f"{trained.path} has no repository of actions ({repositories.FILE_NAME}); leave --repository out, or train "
            "with training.repository: {}."
        )
    return repositories.load(path, repositories.model_digest(trained.model))


def _length_sec(clip: dict[str, Any]) -> float | None:
    """Return the length of a clip of a manifest; None where it is not known."""
    if clip.get("start_sec") is not None and clip.get("end_sec") is not None:
        return clip["end_sec"] - clip["start_sec"]
    rate = clip.get("fps")
    if not rate:
        return None
    if clip.get("start_frame") is not None and clip.get("end_frame") is not None:
        return (clip["end_frame"] - clip["start_frame"]) / rate
    return clip["frames"] / rate if clip.get("frames") else None


def _rows(trained: Trained) -> list[dict[str, Any]]:
    return files.read_json(trained.path / "manifest.lock").get("clips", [])
