"""From one clip to the arrays of its views: choose frames, draw, decode once, cut. NumPy only.

All randomness comes from (seed, epoch, index of the clip, which example of it, purpose). Views of one clip share these
random numbers: where their settings agree, so do their frames and their changes (RGB and depth stay aligned).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_actrec.data import augment, sampling
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import FrameSource
from keras_actrec.data.views import View

_SELECT, _CHANGE, SHUFFLE, PERMUTE, MIX = range(5)
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
    """What one view takes: frames of each of its clips, and one draw."""

    view: View
    indices: tuple[np.ndarray, ...]
    outcome: augment.Draw
    short_side: int

    @property
    def modality(self) -> str:
        return "depth" if self.view.modality == "depth" else "rgb"


def assemble(clip: Clip, views: Sequence[View], source: FrameSource, key: Key) -> list[np.ndarray]:
    """Return one training example: for each view uint8 (T, S, S, C).

    A view of differences gets one frame more (see `frames_read`); the differences are taken later.

    Args:
        clip: which video.
        views: what is wanted of it; RGB and difference views share one decode.
        source: gives the frames.
        key: of its randomness.

    Raises:
        UnreadableVideoError: the video cannot give the frames.
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
    info = source.probe(clip)
    original = min(info.height, info.width)
    plans = [_plan(view, info, key, evaluation) for view in views]
    decoded = {}
    for modality in dict.fromkeys(plan.modality for plan in plans):
        users = [plan for plan in plans if plan.modality == modality]
        indices = np.unique(np.concatenate([part for plan in users for part in plan.indices]))
        short = max(plan.short_side for plan in users)
        frames = source.read(clip, indices, short if short < original else None, modality)
        decoded[modality] = (indices, frames)
    return [_cut(plan, *decoded[plan.modality], evaluation) for plan in plans]


def _plan(view: View, info: object, key: Key, evaluation: bool) -> _Plan:
    augmentation = None if evaluation else view.augmentation
    outcome = augment.draw(augmentation, key.generator(_CHANGE), info.height, info.width)
    short = augment.short_side(info.height, info.width, outcome, view.size, view.fit)
    indices = []
    for number in range(view.clips if evaluation else 1):
        chosen = _select(view, info.frames, key, number, evaluation)
        if view.modality == "difference":
            chosen = _one_more(chosen, info.frames)
        indices.append(reorder(chosen, view.order, key.generator(SHUFFLE, number)))
    return _Plan(view, tuple(indices), outcome, short)


def _select(view: View, num_frames: int, key: Key, number: int, evaluation: bool) -> np.ndarray:
    if not evaluation and view.instances > 1:
        evenly = dataclasses.replace(view, clips=view.instances)
        return sampling.select(num_frames, evenly, clip=key.instance)
    # Without augmentation: validation, which takes the very frames that are evaluated later.
    rng = None if evaluation or view.augmentation is None else key.generator(_SELECT)
    return sampling.select(num_frames, view, rng=rng, clip=number)


def _one_more(indices: np.ndarray, num_frames: int) -> np.ndarray:
    """Append the frame that comes after the last one, as far on as that is from the one before it."""
    step = max(1, int(indices[-1] - indices[-2])) if len(indices) > 1 else 1
    return np.append(indices, min(indices[-1] + step, num_frames - 1))


def _cut(plan: _Plan, indices: np.ndarray, frames: np.ndarray, evaluation: bool) -> np.ndarray:
    """Return uint8 (V, T, S, S, C)."""
    view, positions = plan.view, _CROPS[plan.view.crops] if evaluation else (0.5,)
    results = []
    for wanted in plan.indices:
        chosen = frames[np.searchsorted(indices, wanted)]
        for position in positions:
            cut = augment.apply(chosen, plan.outcome, view.size, view.fit, position, colour=plan.modality == "rgb")
            results.append(cut)
    return np.stack(results)
