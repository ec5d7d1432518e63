"""MS3D's tailor strategy: the clip is cut towards the person, who is made brighter, and what lies around is faded out.

Man, Zou and Li, "The Action Recognition with Multi-Clue Sparse 3-Dimensional Convolutional Networks", Sec. IV-B:

    F_in'  = F_in * eta        pixels within the person's box (Eq. 7)
    F_out' = F_out * xi^d      pixels around it, d the number of the ring of 5 pixels, from the box outwards (Eq. 8)

The paper leaves open how boxes are smoothed and how far a pixel is from a box. Here boxes are averaged over a few
frames, and the distance is the larger of the horizontal and the vertical one (Chebyshev's), so that rings are
rectangles around a rectangle. One cut serves all frames of a clip, so that the person's movement stays in the picture.

All boxes are float64 (n, 4): left, top, right, bottom as shares of the frame's width and height.
"""

from __future__ import annotations

import cv2
import numpy as np

from keras_actrec.data.views import Tailor

SMALLEST_SHARE = 0.1
"""A cut is at least so wide and so high, as shares of the frame. Without it a box of a pixel or two, which a detector
may give, would be magnified to the whole input."""


def smooth(boxes: np.ndarray, frames: int) -> np.ndarray:
    """Average boxes over time, and fill gaps.

    Where somebody is seen, the box is the mean of the boxes seen in a window of `frames` frames around it (an even
    window reaches one frame further back; at the ends of the video it is cut off). Where nobody is seen, the box lies
    on the line between the nearest ones before and after; before the first and after the last it is the nearest.

    Args:
        boxes: (n, 4), rows of NaN where nobody is seen.
        frames: width of the window; 1 averages nothing.

    Returns:
        float64 (n, 4) without NaN; of a video in which nobody is ever seen, the whole frame: 0, 0, 1, 1.
    """
    if frames < 1:
        raise ValueError(f"boxes are averaged over at least 1 frame, not {frames}")
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    seen = ~np.isnan(boxes).any(axis=1)
    if not seen.any():
        return np.tile([0.0, 0.0, 1.0, 1.0], (len(boxes), 1))
    window = min(frames, 2 * len(boxes))
    sums = _window_sums(np.where(seen[:, None], boxes, 0.0), window)
    counts = _window_sums(seen[:, None].astype(np.float64), window)
    times = np.arange(len(boxes))
    means = sums[seen] / counts[seen]
    return np.stack([np.interp(times, times[seen], side) for side in means.T], axis=1)


def region(boxes: np.ndarray, margin: float, aspect: float | None = None) -> tuple[float, float, float, float]:
    """Return which part of the frame to cut out: around all boxes of a clip.

    Args:
        boxes: (n, 4) of the clip's frames; rows of NaN do not count, and of none at all the cut is the whole frame.
        margin: what is left around their union on each side, as a share of the union's width and height.
        aspect: width / height of the frames in pixels: the cut's shorter side is widened until the cut is square, as
            far as the frame allows, so that a later centre crop loses nothing of a standing person. None: do not.

    Returns:
        Left, top, width and height as shares of the frame, within it, and at least `SMALLEST_SHARE` wide and high.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    boxes = boxes[~np.isnan(boxes).any(axis=1)]
    if not len(boxes):
        return (0.0, 0.0, 1.0, 1.0)
    low, high = np.clip(boxes[:, :2].min(axis=0), 0, 1), np.clip(boxes[:, 2:].max(axis=0), 0, 1)
    room = margin * (high - low)
    low, high = np.clip(low - room, 0.0, 1.0), np.clip(high + room, 0.0, 1.0)
    extent = np.maximum(high - low, SMALLEST_SHARE)
    if aspect is not None:
        unit = np.array([aspect, 1.0])  # the frame in units of its height, where a square is one
        extent = np.minimum(np.maximum(extent, (extent * unit).max() / unit), 1.0)
    start = np.clip((low + high - extent) / 2, 0.0, 1.0 - extent)
    return (*map(float, start), *map(float, extent))


def apply(frames: np.ndarray, boxes: np.ndarray, wish: Tailor, scale: float = 1.0) -> np.ndarray:
    """Make the person brighter and fade out what lies around: Eq. (7) and (8).

    A pixel belongs to the box when its centre does; around it d is 1 for the first `ring_px` pixels, 2 for the next,
    and so on. Values are rounded and end at 255.

    Args:
        frames: uint8 (T, H, W, C).
        boxes: (T, 4), shares of these very frames; they may reach beyond them.
        wish: eta, xi and the width of a ring.
        scale: pixels of these frames per pixel of the network's input, in which rings are measured.

    Returns:
        uint8 (T, H, W, C); the input itself where eta and xi are 1.

    Raises:
        ValueError: not one box per frame, or a box is NaN or infinite (`smooth` fills gaps).
    """
    count, height, width, channels = frames.shape
    boxes = np.asarray(boxes, np.float64)
    if boxes.shape != (count, 4) or not np.isfinite(boxes).all():
        raise ValueError(f"expected a finite box for each of {count} frames, got boxes {boxes.shape}")
    if (wish.enhance, wish.decay) == (1.0, 1.0) or not frames.size:
        return frames
    ring = wish.ring_px * scale
    across = np.repeat(_rings(boxes[:, ::2] * width, width, ring), channels, axis=1)
    down = _rings(boxes[:, 1::2] * height, height, ring)
    # decay <= 1, so the smaller of two powers is that of the larger distance.
    fade_across, fade_down = (np.power(wish.decay, rings).astype(np.float32) for rings in (across, down))
    result, factors = np.empty(frames.shape, np.uint8), np.empty((height, width * channels), np.float32)
    for time in range(count):
        np.minimum(fade_down[time][:, None], fade_across[time][None], out=factors)
        rows, columns = np.flatnonzero(down[time] == 0), np.flatnonzero(across[time] == 0)
        if len(rows) and len(columns):
            factors[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = wish.enhance
        flat = frames[time].reshape(height, width * channels)
        result[time] = cv2.multiply(flat, factors, dtype=cv2.CV_8U).reshape(height, width, channels)
    return result


def _rings(edges_px: np.ndarray, length: int, ring: float) -> np.ndarray:
    """Return along one axis the number of the ring that each pixel's centre lies in, float64 (T, length); 0: the box.

    Args:
        edges_px: (T, 2), where the box begins and ends.
        length: of the axis, in pixels.
        ring: width of a ring, in pixels.
    """
    centres = np.arange(length) + 0.5
    outside = np.maximum(edges_px[:, :1] - centres, centres - edges_px[:, 1:])
    return np.ceil(np.maximum(outside, 0.0) / ring)


def _window_sums(values: np.ndarray, window: int) -> np.ndarray:
    """Return for each row of (n, k) the sum over the `window` rows around it, as far as there are any."""
    before = window // 2
    padded = np.pad(values, ((before, window - 1 - before), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, window, axis=0).sum(axis=-1)
