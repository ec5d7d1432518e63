"""Codes of single video files, as a finished run's network gives them: to add an action, or to recognise one.

A video that is one of the run's clips is read as the run reads it, with its stretch, box file, depth and further
cameras; any other file stands for itself, and nothing is written beside it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec import files
from keras_actrec.config import RunConfig, load_config
from keras_actrec.data import assemble, person_boxes
from keras_actrec.data.decode import Size, VideoInfo
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.person_detector import PersonDetector
from keras_actrec.data.source import FrameSource, VideoSource
from keras_actrec.data.views import View
from keras_actrec.data.wanted import plain_views
from keras_actrec.errors import UserError
from keras_actrec.evaluation import run_search
from keras_actrec.evaluation.codes import with_codes
from keras_actrec.evaluation.predict import MAX_CLIPS_PER_PASS, Forward
from keras_actrec.evaluation.video_names import video_name

_DETECTED = "detector"


@dataclasses.dataclass(frozen=True, eq=False)
class VideoCode:
    """What a network makes of one video.

    Attributes:
        name: by which a repository knows the video: of a clip of the data set, `video_names.video_name`; of a file that
            is several of its clips, or none but below its root, the path below the root; of another file, its whole
            path.
        codes: float32 (V, D), of its views.
        boxes: where the person boxes came from (`data.person_boxes.ORIGINS`); None: the run does not tailor clips.
    """

    name: str
    codes: np.ndarray
    boxes: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A finished run's network, to be asked about single videos.

    Attributes:
        config: of the run.
        manifest: of the run.
        network: trained.
        views: what is taken of a video.
    """

    config: RunConfig
    manifest: Manifest
    network: Any
    views: tuple[View, ...]

    def encode(self, video: str | os.PathLike[str]) -> VideoCode:
        """Read a video and return its codes.

        Raises:
            UnreadableVideoError: the file cannot give the frames.
            UserError: the network gives NaN or infinite numbers.
        """
        clip, source = self._find(Path(video))
        clip, source = self._with_boxes(clip, source)
        frames = assemble.assemble_evaluation(clip, self.views, source, assemble.Key(self.config.seed, 0, 0))
        from keras_actrec.data import pipeline  # TensorFlow normalises, whatever backend the network runs on

        inputs = {
            view.name: pipeline.normalize(part[None], view).numpy()
            for view, part in zip(self.views, frames, strict=True)
        }
        found = self._forward.outputs(inputs)["code"][0]
        tailored = self.config.data.tailor is not None
        return VideoCode(video_name(clip), found, self._origin(clip) if tailored else None)

    @functools.cached_property
    def _forward(self) -> Forward:
        model, widths = with_codes(self.network, len(self.manifest.classes))
        return Forward(model, MAX_CLIPS_PER_PASS, widths)

    def _find(self, video: Path) -> tuple[Clip, FrameSource]:
        """Return the run's own clip of a video, or one for a file that is none, and who reads it.

        A file that is one clip is read as that clip, with its stretch; one that is several clips, as a whole.
        """
        whole, root = video.resolve(), Path(self.manifest.root).resolve()
        names = _below(video, Path(self.manifest.root))
        path = next((name for name in names if name in self._clips), names[0] if names else None)
        own = self._clips.get(path or "", ())
        if own:
            stretch = dict.fromkeys(("start_sec", "end_sec", "start_frame", "end_frame") if len(own) > 1 else ())
            return dataclasses.replace(own[0], **stretch), self._source(root)
        depth = str(whole) if self.config.data.modalities == ("depth",) else None
        return Clip(path or str(whole), None, "test", depth=depth), _Outside(self._source(root))

    def _source(self, root: Path) -> VideoSource:
        return VideoSource(root, threads=None, depth_range_mm=self.config.data.depth_range_mm)

    @functools.cached_property
    def _clips(self) -> dict[str, list[Clip]]:
        found: dict[str, list[Clip]] = {}
        for clip in self.manifest.clips:
            found.setdefault(clip.path, []).append(clip)
        return found

    def _with_boxes(self, clip: Clip, source: FrameSource) -> tuple[Clip, FrameSource]:
        """Give a clip the person boxes that the run's configuration wants."""
        wish = self.config.data.tailor
        if wish is None:
            return clip, source
        if isinstance(source, VideoSource):
            alone, _ = person_boxes.attach(dataclasses.replace(self.manifest, clips=(clip,)), wish, source)
            return alone.clips[0], source
        if self._detector is None:
            return clip, source
        boxes, height, width = person_boxes.find(clip, self._detector, source)
        shares = boxes / np.array([width, height, width, height], np.float64)
        return dataclasses.replace(clip, boxes=_DETECTED), _Outside(source.videos, shares)

    @functools.cached_property
    def _detector(self) -> PersonDetector | None:
        wish = self.config.data.tailor
        wanted = wish is not None and wish.boxes in ("auto", "yolov8") and wish.weights is not None
        return PersonDetector.open(wish.weights) if wanted else None

    def _origin(self, clip: Clip) -> str:
        return person_boxes.YOLOV8 if clip.boxes == _DETECTED else person_boxes.origin(clip)


