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
- `variance_rate`: T frames drawn without replacement by p(z), the share of all movement that lies between frame z and
  the next one (paper: ms3d, Eq. 1; see `data.motion`), in order of time. p(z) belongs to frame z, so the last frame has
  none; frames without movement come only when there are no others left. Without a draw they are the frames at the
  quantiles (t + u) / T of p; where several quantiles fall on one frame, the most moving frames that are left stand in.
  Where all moves alike, these are the frames that `uniform` takes of the first N - 1.

A video too short for a run repeats its last frame, as SlowFast does; `variance_rate` takes every frame of a video of T
frames or fewer and repeats them evenly. Time never runs backwards within a run.
"""

from __future__ import annotations

import itertools

import numpy as np

from keras_actrec.data.views import View

_ROUNDING = 1e-9
"""Tolerance of cumulative sums: a quantile that falls between two frames takes the later one, as floor() does."""


def select(
    num_frames: int,
    view: View,
    *,
    rng: np.random.Generator | None = None,
    clip: int = 0,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Choose the frames of one clip.

    Args:
        num_frames: frames in the video, N, at least 1.
        view: what is wanted; `frames`, `selection`, `stride`, `runs` and `clips` count.
        rng: source of a random choice; None for the deterministic one.
        clip: which of `view.clips` deterministic clips.
        weights: p(z), float (N - 1,), at least 0, of any sum; for "variance_rate" alone, which needs it.

    Returns:
        int64 (T,), numbers of frames in [0, N).

    Raises:
        ValueError: no frames, a clip that does not exist, T that is no multiple of the runs, or weights that do not
            fit.
    """
    if num_frames < 1:
        raise ValueError(f"a video has at least one frame, got {num_frames}")
    if not 0 <= clip < view.clips:
        raise ValueError(f"clip {clip} of {view.clips} was asked for")
    if view.selection == "variance_rate":
        return _by_rate(num_frames, view, rng, clip, weights)
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


def _by_rate(
    num_frames: int, view: View, rng: np.random.Generator | None, clip: int, weights: np.ndarray | None
) -> np.ndarray:
    if weights is None or np.shape(weights) != (num_frames - 1,):
        given = "none" if weights is None else f"an array {np.shape(weights)}"
        raise ValueError(f"variance_rate wants the {num_frames - 1} rates of {num_frames} frames, got {given}")
    rates = np.append(np.asarray(weights, np.float64), 0.0)
    if not (np.isfinite(rates) & (rates >= 0)).all():
        raise ValueError("rates are finite and at least 0")
    if num_frames <= view.frames:
        return np.floor((np.arange(view.frames) + 0.5) * num_frames / view.frames).astype(np.int64)
    if rng is None and (rates[:-1] == rates[0]).all():
        return _uniform(num_frames - 1, view, None, clip).astype(np.int64)
    if rng is None:
        return _quantiles(rates, view.frames, (clip + 0.5) / view.clips)
    # The largest of log p + Gumbel noise are a draw of one after another without replacement (Efraimidis and Spirakis).
    with np.errstate(divide="ignore"):
        keys = np.log(rates) + rng.gumbel(size=num_frames)
    spare = rng.random(num_frames)  # in what order frames without movement are taken
    return np.sort(np.lexsort((-spare, -keys))[: view.frames]).astype(np.int64)


def _quantiles(rates: np.ndarray, count: int, place: float) -> np.ndarray:
    """Return `count` different frames of rates (N,): those at quantiles, then those that move most, then others."""
    moving = np.flatnonzero(rates)
    upto = np.cumsum(rates[moving])
    wanted = (np.arange(count) + place) / count + _ROUNDING
    met = moving[np.minimum(np.searchsorted(upto / upto[-1], wanted, side="right"), len(moving) - 1)]
    left = moving[~np.isin(moving, met)]
    left = left[np.argsort(-rates[left], kind="stable")]
    chosen = np.concatenate([np.unique(met), left])[:count]
    still = np.flatnonzero(rates == 0)
    missing = count - len(chosen)
    evenly = still[np.floor((np.arange(missing) + 0.5) * len(still) / max(1, missing)).astype(np.int64)]
    return np.sort(np.concatenate([chosen, evenly])).astype(np.int64)


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
