"""Draws shapes into frames with OpenCV: colour and depth in one pass, as the four channels of one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from keras_actrec.data.synthetic.camera import Camera
from keras_actrec.data.synthetic.scene import MARGIN
from keras_actrec.data.synthetic.shapes import Colour, Disc, Shape, Stroke

_FRACTION_BITS = 4
_SUBPIXEL = 1 << _FRACTION_BITS
_FAR, _NEAR, _GREY_PER_HEIGHT = 40, 250, 100.0

Brush = Callable[[np.ndarray, int, int], None]
"""Draws one shape into a picture, at a frame, with a depth in grey levels."""


def paint(shapes: Sequence[Shape], camera: Camera, backdrop: np.ndarray, drift: np.ndarray) -> list[np.ndarray]:
    """Draw every frame, far shapes first.

    Args:
        shapes: in scene coordinates.
        camera: gives the number of frames T and where things lie.
        backdrop: uint8, `MARGIN` times as large as a frame: red, green, blue, depth.
        drift: movement of the backdrop's picture beside the camera's, in pixels, float (T, 2).

    Returns:
        T pictures uint8 (H, W, 4): red, green, blue, depth (bright is near).
    """
    height, width = round(backdrop.shape[0] / MARGIN), round(backdrop.shape[1] / MARGIN)
    placed = [camera.project(shape.points) for shape in shapes]
    nearness = np.stack([near.mean(axis=1) for _, near in placed], axis=1)
    order = np.argsort(nearness, axis=1, kind="stable")
    grey = np.clip(140.0 + _GREY_PER_HEIGHT * nearness, _FAR, _NEAR).astype(int)
    brushes = [_brush(shape, pixels, camera) for shape, (pixels, _) in zip(shapes, placed, strict=True)]
    pictures = _backgrounds(backdrop, camera.matrices, drift, height, width)
    for time, picture in enumerate(pictures):
        depths = grey[time].tolist()
        for index in order[time].tolist():
            brushes[index](picture, time, depths[index])
    return pictures


def boxes(shapes: Sequence[Shape], camera: Camera, height: int, width: int) -> np.ndarray:
    """Return the rectangle around shapes in every frame, clipped to the picture.

    Returns:
        float (T, 4): left, top, right, bottom in pixels.
    """
    corners = []
    for shape in shapes:
        half = 0.5 * shape.width if isinstance(shape, Stroke) else getattr(shape, "radius", 0.0)
        pixels, reach = camera.project(shape.points)[0], half * camera.scale * camera.zooms()[:, None]
        corners.append(np.concatenate([pixels.min(axis=1) - reach, pixels.max(axis=1) + reach], axis=1))
    stacked = np.stack(corners)
    found = np.concatenate([stacked[:, :, :2].min(axis=0), stacked[:, :, 2:].max(axis=0)], axis=1)
    return np.clip(found, 0.0, [width, height, width, height])


def _backgrounds(
    backdrop: np.ndarray, matrices: np.ndarray, drift: np.ndarray, height: int, width: int
) -> list[np.ndarray]:
    margin = np.array([(backdrop.shape[1] - width) / 2, (backdrop.shape[0] - height) / 2])
    moved = matrices.copy()
    moved[:, :, 2] += drift - matrices[:, :, :2] @ margin
    size, edge = (width, height), cv2.BORDER_REFLECT_101
    return [cv2.warpAffine(backdrop, matrix, size, flags=cv2.INTER_LINEAR, borderMode=edge) for matrix in moved]


def _brush(shape: Shape, pixels: np.ndarray, camera: Camera) -> Brush:
    """Prepare the drawing of one shape in all frames."""
    points = np.rint(pixels * _SUBPIXEL).astype(np.int32)
    if isinstance(shape, Stroke):
        widths = np.maximum(1, np.rint(shape.width * camera.scale * camera.zooms())).astype(int).tolist()
        return _stroke(points.tolist(), widths, shape.colour)
    if isinstance(shape, Disc):
        radii = np.rint(shape.radius * camera.scale * camera.zooms() * _SUBPIXEL).astype(int).tolist()
        return _disc(points[:, 0].tolist(), radii, shape.colour)
    return _polygon(points, shape.colour)


def _stroke(points: list, widths: list[int], colour: Colour) -> Brush:
    def brush(picture: np.ndarray, time: int, depth: int) -> None:
        start, end = points[time]
        cv2.line(picture, start, end, (*colour, depth), widths[time], cv2.LINE_AA, _FRACTION_BITS)

    return brush


def _disc(centres: list, radii: list[int], colour: Colour) -> Brush:
    def brush(picture: np.ndarray, time: int, depth: int) -> None:
        cv2.circle(picture, centres[time], radii[time], (*colour, depth), -1, cv2.LINE_AA, _FRACTION_BITS)

    return brush


def _polygon(points: np.ndarray, colour: Colour) -> Brush:
    def brush(picture: np.ndarray, time: int, depth: int) -> None:
        cv2.fillConvexPoly(picture, points[time], (*colour, depth), cv2.LINE_AA, _FRACTION_BITS)

    return brush