@dataclasses.dataclass(frozen=True, eq=False)
class _Outside:
    """Gives the frames of a file that is no clip of the data set; keeps nothing on disk, as a data set's source does.

    Attributes:
        videos: who reads it.
        shares: its person boxes, a row per frame, shares of the frame.
    """

    videos: VideoSource
    shares: np.ndarray | None = None

    def probe(self, clip: Clip) -> VideoInfo:
        return self.videos.probe(clip)

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: str = "rgb"
    ) -> np.ndarray:
        return self.videos.read(clip, indices, size, modality)

    def boxes(self, clip: Clip) -> np.ndarray:
        return np.zeros((0, 4)) if self.shares is None else self.shares


def _below(video: Path, root: Path) -> list[str]:
    """Return the paths that a video may have below a root: as both are named first, then where links lead.

    A data set whose files are links to where they are kept knows them by the names of the links.
    """
    named, top = (Path(os.path.normpath(path.absolute())) for path in (video, root))
    files = (named, named.parent.resolve() / named.name, video.resolve())
    folders = (top, root.resolve())
    return [file.relative_to(top).as_posix() for file in files for top in folders if file.is_relative_to(top)]


def open_encoder(path: str | os.PathLike[str], *, clips: int | None = None, crops: int | None = None) -> Encoder:
    """Open a finished run.

    Args:
        path: run directory.
        clips: clips per video; default: as the run's evaluation takes them.
        crops: crops per clip; likewise.

    Raises:
        UserError: no run directory, no trained model in it, or one with several heads.
    """
    from keras_actrec import models

    directory = Path(path)
    config = read_config(directory)
    if not (directory / "model.keras").is_file():
        run_search.check_one_network(directory)
        raise UserError(f"{path} holds no trained model (model.keras); train first, or go on with --resume {path}.")
    if config.joint or config.data.targets != "label":
        raise UserError(f"{path} has a network with several heads; a repository knows one label per clip.")
    manifest = Manifest.from_json(files.read_json(directory / "manifest.lock"), config.data.root)
    architecture = models.make_config_for(config.model.name, len(manifest.classes), config.data, config.model.options)
    wanted = {"clips": clips or config.evaluation.clips, "crops": crops or config.evaluation.crops}
    views = plain_views(config.data, architecture.normalization)
    network = models.load_model(directory / "model.keras")
    return Encoder(config, manifest, network, tuple(dataclasses.replace(view, **wanted) for view in views))


def read_config(directory: Path) -> RunConfig:
    """Return the configuration of a run.

    Raises:
        UserError: it is no run directory.
    """
    if not (directory / "config.yaml").is_file():
        raise UserError(
            f"{directory} is no run directory: it holds no config.yaml. Give the directory that training named."
        )
    return load_config(directory / "config.yaml")
