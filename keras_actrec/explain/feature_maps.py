"""Feature maps of a network: which layer gives the last one, which the first, and where they lie in the clip.

A map is the output of a convolution: (B*t, h, w, C) of a network that runs frame by frame, (B, t, h, w, C) of a 3-D
network. With one clip both are (t, h, w, C).
"""

from __future__ import annotations

import keras
import numpy as np

from keras_actrec.explain.explanation import InapplicableError
from keras_actrec.explain.subject import Call, Subject, is_convolution

_NOT_FEATURES = (
    keras.Model,
    keras.layers.Wrapper,
    keras.layers.InputLayer,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianNoise,
)


def first_convolution(subject: Subject) -> Call:
    """Return the first convolution that runs.

    Raises:
        InapplicableError: the network has none.
    """
    found = _convolutions(subject)
    if not found:
        raise InapplicableError(f"'{subject.model.name}' has no convolution whose output is a map of frames.")
    return found[0]


def last_feature_map(subject: Subject) -> Call:
    """Return the last map before the pooling over space: the last convolution, and what follows on the same grid.

    Normalisation, activation, sums and non-local blocks after the last convolution belong to it; pooling does not.
    Convolutions that only cut patches (stride equal to the kernel, as in a Vision Transformer) are no feature maps.

    Raises:
        InapplicableError: there is none with more than one position per frame.
    """
    wide = [call for call in _convolutions(subject) if _area(call) > 1 and not _cuts_patches(call)]
    if not wide:
        raise InapplicableError(_no_map(subject))
    anchor = wide[-1]
    after = subject.calls[subject.calls.index(anchor) :]
    return [call for call in after if _is_feature(subject, call) and call.shape[:-1] == anchor.shape[:-1]][-1]


def grid(call: Call) -> tuple[int, int, int]:
    """Return t, h and w of a map from one clip.

    Raises:
        InapplicableError: the layer's output is no map.
    """
    if len(call.shape) == 5 and call.shape[0] == 1:
        return call.shape[1:4]
    if len(call.shape) == 4:
        return call.shape[:3]
    raise InapplicableError(f"the output of the layer '{call.path}' has shape {call.shape}, which is no map of frames.")


def as_map(subject: Subject, call: Call, outputs: list[np.ndarray]) -> np.ndarray:
    """Join the outputs of all runs of a layer, one after the other in time: (t, h, w, C)."""
    t, h, w = grid(call)
    return np.concatenate([output.reshape(t, h, w, output.shape[-1]) for output in outputs])


def to_clip(subject: Subject, call: Call, values: np.ndarray) -> np.ndarray:
    """Lay a map (t, h, w) over the clip: (T, H, W), float32.

    Maps of a network that runs frame by frame go to the very frames that it was given, and frames that it was not
    given get zero. Maps of 3-D networks are interpolated linearly in time as in space.
    """
    frames, height, width = subject.grid
    if len(call.shape) == 5 or len(values) == frames:
        return resample(values, (frames, height, width))
    result = np.zeros((frames, height, width), np.float32)
    seen = subject.seen_frames
    if len(seen) != len(values):
        return resample(values, (frames, height, width))
    result[seen] = resample(values, (len(values), height, width))
    return result


def resample(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Interpolate linearly along each of the first axes; the outermost cells extend to the border.

    Cell i of n covers i / n to (i + 1) / n of the clip, so that coarse and fine grids lie upon each other.

    Args:
        values: (t, h, w, ...).
        shape: wanted sizes of the first axes.
    """
    result = np.asarray(values, np.float32)
    for axis, size in enumerate(shape):
        result = _resample_axis(result, axis, size)
    return result


def _resample_axis(values: np.ndarray, axis: int, size: int) -> np.ndarray:
    given = values.shape[axis]
    if given == size:
        return values
    place = np.clip((np.arange(size) + 0.5) * given / size - 0.5, 0, given - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, given - 1)
    share = (place - low).astype(np.float32).reshape(-1, *[1] * (values.ndim - axis - 1))
    return np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share


def _convolutions(subject: Subject) -> list[Call]:
    return [call for call in subject.calls if is_convolution(call.layer) and _is_feature(subject, call)]


def _is_feature(subject: Subject, call: Call) -> bool:
    layer = call.layer
    idle = isinstance(layer, _NOT_FEATURES) or hasattr(layer, "pool_size") or id(layer) in subject.within_attention
    return not idle and (len(call.shape) == 4 or (len(call.shape) == 5 and call.shape[0] == 1))


def _area(call: Call) -> int:
    _, height, width = grid(call)
    return height * width


def _cuts_patches(call: Call) -> bool:
    kernel, strides = np.atleast_1d(call.layer.kernel_size), np.atleast_1d(call.layer.strides)
    return bool(max(kernel) > 1 and np.array_equal(kernel, strides))


def _no_map(subject: Subject) -> str:
    name = subject.model.name
    found = _convolutions(subject)
    if not found:
        return f"'{name}' has no convolution whose output is a map of frames."
    if all(_cuts_patches(call) for call in found):
        return f"the convolutions of '{name}' only cut patches; look at its attention instead."
    return f"every feature map of '{name}' has a single position per frame; give it larger frames."
