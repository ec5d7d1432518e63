"""RandAugment (Cubuk et al., 2020) with KerasCV's policy and operations, one draw for all frames of a clip.

KerasCV treats the frames of a clip as independent images. Here the operations and their strengths are drawn once,
from a NumPy generator, with the distributions that KerasCV's own layers of the standard policy hold. Operations that
look at an image's own statistics (automatic contrast, equalisation, contrast) see the frames of a clip as one tall
image, so that equal pixels stay equal over time and nothing flickers.

The results are those of KerasCV's layers to the last bit, at a fraction of their time: where an operation looks at one
value at a time, the layer is given the 256 values instead of all pixels. Equalization (whose layer is traced anew at
each call), contrast, loss of colour and the moves in space are computed here, in the layers' arithmetic.

KerasCV computes with TensorFlow whatever Keras' backend is. It is the extra `keras_actrec[augment]`.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from typing import Any

import cv2
import numpy as np

from keras_actrec.data import reflected_move
from keras_actrec.data.lookup_table import histograms, look_up
from keras_actrec.errors import UserError

RATE = 10 / 11
"""Share of the drawn operations that are applied (KerasCV's default; the paper's identity is the eleventh)."""
MAGNITUDE_STDDEV = 0.15
"""Spread of the strength (KerasCV's default)."""

_SPATIAL = ("RandomShear", "RandomTranslation")
_LUMA = [np.arange(256, dtype=np.float32) * np.float32(weight) for weight in (0.2989, 0.587, 0.114)]
"""What each value of red, green and blue adds to TensorFlow's grey."""
_building = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Operation:
    """One drawn operation.

    Attributes:
        index: place in KerasCV's standard policy.
        name: KerasCV's layer.
        values: its drawn numbers; two for the operations in space (along x, along y) and for Solarization (addition,
            threshold), one for the others, none for those without a strength.
    """

    index: int
    name: str
    values: tuple[float, ...] = ()

    @property
    def spatial(self) -> bool:
        """Whether it moves pixels, so that a depth video must follow."""
        return self.name in _SPATIAL


def draw(rng: np.random.Generator, count: int, magnitude: float) -> tuple[Operation, ...]:
    """Draw `count` operations of a strength around `magnitude` in [0, 1]; some are left out (see `RATE`).

    Raises:
        UserError: KerasCV is not installed, or does not work with the installed TensorFlow.
    """
    operations = []
    for _ in range(count):
        layers = _policy(magnitude)
        index = int(rng.integers(len(layers)))
        skipped = rng.random() > RATE
        values = _DRAWS[type(layers[index]).__name__](layers[index], rng)
        if not skipped:
            operations.append(Operation(index, type(layers[index]).__name__, values))
    return tuple(operations)


def apply(frames: np.ndarray, operations: tuple[Operation, ...], colour: bool = True) -> np.ndarray:
    """Apply drawn operations to all frames.

    Args:
        frames: uint8 (T, H, W, C); C is 3 where colour operations are wanted.
        operations: as `draw` gave them.
        colour: False leaves out what changes colours only (for depth).
    """
    for operation in operations:
        if colour or operation.spatial:
            frames = _apply_one(frames, operation)
    return frames


def require() -> None:
    """Try every operation once on a tiny clip.

    Raises:
        UserError: KerasCV is not installed, or does not work with the installed TensorFlow.
    """
    clip = np.zeros((2, 4, 4, 3), np.uint8)
    rng = np.random.default_rng(0)
    try:
        for index, layer in enumerate(_policy(0.5)):
            name = type(layer).__name__
            _apply_one(clip, Operation(index, name, _DRAWS[name](layer, rng)))
    except UserError:
        raise
    except Exception as error:
        raise _unavailable(error) from error


def _apply_one(frames: np.ndarray, operation: Operation) -> np.ndarray:
    if operation.spatial:
        return _move(frames, operation)
    if operation.name == "RandomColorDegeneration":
        return _degenerate(frames, operation.values[0])
    return look_up(frames, _TABLES[operation.name](frames, operation))


def _move(frames: np.ndarray, operation: Operation) -> np.ndarray:
    """Do what KerasCV's RandomShear and RandomTranslation do, of which the policy's move along one axis each."""
    across, down = operation.values
    if across and down:
        raise ValueError(f"expected a move along one axis, as KerasCV's policy has them, got {operation}")
    if not across and not down:
        return frames
    axis, value = (2, np.float32(across)) if across else (1, np.float32(down))
    if operation.name == "RandomShear":
        return reflected_move.move(frames, axis, value * np.arange(frames.shape[3 - axis], dtype=np.float32))
    return reflected_move.move(frames, axis, -value * np.float32([frames.shape[axis]]))


def _degenerate(frames: np.ndarray, factor: float) -> np.ndarray:
    """Do what KerasCV's RandomColorDegeneration does: move colours towards their grey."""
    factor = float(np.float32(factor))
    result = np.empty(frames.shape, np.uint8)
    for source, target in zip(frames, result, strict=True):
        planes = cv2.split(source)
        red, green, blue = (cv2.LUT(plane, table) for plane, table in zip(planes, _LUMA, strict=True))
        grey = cv2.add(cv2.add(red, green), blue)
        for channel, plane in enumerate(planes):
            value = plane.astype(np.float32)
            moved = cv2.add(cv2.multiply(cv2.subtract(grey, value), factor), value, dtype=cv2.CV_8U)
            cv2.insertChannel(moved, target, channel)
    return result


def _by_layer(images: np.ndarray, operation: Operation) -> np.ndarray:
    """Let KerasCV's layer change one image: (1, H, W, C) in 0..255 to float32."""
    import keras_cv

    def tensor(value: float, shape: tuple[int, ...]) -> Any:
        return keras_cv.core.ConstantFactorSampler(value)(shape=shape)

    drawn = [tensor(value, (1, 1, 1, 1)) for value in operation.values]
    solarizes = operation.name == "Solarization"
    transformation = dict(zip(("additions", "thresholds"), drawn, strict=True)) if solarizes else drawn and drawn[0]
    # KerasCV's constant sampler makes TensorFlow tensors on every backend: 1 * images is the images as a tensor.
    images = tensor(1.0, ()) * images.astype(np.float32)
    return np.asarray(_policy(0.5)[operation.index].augment_images(images, transformations=transformation))


def _table_by_layer(values: np.ndarray, operation: Operation) -> np.ndarray:
    """Let KerasCV's layer change the values 0..255 of each channel, (256, C), instead of all pixels: uint8 (256, C)."""
    changed = _by_layer(values[None, :, None], operation)[0, :, 0]
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _every_value(frames: np.ndarray, operation: Operation) -> np.ndarray:
    return _table_by_layer(np.arange(256)[:, None], operation)[:, 0]


def _auto_contrast(frames: np.ndarray, operation: Operation) -> np.ndarray:
    """KerasCV's layer stretches what it sees: for each channel, the values from the clip's lowest to its highest."""
    seen = [np.flatnonzero(counts)[[0, -1]] for counts in histograms(frames).T]
    return _table_by_layer(np.stack([np.arange(256).clip(*bounds) for bounds in seen], axis=-1), operation)


def _equalization(frames: np.ndarray, operation: Operation) -> np.ndarray:
    """Do what KerasCV's Equalization does, in the same whole numbers."""
    counts = histograms(frames)
    step = (counts.sum(axis=0) - np.where(counts, counts, counts.max()).min(axis=0)) // 255
    below = np.cumsum(counts, axis=0) - counts
    some = np.maximum(step, 1)
    table = np.clip((below + some // 2) // some, 0, 255)
    return np.where(step > 0, table, np.arange(256)[:, None]).astype(np.uint8)


def _contrast(frames: np.ndarray, operation: Operation) -> np.ndarray:
    """Do what KerasCV's RandomContrast does; the mean of so many float32 is the layer's: all that contrast 0 leaves."""
    flat = _by_layer(frames.reshape(1, -1, *frames.shape[2:]), dataclasses.replace(operation, values=(0.0,)))
    means = flat[0, 0, 0]
    values = (np.arange(256, dtype=np.float32)[:, None] - means) * np.float32(operation.values[0]) + means
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=16)
def _built(magnitude: float) -> tuple[Any, ...]:
    try:
        import keras
        from keras_cv.layers import RandAugment

        layers = tuple(RandAugment.get_standard_policy((0, 255), magnitude, MAGNITUDE_STDDEV))
        for layer in layers:
            layer.dtype_policy = keras.dtype_policies.DTypePolicy("float32")
    except Exception as error:
        raise _unavailable(error) from error
    return layers


def _policy(magnitude: float) -> tuple[Any, ...]:
    """Return the layers; a lock keeps threads from building, and importing KerasCV, at the same time."""
    with _building:
        return _built(magnitude)


def _unavailable(error: Exception) -> UserError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(
        "RandAugment (data.augmentation.rand_augment) needs KerasCV working with the installed TensorFlow, which it "
        f"does not ({type(error).__name__}: {reason[0]}); install the extra keras_actrec[augment] with the pinned "
        "TensorFlow of requirements.txt, or set rand_augment to 0."
    )


def _sample(factor: Any, rng: np.random.Generator) -> float:
    """Draw from one of KerasCV's factor samplers."""
    kind = type(factor).__name__
    if kind == "NormalFactorSampler":
        return float(np.clip(rng.normal(factor.mean, factor.stddev), factor.min_value, factor.max_value))
    if kind == "UniformFactorSampler":
        return float(rng.uniform(factor.lower, factor.upper))
    if kind == "ConstantFactorSampler":
        return float(factor.value)
    raise TypeError(f"KerasCV's factor sampler {kind} is not known here")


def _either_sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


_DRAWS = {
    "AutoContrast": lambda layer, rng: (),
    "Equalization": lambda layer, rng: (),
    "Solarization": lambda layer, rng: (_sample(layer.addition_factor, rng), _sample(layer.threshold_factor, rng)),
    "RandomColorDegeneration": lambda layer, rng: (_sample(layer.factor, rng),),
    "RandomContrast": lambda layer, rng: (_sample(layer.factor, rng),),
    "RandomBrightness": lambda layer, rng: (_sample(layer.factor, rng) * 255,),
    "RandomShear": lambda layer, rng: tuple(
        _sample(factor, rng) * _either_sign(rng) for factor in (layer.x_factor, layer.y_factor)
    ),
    "RandomTranslation": lambda layer, rng: (
        float(rng.uniform(layer.width_lower, layer.width_upper)),
        float(rng.uniform(layer.height_lower, layer.height_upper)),
    ),
}

_TABLES = {
    "AutoContrast": _auto_contrast,
    "Equalization": _equalization,
    "Solarization": _every_value,
    "RandomContrast": _contrast,
    "RandomBrightness": _every_value,
}
"""What makes a table of all values, for the operations that look at one value at a time."""
