"""AutoAugment (Cubuk et al., 2019): the policy learnt on ImageNet, one draw for all frames of a clip.

The policy is 25 pairs of operations (the paper's Table 9). A clip gets one pair; each of its two operations is applied
with its own probability, at its own of ten strengths. The strengths and their signs are torchvision's, spread evenly
over the paper's ranges (Table 6): shear to 0.3, rotation to 30 degrees, factors of colour, contrast and sharpness
1 +- 0.9, thresholds from 255 down to 0, bits from 8 down to 4. The paper's other operations (ShearY, translations,
Brightness, Cutout, sample pairing) have no place in this policy.

Operations mean what they mean in Pillow, with which the policy was learnt, but for three things: operations that look
at an image's statistics (AutoContrast, Equalize, Contrast) look at all frames together, so that equal pixels stay
equal over time and nothing flickers; maps in space interpolate linearly; and what they bring in from outside is grey.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from keras_actrec.data.lookup_table import histograms, look_up

_POLICY = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.8, 0), ("Equalize", 0.6, 0)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 0), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 0), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 0)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 0)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 0), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 0)),
    (("Equalize", 0.0, 0), ("Equalize", 0.8, 0)),
    (("Invert", 0.6, 0), ("Equalize", 1.0, 0)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 0)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 0)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 0)),
    (("Equalize", 0.4, 0), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 0)),
    (("Invert", 0.6, 0), ("Equalize", 1.0, 0)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 0), ("Equalize", 0.6, 0)),
)
"""Pairs of operation, probability, and number of the strength in 0..9 (0 for operations that have none)."""
_SPATIAL = ("ShearX", "Rotate")
_FILL = 128
_GREY = np.array([0.299, 0.587, 0.114])
"""Luma of ITU-R BT.601, as in Pillow."""
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
"""Pillow's kernel of the blurred picture that `Sharpness` departs from."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """One drawn operation.

    Attributes:
        name: the paper's name.
        value: shear (shift to the left per pixel downwards), angle in degrees (counter-clockwise), factor, threshold,
            or number of bits; 0 for operations without a strength.
    """

    name: str
    value: float = 0.0

    @property
    def spatial(self) -> bool:
        """Whether it moves pixels, so that a depth video must follow."""
        return self.name in _SPATIAL


def draw(rng: np.random.Generator) -> tuple[Operation, ...]:
    """Draw one of the policy's pairs, and of its operations those that are applied: none, one or both, in order."""
    pair = _POLICY[int(rng.integers(len(_POLICY)))]
    chances, signs = rng.random(2), rng.integers(2, size=2) * 2 - 1
    return tuple(
        Operation(name, _value(name, strength, int(sign)))
        for (name, probability, strength), chance, sign in zip(pair, chances, signs, strict=True)
        if chance < probability
    )


def apply(frames: np.ndarray, operations: tuple[Operation, ...], colour: bool = True) -> np.ndarray:
    """Apply drawn operations to all frames.

    Args:
        frames: uint8 (T, H, W, C); C is 3 where colour operations are wanted. Is not changed.
        operations: as `draw` gave them.
        colour: False leaves out what changes colours only (for depth), and fills with 0 instead of grey.

    Returns:
        uint8 (T, H, W, C).
    """
    for operation in operations:
        if operation.spatial:
            frames = _move(frames, _matrix(operation, *frames.shape[1:3]), _FILL if colour else 0)
        elif colour:
            frames = _COLOUR[operation.name](frames, operation.value)
    return frames


def _value(name: str, strength: int, sign: int) -> float:
    """Return what a strength in 0..9 means; the sign, -1 or 1, counts where an operation has two directions."""
    part = strength / 9
    if name == "ShearX":
        return sign * 0.3 * part
    if name == "Rotate":
        return sign * 30.0 * part
    if name in ("Color", "Contrast", "Sharpness"):
        return 1 + sign * 0.9 * part
    if name == "Solarize":
        return 255 * (1 - part)
    if name == "Posterize":
        return float(8 - round(4 * part))
    return 0.0


