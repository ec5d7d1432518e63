"""From one clip to the arrays of its views: choose frames, draw, decode once, cut. NumPy only.

All randomness comes from (seed, epoch, index of the clip, which example of it, purpose). Views of one clip share these
random numbers: where their settings agree, so do their frames and their changes (RGB and depth stay aligned). One
thing is drawn apart: views whose names begin with "tempo" and that choose frames by variance rate do so independently
of each other, as MS3D's pathways do.

A clip with person boxes is cut towards the person before anything else, where a view wishes so; what follows takes the
cut for the frame.
"""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from keras_actrec.data import augment, motion, person_cut, sampling
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import FrameSource
from keras_actrec.data.views import View
from keras_actrec.errors import UnreadableVideoError, UserError

_SELECT, _CHANGE, SHUFFLE, PERMUTE, MIX, STAND_IN = range(6)
_TEMPO = 1000  # follows _SELECT, where else an instance's number may stand
_CROPS = {1: (0.5,), 3: (0.0, 0.5, 1.0)}


@dataclasses.dataclass(frozen=True)
class Key:
    """What a clip's randomness is derived from.

    Attributes:
        seed: of the run.
        epoch: counted from 0.
        index: of the clip in its list.
        instance: which of the training examples that are made of the clip.
    """

    seed: int
    epoch: int
    index: int
    instance: int = 0

    def generator(self, *purpose: int) -> np.random.Generator:
        """Return a fresh generator for one purpose; the same each time."""
        example = (self.instance,) if self.instance else ()
        return np.random.default_rng([self.seed, self.epoch, self.index, *purpose, *example])


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What one view takes: frames of each of its clips, one cut, and one draw."""

    view: View
    indices: tuple[np.ndarray, ...]
    cut: person_cut.PersonCut | None
    outcome: augment.Draw
    short_side: int

    @property
    def stream(self) -> tuple[int, str]:
        """Which camera and modality; views of one stream share a decode."""
        return self.view.camera, "depth" if self.view.modality == "depth" else "rgb"


def assemble(clip: Clip, views: Sequence[View], source: FrameSource, key: Key) -> list[np.ndarray]:
    """Return one training example: for each view uint8 (T, S, S, C).

    A view of differences gets one frame more (see `frames_read`); the differences are taken later.

    Args:
        clip: which video.
        views: what is wanted of it; RGB and difference views share one decode.
        source: gives the frames.
        key: of its randomness.

    Raises:
        UnreadableVideoError: the video cannot give the frames, or has no such camera.
        UserError: depth of another camera than the first is asked for.
    """
    return [stack[0] for stack in _assemble(clip, views, source, key, evaluation=False)]


def assemble_evaluation(clip: Clip, views: Sequence[View], source: FrameSource, key: Key) -> list[np.ndarray]:
    """Return all clips and crops of one video: for each view uint8 (V, T, S, S, C).

    V = clips x crops, the crops of a clip side by side. Nothing is random but the order "shuffled", which depends on
    the seed and the index alone; augmentation is left out.
    """
    return _assemble(clip, views, source, dataclasses.replace(key, epoch=0), evaluation=True)


def frames_read(view: View) -> int:
    """Return how many frames a view needs: T, or T + 1 for the T differences of adjacent ones."""
    return view.frames + (view.modality == "difference")


def frames_of(clip: Clip, view: View, source: FrameSource, number: int = 0) -> np.ndarray:
    """Return which frames evaluation takes for one of a view's clips, in order of time: int64 (T,).

    They are frames of the view's camera (`clip.seen_by(view.camera)`).
    """
    clip = clip.seen_by(view.camera)
    return _choose(clip, view, source, source.probe(clip), None, number)


def reorder(indices: np.ndarray, order: str, rng: np.random.Generator) -> np.ndarray:
    """Return frame indices (T,) in the order of the temporal probe.

    "reversed" turns them round, "frozen" repeats the middle one, "shuffled" draws a permutation which changes the
    sequence (unless all frames are the same one).
    """
    if order == "reversed":
        return indices[::-1]
    if order == "frozen":
        return np.full_like(indices, indices[len(indices) // 2])
    if order == "shuffled" and len(np.unique(indices)) > 1:
        shuffled = indices
        while np.array_equal(shuffled, indices):
            shuffled = rng.permutation(indices)
        return shuffled
    return indices


def _assemble(clip: Clip, views: Sequence[View], source: FrameSource, key: Key, evaluation: bool) -> list[np.ndarray]:
    plans, sides, cuts = [], {}, {}
    for view in views:
        seen = clip.seen_by(view.camera)
        with _named(view.camera):
            info = source.probe(seen)
            if (view.camera, view.tailor) not in cuts:  # box files are read once for all views
                cuts[view.camera, view.tailor] = person_cut.find(seen, view.tailor, source, info)
            plans.append(_plan(seen, view, source, info, cuts[view.camera, view.tailor], key, evaluation))
        sides[view.camera] = min(info.height, info.width)
    decoded = {}
    for camera, modality in dict.fromkeys(plan.stream for plan in plans):
        users = [plan for plan in plans if plan.stream == (camera, modality)]
        indices = np.unique(np.concatenate([part for plan in users for part in plan.indices]))
        short = max(plan.short_side for plan in users)
        with _named(camera):
            size = short if short < sides[camera] else None
            decoded[camera, modality] = (indices, source.read(clip.seen_by(camera), indices, size, modality))
    return [_cut(plan, *decoded[plan.stream], evaluation) for plan in plans]


@contextlib.contextmanager
def _named(camera: int) -> Iterator[None]:
    """Say which camera's video cannot be read, unless it is the clip's own."""
    try:
        yield
    except UnreadableVideoError as error:
        if not camera:
            raise
        raise UnreadableVideoError(error.path, f"camera {camera}: {error.reason}") from None


def _plan(
    clip: Clip,
    view: View,
    source: FrameSource,
    info: VideoInfo,
    cut: person_cut.PersonCut | None,
    key: Key,
    evaluation: bool,
) -> _Plan:
    if view.camera and view.modality == "depth":
        raise UserError(f"view '{view.name}': expected rgb of camera {view.camera}; depth is camera 0's alone.")
    augmentation = None if evaluation else view.augmentation
    height, width = cut.size(info.height, info.width) if cut else (info.height, info.width)
    outcome = augment.draw(augmentation, key.generator(_CHANGE), height, width)
    short = augment.short_side(height, width, outcome, view.size, view.fit)
    short = cut.short_side(info.height, info.width, short) if cut else short
    indices = []
    for number in range(view.clips if evaluation else 1):
        chosen = _select(clip, view, source, info, key, number, evaluation)
        if view.modality == "difference":
            chosen = _one_more(chosen, info.frames)
        indices.append(reorder(chosen, view.order, key.generator(SHUFFLE, number)))
    return _Plan(view, tuple(indices), cut, outcome, short)


def _select(
    clip: Clip, view: View, source: FrameSource, info: VideoInfo, key: Key, number: int, evaluation: bool
) -> np.ndarray:
    if not evaluation and view.instances > 1:
        evenly = dataclasses.replace(view, clips=view.instances)
        return _choose(clip, evenly, source, info, None, key.instance)
    # Without augmentation: validation, which takes the very frames that are evaluated later.
    rng = None if evaluation or view.augmentation is None else key.generator(_SELECT, *_apart(view))
    return _choose(clip, view, source, info, rng, number)


def _choose(
    clip: Clip, view: View, source: FrameSource, info: VideoInfo, rng: np.random.Generator | None, number: int
) -> np.ndarray:
    weights = motion.rates(source, clip) if view.selection == "variance_rate" else None
    return sampling.select(info.frames, view, rng=rng, clip=number, weights=weights)


def _apart(view: View) -> tuple[int, ...]:
    """Return what tells the frames of this view's draw from those of other views: nothing, unless it is a tempo."""
    if view.selection == "variance_rate" and view.name.startswith("tempo"):
        return _TEMPO, zlib.crc32(view.name.encode())
    return ()


def _one_more(indices: np.ndarray, num_frames: int) -> np.ndarray:
    """Append the frame that comes after the last one, as far on as that is from the one before it."""
    step = max(1, int(indices[-1] - indices[-2])) if len(indices) > 1 else 1
    return np.append(indices, min(indices[-1] + step, num_frames - 1))


def _cut(plan: _Plan, indices: np.ndarray, frames: np.ndarray, evaluation: bool) -> np.ndarray:
    """Return uint8 (V, T, S, S, C)."""
    view, positions = plan.view, _CROPS[plan.view.crops] if evaluation else (0.5,)
    height, width = frames.shape[1:3]
    frames = plan.cut.cut(frames) if plan.cut else frames
    colour = plan.view.modality != "depth"
    results = []
    for wanted in plan.indices:
        chosen = frames[np.searchsorted(indices, wanted)]
        if plan.cut and colour:
            chosen = plan.cut.paint(chosen, wanted, view, height, width)
        for position in positions:
            result = augment.apply(chosen, plan.outcome, view.size, view.fit, position, colour=colour)
            results.append(result)
    return np.stack(results)
