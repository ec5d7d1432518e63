"""The models that a server answers with, each with its thread and its usual way of cutting videos."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.serving.batching import Batcher
from keras_actrec.serving.predictor import Predictor, default_sliding, open_predictor
from keras_actrec.serving.server.refusals import RefusedError
from keras_actrec.serving.windows import Sliding

MOST_WAITING = 16
"""Parts of videos that may wait for a network; each is some megabytes."""


@dataclasses.dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        name: of its run directory.
        predictor: answers.
        batcher: runs it.
        sliding: how long videos are cut.
    """

    name: str
    predictor: Predictor
    batcher: Batcher
    sliding: Sliding

    def to_json(self) -> dict[str, Any]:
        """Return what people should know of it."""
        (network,) = self.predictor.networks
        config = network.trained.config
        return {
            "name": self.name,
            "architecture": config.model.name,
            "classes": list(self.predictor.classes),
            "window_sec": round(self.sliding.window_sec, 3),
            "hop_sec": round(self.sliding.hop_sec, 3),
            "timeline_from_sec": round(self.sliding.from_sec, 3),
            "explains": len(network.trained.views) == 1,
        }


class Models:
    """All of them, by name; the first one answers where none is named.

    Args:
        models: at least one.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = {model.name: model for model in models}

    def __iter__(self) -> Any:
        return iter(self._models.values())

    def find(self, name: str | None) -> Model:
        """Return a model.

        Raises:
            RefusedError: there is none of this name.
        """
        if name is None:
            return next(iter(self))
        if name not in self._models:
            raise RefusedError(404, f"there is no model '{name[:80]}'.{did_you_mean(name[:80], self._models)}")
        return self._models[name]


def open_models(
    directories: Sequence[str | os.PathLike[str]],
    *,
    most_clips: int | None,
    least: float,
    wait_sec: float,
    told: Callable[[str, int, float], None],
    say: Callable[[str], None],
) -> Models:
    """Open run directories, and trace their networks, so that the first request need not wait for it.

    Args:
        directories: of the runs.
        most_clips: in one pass; None: as many as fit memory.
        least: probability below which an answer is "unknown".
        wait_sec: how long the first of a pass waits for others.
        told: called after each pass with (name, windows, seconds).
        say: prints a line.

    Raises:
        UserError: no run directories, or two of the same name.
    """
    found: dict[str, Model] = {}
    for directory in directories:
        begin = time.perf_counter()
        predictor = open_predictor([directory], most_clips=most_clips, least=least)
        name = predictor.name
        if name in found:
            raise UserError(f"two runs are called '{name}'; people choose by the name, so rename one directory.")
        predictor.warm_up()
        batcher = Batcher(
            predictor,
            wait_sec=wait_sec,
            most_waiting=MOST_WAITING,
            told=lambda rows, seconds, name=name: told(name, rows, seconds),
        )
        found[name] = Model(name, predictor, batcher, default_sliding(predictor))
        say(
            f"model: {name}, {len(predictor.classes)} classes, passes of up to {predictor.most_clips} clips, "
            f"ready after {time.perf_counter() - begin:.1f} s"
        )
    return Models(list(found.values()))