def _matrix(operation: Operation, height: int, width: int) -> np.ndarray:
    """Return float64 (2, 3): from output pixel (x, y, 1) to source pixel, centres of pixels at whole numbers."""
    if operation.name == "ShearX":  # about the upper left corner, as the authors' code does
        return np.array([[1, operation.value, operation.value / 2], [0, 1, 0]])
    forwards = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), operation.value, 1.0)
    return cv2.invertAffineTransform(forwards)


def _move(frames: np.ndarray, matrix: np.ndarray, fill: int) -> np.ndarray:
    height, width = frames.shape[1:3]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    result = np.empty(frames.shape, np.uint8)
    for source, target in zip(frames, result, strict=True):
        moved = cv2.warpAffine(
            source, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 4
        )
        target[...] = moved.reshape(target.shape)
    return result


def _posterize(frames: np.ndarray, bits: float) -> np.ndarray:
    """Keep the upper bits."""
    dropped = 8 - round(bits)
    return look_up(frames, (np.arange(256) >> dropped << dropped).astype(np.uint8))


def _solarize(frames: np.ndarray, threshold: float) -> np.ndarray:
    """Invert values from the threshold on."""
    values = np.arange(256)
    return look_up(frames, np.where(values < threshold, values, 255 - values).astype(np.uint8))


def _invert(frames: np.ndarray, _: float) -> np.ndarray:
    return look_up(frames, np.arange(255, -1, -1, dtype=np.uint8))


def _auto_contrast(frames: np.ndarray, _: float) -> np.ndarray:
    """Stretch each channel's values to 0..255; a channel of one value stays as it is."""
    table = np.tile(np.arange(256), (frames.shape[3], 1))
    for channel, counts in enumerate(histograms(frames).T):
        low, high = np.flatnonzero(counts)[[0, -1]]
        if low < high:
            table[channel] = np.clip((np.arange(256) - low) * 255 // (high - low), 0, 255)
    return look_up(frames, table.T.astype(np.uint8))


def _equalize(frames: np.ndarray, _: float) -> np.ndarray:
    """Spread each channel's values so that about equally many pixels have each (Pillow's whole-number rule)."""
    table = np.tile(np.arange(256), (frames.shape[3], 1))
    for channel, counts in enumerate(histograms(frames).T):
        last = np.flatnonzero(counts)[-1]
        step = int(counts.sum() - counts[last]) // 255
        if step:
            below = np.cumsum(counts) - counts
            table[channel] = np.minimum((step // 2 + below) // step, 255)
    return look_up(frames, table.T.astype(np.uint8))


def _contrast(frames: np.ndarray, factor: float) -> np.ndarray:
    """Stretch around the mean grey of the clip."""
    grey = round(float(_GREY @ cv2.mean(frames.reshape(-1, *frames.shape[2:]))[:3]))
    return look_up(frames, np.clip(np.rint(grey + factor * (np.arange(256) - grey)), 0, 255).astype(np.uint8))


def _color(frames: np.ndarray, factor: float) -> np.ndarray:
    """Move colours away from their grey, or towards it."""
    matrix = factor * np.eye(3) + (1 - factor) * np.tile(_GREY, (3, 1))
    return cv2.transform(frames.reshape(-1, *frames.shape[2:]), matrix).reshape(frames.shape)


def _sharpness(frames: np.ndarray, factor: float) -> np.ndarray:
    """Move each frame away from a blurred copy, or towards it; its outermost pixels stay as they are."""
    result = frames.copy()
    for source, target in zip(frames, result, strict=True):
        inside = cv2.addWeighted(source, factor, cv2.filter2D(source, -1, _SMOOTH), 1 - factor, 0)
        target[1:-1, 1:-1] = inside.reshape(target.shape)[1:-1, 1:-1]
    return result


_COLOUR = {
    "Posterize": _posterize,
    "Solarize": _solarize,
    "Invert": _invert,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Contrast": _contrast,
    "Color": _color,
    "Sharpness": _sharpness,
}
