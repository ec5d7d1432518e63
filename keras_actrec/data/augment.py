"""Random changes of a clip: one draw for all of its frames, and one resampling per frame.

Zoom, rotation and shifts (paper: pso-convnet-transformer, Table "augmentation": 0.1, 8 degrees, 0.2), the crop or fit
to the network's square and the flips are composed into one affine map, so that each frame is interpolated once. The
map is Keras' own (`ImageDataGenerator`: rotation, then shift, then zoom, about the centre; both axes are zoomed
independently; borders repeat). One thing differs: what a map brings in from beyond the square is taken from the frame
as long as the frame has it, since the frame is wider than the square that is cut from it.

A `Draw` is frozen and in relative units. The same one can therefore be applied to a video and to its depth, whatever
their resolutions are; colours change only where `colour=True`.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from keras_actrec.data import auto_augment, patch_dropout, randaugment
from keras_actrec.data.views import Augmentation

_GREY = np.array([0.299, 0.587, 0.114])
"""Luma of ITU-R BT.601, as in OpenCV and torchvision."""
_BLANK = 128
_PREFILTER = 1.5
"""Source pixels per output pixel from which frames are first shrunk by areas, against aliasing."""


@dataclasses.dataclass(frozen=True)
class Draw:
    """One outcome of an `Augmentation`. The defaults change nothing.

    Attributes:
        region: left, top, width and height of the random resized crop as shares of the frame; None: the view's fit.
        zoom_x, zoom_y: size of what is seen relative to the square (above 1: zoomed out).
        rotation_deg: rotation, in degrees.
        shift_x, shift_y: shift of the seen square, as shares of its width and height.
        flip: left and right are swapped.
        flip_vertical: top and bottom are swapped.
        brightness, contrast, saturation: factors.
        hue: turn of the colour circle, as a share of it.
        operations: RandAugment's operations, in order.
        auto_operations: AutoAugment's operations, in order; after RandAugment's.
        patches: which patches are blanked, last of all.
    """

    region: tuple[float, float, float, float] | None = None
    zoom_x: float = 1.0
    zoom_y: float = 1.0
    rotation_deg: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    flip: bool = False
    flip_vertical: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    operations: tuple[randaugment.Operation, ...] = ()
    auto_operations: tuple[auto_augment.Operation, ...] = ()
    patches: patch_dropout.Patches = ()

    @property
    def affine(self) -> bool:
        """Whether more than a crop and flips is asked for."""
        neutral = (1.0, 1.0, 0.0, 0.0, 0.0)
        return (self.zoom_x, self.zoom_y, self.rotation_deg, self.shift_x, self.shift_y) != neutral


IDENTITY = Draw()


def draw(augmentation: Augmentation | None, rng: np.random.Generator, height: int, width: int) -> Draw:
    """Draw one outcome.

    Equal states of `rng` give equal draws. Space, colour, RandAugment, chances, AutoAugment and patches have random
    numbers of their own, and a setting that is off uses its number up all the same: two views of one clip whose
    settings differ in some things still agree in the others.

    Args:
        augmentation: the bounds; None gives the identity.
        rng: source of all randomness.
        height: of the frames, in pixels; the aspect ratio of the resized crop needs it and the width.
        width: of the frames, in pixels.
    """
    if augmentation is None:
        return IDENTITY
    # What is new comes last, so that the random numbers of the others stay what they were.
    space, colour, policy, chances, auto, patches = (np.random.default_rng(rng.integers(2**63)) for _ in range(6))
    flip_vertical, recolour = chances.random() < augmentation.flip_vertical, chances.random() < augmentation.colour
    return Draw(
        **_draw_space(augmentation, space, height, width),
        **(_draw_colour(augmentation, colour) if recolour else {}),
        flip_vertical=flip_vertical,
        operations=randaugment.draw(policy, augmentation.rand_augment, augmentation.rand_augment_magnitude),
        auto_operations=auto_augment.draw(auto) if augmentation.auto_augment else (),
        patches=patch_dropout.draw(patches, augmentation.patch_dropout, augmentation.patch_grid),
    )


def apply(
    frames: np.ndarray, outcome: Draw, size: int, fit: str = "crop", position: float = 0.5, colour: bool = True
) -> np.ndarray:
    """Apply one draw to all frames of a clip.

    Args:
        frames: uint8 (T, H, W, C).
        outcome: the draw.
        size: height and width of the result, in pixels.
        fit: "crop" cuts a square out, "squash" ignores the aspect ratio, "pad" adds black borders.
        position: where along the longer side "crop" cuts: 0 start, 0.5 centre, 1 end.
        colour: change colours, too (not for depth); blanked patches are mid grey, else 0.

    Returns:
        uint8 (T, size, size, C).
    """
    region = _region(frames.shape[1], frames.shape[2], outcome, fit, position)
    border = cv2.BORDER_CONSTANT if fit == "pad" else cv2.BORDER_REPLICATE
    if outcome.affine:
        result = _warp(frames, matrix(region, outcome, size), size, border)
    else:
        result = _flip(_cut(frames, region, size), outcome)
    if colour:
        result = _recolour(result, outcome)
    result = randaugment.apply(result, outcome.operations, colour)
    result = auto_augment.apply(result, outcome.auto_operations, colour)
    return patch_dropout.apply(result, outcome.patches, _BLANK if colour else 0)


def short_side(height: int, width: int, outcome: Draw, size: int, fit: str = "crop") -> int:
    """Return the shorter side of a decoded frame, in pixels, that gives this draw about one pixel per output pixel."""
    _, _, wide, high = _region(height, width, outcome, fit, 0.5)
    seen = min(wide * min(outcome.zoom_x, 1.0), high * min(outcome.zoom_y, 1.0))
    return max(1, math.ceil(size * min(height, width) / seen - 1e-6))


def matrix(region: tuple[float, float, float, float], outcome: Draw, size: int) -> np.ndarray:
    """Return float64 (2, 3): from output pixel (x, y, 1) to source pixel, centres of pixels at whole numbers.

    Args:
        region: left, top, width, height of the seen square in source pixels.
        outcome: the draw.
        size: output size, in pixels.
    """
    left, top, wide, high = region
    angle = math.radians(outcome.rotation_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    to_unit = np.array([[1 / size, 0, 0.5 / size - 0.5], [0, 1 / size, 0.5 / size - 0.5], [0, 0, 1]])
    flip = np.diag([-1.0 if outcome.flip else 1.0, -1.0 if outcome.flip_vertical else 1.0, 1.0])
    zoom = np.diag([outcome.zoom_x, outcome.zoom_y, 1.0])
    shift = np.array([[1, 0, outcome.shift_x], [0, 1, outcome.shift_y], [0, 0, 1]])
    rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    to_source = np.array([[wide, 0, left + wide / 2 - 0.5], [0, high, top + high / 2 - 0.5], [0, 0, 1]])
    return (to_source @ rotation @ shift @ zoom @ flip @ to_unit)[:2]


def _draw_space(augmentation: Augmentation, rng: np.random.Generator, height: int, width: int) -> dict[str, object]:
    zoom, shift = augmentation.zoom, augmentation.shift
    return {
        "rotation_deg": _uniform(rng, -augmentation.rotation_deg, augmentation.rotation_deg),
        "shift_x": _uniform(rng, -shift, shift),
        "shift_y": _uniform(rng, -shift, shift),
        "zoom_x": _uniform(rng, 1 - zoom, 1 + zoom),
        "zoom_y": _uniform(rng, 1 - zoom, 1 + zoom),
        "flip": bool(rng.random() < augmentation.flip),
        "region": _draw_region(augmentation, rng, height, width),
    }


def _draw_colour(augmentation: Augmentation, rng: np.random.Generator) -> dict[str, float]:
    bounds = {name: getattr(augmentation, name) for name in ("brightness", "contrast", "saturation")}
    factors = {name: _uniform(rng, max(0.0, 1 - bound), 1 + bound) for name, bound in bounds.items()}
    return {**factors, "hue": _uniform(rng, -augmentation.hue, augmentation.hue)}


def _draw_region(
    augmentation: Augmentation, rng: np.random.Generator, height: int, width: int
) -> tuple[float, float, float, float] | None:
    """Draw area and aspect ratio until the crop lies within the frame, ten times at most (as torchvision does)."""
    if augmentation.resized_crop >= 1:
        return None
    low, high = augmentation.crop_ratio
    for _ in range(10):
        area = _uniform(rng, augmentation.resized_crop, 1.0) * height * width
        ratio = math.exp(_uniform(rng, math.log(low), math.log(high)))
        across, down = math.sqrt(area * ratio) / width, math.sqrt(area / ratio) / height
        if across <= 1 and down <= 1:
            return (_uniform(rng, 0.0, 1 - across), _uniform(rng, 0.0, 1 - down), across, down)
    ratio = min(max(width / height, low), high)
    across, down = min(1.0, height * ratio / width), min(1.0, width / ratio / height)
    return ((1 - across) / 2, (1 - down) / 2, across, down)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _region(height: int, width: int, outcome: Draw, fit: str, position: float) -> tuple[float, float, float, float]:
    """Return left, top, width and height of what the square shows, in source pixels."""
    if outcome.region is not None:
        left, top, across, down = outcome.region
        return (left * width, top * height, across * width, down * height)
    if fit == "squash":
        return (0.0, 0.0, float(width), float(height))
    if fit == "pad":
        side = max(height, width)
        return ((width - side) / 2, (height - side) / 2, side, side)
    side = min(height, width)
    return ((width - side) * position, (height - side) * position, side, side)


def _cut(frames: np.ndarray, region: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Crop at whole pixels and resize; parts beyond the frame are black."""
    height, width = frames.shape[1:3]
    left, top = math.floor(region[0] + 0.5), math.floor(region[1] + 0.5)
    wide, high = max(1, round(region[2])), max(1, round(region[3]))
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + wide, width), min(top + high, height)
    inside = frames[:, y0:y1, x0:x1]
    # Borders of the square are computed in output pixels, so that padding costs no larger frames.
    across, down = max(1, round((x1 - x0) * size / wide)), max(1, round((y1 - y0) * size / high))
    resized = resize(inside, down, across)
    if (down, across) == (size, size):
        return resized
    result = np.zeros((len(frames), size, size, frames.shape[3]), np.uint8)
    row, column = round((y0 - top) * size / high), round((x0 - left) * size / wide)
    row, column = min(row, size - down), min(column, size - across)
    result[:, row : row + down, column : column + across] = resized
    return result


