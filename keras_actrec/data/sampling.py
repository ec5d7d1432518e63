"""Which frames of a video a view takes: `select`, arithmetic only.

N is the number of frames in the video, T the number wanted, s the stride, and `u` says where in its free room a choice
lies: a uniform random draw in training, and (c + 1/2) / C for clip c of C in evaluation. (Runs use c / (C - 1) for
C > 1, so that the first and last clip touch the video's ends, as SlowFast's evaluation does.)

- `uniform`: T equal segments, one frame in each, all at the same place u of their segment: floor((t + u) N / T).
  Without a draw and with one clip these are the segments' centres.
- `random_run`: start + t s. Room: N - ((T - 1) s + 1) + 1 starts, all equally likely.
- `several_runs`: R runs of T / R frames. When they fit side by side, the video is cut in R equal parts and each run
  lies within its own; else their starts are spread evenly over all possible ones, and runs overlap (paper:
  five-models-ucf-hmdb).
- `shadow`: the first T frames (paper: pso-convnet-transformer, 2.2.3), t s. The same for every clip and draw.
- `step`: k floor(N / T): a step size that skips frames so that the full length of the video is covered (the same
  paper). It begins at frame 0; only further evaluation clips begin later. The released code takes
  k (floor(N / (T - 1)) - 1), which is the same idea with another rounding.
- `dense`: like `random_run`, but in a video too short for it the stride is narrowed (not below 1) until the run fits.

A video too short for a run repeats its last frame, as SlowFast does; time never runs backwards within a run.
"""

from __future__ import annotations

import itertools

import numpy as np

from keras_actrec.data.views import View


def select(num_frames: int, view: View, *, rng: np.random.Generator | None = None, clip: int = 0) -> np.ndarray:
    """Choose the frames of one clip.

    Args:
        num_frames: frames in the video, N, at least 1.
        view: what is wanted; `frames`, `selection`, `stride`, `runs` and `clips` count.
        rng: source of a random choice; None for the deterministic one.
        clip: which of `view.clips` deterministic clips.

    Returns:
        int64 (T,), numbers of frames in [0, N).

    Raises:
        ValueError: no frames, a clip that does not exist, or T that is no multiple of the runs.
    """
    if num_frames < 1:
        raise ValueError(f"a video has at least one frame, got {num_frames}")
    if not 0 <= clip < view.clips:
        raise ValueError(f"clip {clip} of {view.clips} was asked for")
    choose = _SELECTIONS[view.selection]
    return np.clip(choose(num_frames, view, rng, clip), 0, num_frames - 1).astype(np.int64)


def _uniform(num_frames: int, view: View, rng: np.random.Generator | None, clip: int) -> np.ndarray:
    place = (clip + 0.5) / view.clips if rng is None else rng.random()
    return np.floor((np.arange(view.frames) + place) * num_frames / view.frames)


def _random_run(num_frames: int, view: View, rng: np.random.Generator | None, clip: int) -> np.ndarray:
    return _run(num_frames, view.frames, view.stride, view.clips, rng, clip)


def _dense(num_frames: int, view: View, rng: np.random.Generator | None, clip: int) -> np.ndarray:
    widest = (num_frames - 1) // max(1, view.frames - 1)
    return _run(num_frames, view.frames, max(1, min(view.stride, widest)), view.clips, rng, clip)


def _several_runs(num_frames: int, view: View, rng: np.random.Generator | None, clip: int) -> np.ndarray:
    if view.frames % view.runs:
        raise ValueError(f"{view.frames} frames are no multiple of {view.runs} runs")
    length = view.frames // view.runs
    last_start = max(0, num_frames - _span(length, view.stride))
    if num_frames >= view.runs * _span(length, view.stride):
        edges = np.arange(view.runs + 1) * num_frames // view.runs
        runs = [
            begin + _run(end - begin, length, view.stride, view.clips, rng, clip)
            for begin, end in itertools.pairwise(edges)
        ]
        return np.concatenate(runs)
    starts = np.floor(np.linspace(0, last_start, view.runs)) if view.runs > 1 else np.array([last_start // 2])
    runs = starts[:, None] + np.arange(length) * view.stride
    return np.minimum(runs, num_frames - 1).reshape(-1)


def _shadow(num_frames: int, view: View, rng: np.random.Generator | None, clip: int) -> np.ndarray:
    return np.arange(view.frames) * view.stride


def _step(num_frames: int, view: View, rng: np.random.Generator | None, clip: int) -> np.ndarray:
    step = max(1, num_frames // view.frames)
    room = max(0, num_frames - _span(view.frames, step))
    return room * clip // view.clips + np.arange(view.frames) * step


def _run(
    num_frames: int, length: int, stride: int, clips: int, rng: np.random.Generator | None, clip: int
) -> np.ndarray:
    last_start = max(0, num_frames - _span(length, stride))
    if rng is not None:
        start = int(rng.integers(last_start + 1))
    elif clips == 1:
        start = last_start // 2
    else:
        start = round(last_start * clip / (clips - 1))
    return np.minimum(start + np.arange(length) * stride, num_frames - 1)


def _span(length: int, stride: int) -> int:
    """Return the number of frames from the first to the last of a run, both included."""
    return (length - 1) * stride + 1


_SELECTIONS = {
    "uniform": _uniform,
    "random_run": _random_run,
    "several_runs": _several_runs,
    "shadow": _shadow,
    "step": _step,
    "dense": _dense,
}
