"""A finished run, opened to be asked about single videos: its network, its classes, and what it wants of a video."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_actrec import files
from keras_actrec.config import RunConfig, load_config
from keras_actrec.data import assemble
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import FrameSource, VideoSource
from keras_actrec.data.views import View
from keras_actrec.data.wanted import plain_views
from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.evaluation import run_search

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames of one video that a network is given.

    Attributes:
        pixels: uint8 (T, S, S, C), as cut for the network, before normalisation.
        indices: their numbers in the video, int64 (T,).
        fps: frames per second of the video.
        height: of a frame of the video, in pixels.
        width: likewise.
    """

    pixels: np.ndarray
    indices: np.ndarray
    fps: float
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, and what it takes to use it.

    Attributes:
        path: the run directory.
        config: of the run.
        classes: names, in the order of the logits.
        model: the network, ready for inference.
        views: what the network is given of a video, one for each of its inputs: several where it looks at several
            tempos. As many clips as the run's evaluation takes, one crop.
    """

    path: Path
    config: RunConfig
    classes: tuple[str, ...]
    model: keras.Model
    views: tuple[View, ...]

    @property
    def view(self) -> View:
        """What a network of one input is given of a video.

        Raises:
            UserError: the network takes several.
        """
        if len(self.views) > 1:
            names = ", ".join(view.name for view in self.views)
            raise UserError(f"the network of {self.path} takes the inputs {names}; this works with one input only.")
        return self.views[0]

    def class_index(self, name: str) -> int:
        """Return the place of a class among the logits.

        Raises:
            UserError: there is no such class.
        """
        if name not in self.classes:
            raise UserError(f"the run {self.path} knows no class '{name}'.{did_you_mean(name, self.classes)}")
        return self.classes.index(name)

    def frames(self, video: str | os.PathLike[str], clip: int | None = None, size: int | None = None) -> Frames:
        """Read what the network is given of a video.

        Args:
            video: any video file; of a network that looks at depth alone, a depth video.
            clip: which of the view's clips, counted from 0; None: the middle one.
            size: height and width of the frames in pixels, to look at them; None: as the network takes them.

        Raises:
            UnreadableVideoError: the file cannot give the frames.
            UserError: there is no such clip.
        """
        number = self.view.clips // 2 if clip is None else clip
        if not 0 <= number < self.view.clips:
            raise UserError(f"evaluation.clips of the run is {self.view.clips}, counted from 0; there is no {number}.")
        view = dataclasses.replace(self.view, size=size or self.view.size)
        path = Path(video)
        row, source = Clip(path.name, None, "test", depth=path.name), VideoSource(path.parent, threads=None)
        info = source.probe(row)
        (pixels,) = assemble.assemble_evaluation(row, [view], source, assemble.Key(self.config.seed, 0, 0))
        return Frames(pixels[number], self._indices(row, source, number), info.fps, info.height, info.width)

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """Return what the network takes: uint8 (..., T, S, S, 3) -> float32 of the same shape."""
        from keras_actrec.data import pipeline  # TensorFlow normalises, whatever backend the network runs on

        return pipeline.normalize(np.asarray(pixels), self.view).numpy()

    def _indices(self, clip: Clip, source: FrameSource, number: int) -> np.ndarray:
        chosen = assemble.frames_of(clip, self.view, source, number)
        rng = assemble.Key(self.config.seed, 0, 0).generator(assemble.SHUFFLE, number)
        return assemble.reorder(chosen, self.view.order, rng)

    def box_to_frame(self, boxes: np.ndarray, frames: Frames) -> np.ndarray:
        """Move boxes from the pixels of the video to those of the network's square, clipped to it.

        Args:
            boxes: float (T, 4): left, top, right, bottom.
            frames: of the same video.
        """
        left, top, wide, high = _region(frames.height, frames.width, self.view.fit)
        moved = (np.asarray(boxes, float) - [left, top, left, top]) / [wide, high, wide, high] * self.view.size
        return np.clip(moved, 0, self.view.size)


def open_trained(path: str | os.PathLike[str]) -> Trained:
    """Open a run directory.

    Raises:
        UserError: it is no run directory, or holds no trained model.
    """
    directory = Path(path)
    if not (directory / "config.yaml").is_file():
        raise UserError(f"{path} is no run directory: it holds no config.yaml. Give the directory that training named.")
    if not (directory / "model.keras").is_file():
        run_search.check_one_network(directory)
        raise UserError(f"{path} holds no trained model (model.keras); train first, or go on with --resume {path}.")
    config = load_config(directory / "config.yaml")
    classes = tuple(files.read_json(directory / "manifest.lock")["classes"])
    from keras_actrec import models

    _check_askable(path, config)
    architecture = models.make_config_for(config.model.name, len(classes), config.data, config.model.options)
    plain = plain_views(config.data, architecture.normalization)
    views = tuple(dataclasses.replace(view, clips=config.evaluation.clips) for view in plain)
    return Trained(directory, config, classes, _load(directory / "model.keras", len(classes)), views)


def _check_askable(path: str | os.PathLike[str], config: RunConfig) -> None:
    """Refuse networks that want more of a video than a single file holds."""
    if len(config.data.modalities) > 1 or config.data.targets != "label" or any(config.data.cameras):
        raise UserError(
            f"{path} has a network that looks at RGB and depth or at several cameras, or that has several heads "
            "(data.modalities, data.cameras, data.targets), which cannot be asked about single videos yet; use "
            "`python -m keras_actrec evaluate`."
        )
    if config.data.tailor is not None:
        raise UserError(
            f"{path} was trained on clips cut towards people (data.tailor), whose boxes are not known of a single "
            "video; use `python -m keras_actrec evaluate`."
        )


def _load(path: Path, classes: int) -> Any:
    from keras_actrec import models

    model = models.load_model(path)
    if len(model.outputs) != 1 or model.outputs[0].shape[-1] != classes:
        shapes = ", ".join(str(output.shape) for output in model.outputs)
        raise UserError(f"{path} gives outputs of shape {shapes}, but the run lists {classes} classes.")
    return model


def _region(height: int, width: int, fit: str) -> tuple[float, float, float, float]:
    """Return left, top, width and height of what the network's square shows of a video, in the video's pixels."""
    if fit == "squash":
        return 0.0, 0.0, width, height
    side = max(height, width) if fit == "pad" else min(height, width)
    return (width - side) / 2, (height - side) / 2, side, side