def _flip(frames: np.ndarray, outcome: Draw) -> np.ndarray:
    across, down = -1 if outcome.flip else 1, -1 if outcome.flip_vertical else 1
    return np.ascontiguousarray(frames[:, ::down, ::across])


def resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 (T, H, W, C): by areas when shrinking, else bilinearly."""
    if frames.shape[1:3] == (height, width):
        return np.ascontiguousarray(frames)
    shrinks = height * width < frames.shape[1] * frames.shape[2]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    result = np.empty((len(frames), height, width, frames.shape[3]), np.uint8)
    for source, target in zip(frames, result, strict=True):
        target[...] = cv2.resize(source, (width, height), interpolation=way).reshape(target.shape)
    return result


def _warp(frames: np.ndarray, transform: np.ndarray, size: int, border: int) -> np.ndarray:
    density = math.sqrt(abs(np.linalg.det(transform[:, :2])))
    if density > _PREFILTER:
        height, width = frames.shape[1:3]
        frames = resize(frames, max(1, round(height / density)), max(1, round(width / density)))
        scale_y, scale_x = frames.shape[1] / height, frames.shape[2] / width
        shrink = np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2]])
        transform = shrink @ np.vstack([transform, [0, 0, 1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    result = np.empty((len(frames), size, size, frames.shape[3]), np.uint8)
    for source, target in zip(frames, result, strict=True):
        warped = cv2.warpAffine(source, transform, (size, size), flags=flags, borderMode=border)
        target[...] = warped.reshape(target.shape)
    return result


def _recolour(frames: np.ndarray, outcome: Draw) -> np.ndarray:
    """Change brightness, contrast, saturation (in this order, as one colour matrix), then hue.

    Contrast stretches around the mean grey of the whole clip, so that frames do not flicker.
    """
    tall = frames.reshape(-1, *frames.shape[2:])
    if (outcome.brightness, outcome.contrast, outcome.saturation) != (1.0, 1.0, 1.0):
        grey = float(_GREY @ cv2.mean(tall)[:3]) * outcome.brightness
        saturate = outcome.saturation * np.eye(3) + (1 - outcome.saturation) * np.tile(_GREY, (3, 1))
        linear = saturate * (outcome.brightness * outcome.contrast)
        offset = np.full((3, 1), (1 - outcome.contrast) * grey)
        tall = cv2.transform(tall, np.hstack([linear, offset]))
    if outcome.hue:
        hsv = cv2.cvtColor(tall, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(round(outcome.hue * 256) % 256)
        tall = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    return tall.reshape(frames.shape)
