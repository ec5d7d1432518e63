"""The things that the figure handles, or that merely stand about: a chair, a box, a ball, a door."""

from __future__ import annotations

import numpy as np

from keras_actrec.data.synthetic.shapes import Colour, Disc, Polygon, Shape, Stroke, cuboid, shade, still


def chair(seat: np.ndarray, colour: Colour, frames: int, backrest: float) -> list[Shape]:
    """Return a chair that faces forwards (z).

    Args:
        seat: middle of the seat's upper side, float (3,), in body heights.
        colour: of the wood.
        frames: T.
        backrest: height of the back above the seat; 0 makes it a stool.
    """
    x, y, z = seat
    half, dark = 0.115, shade(colour, 0.75)
    parts = cuboid(still([x, y - 0.02, z], frames), (half, 0.02, half), colour)
    for side in (-1, 1):
        for depth in (-1, 1):
            foot = still([x + side * 0.1, 0.0, z + depth * 0.1], frames)
            parts.append(Stroke(foot, foot + np.array([0.0, y - 0.02, 0.0]), 0.025, dark))
    if backrest > 0:
        corners = [[x - half, y, z - half], [x + half, y, z - half]]
        corners += [[x + half, y + backrest, z - half - 0.03], [x - half, y + backrest, z - half - 0.03]]
        parts.append(Polygon(still(corners, frames), dark))
    return parts


def box(centre: np.ndarray, half: float, colour: Colour) -> list[Shape]:
    """Return a parcel around `centre`, float (T, 3), with edges of twice `half` (a little flatter than wide)."""
    tape = centre + np.array([0.0, 0.8 * half, 0.0])
    lines = [Stroke(tape - np.array([0.0, 0.0, half]), tape + np.array([0.0, 0.0, half]), 0.02, shade(colour, 0.7))]
    return [*cuboid(centre, (half, 0.8 * half, half), colour), *lines]


def ball(centre: np.ndarray, radius: float, colour: Colour) -> list[Shape]:
    """Return a ball with a highlight, at `centre`, float (T, 3)."""
    glint = centre + np.array([-0.3, 0.35, 0.5]) * radius
    return [Disc(centre, radius, colour), Disc(glint, 0.4 * radius, shade(colour, 1.3))]


def door(near: float, far: float, depth: float, angle: np.ndarray, colour: Colour) -> tuple[list[Shape], np.ndarray]:
    """Return a door in a wall across the scene, and where its handle is.

    Args:
        near: x of the edge with the handle.
        far: x of the hinge.
        depth: z of the wall.
        angle: opening in degrees, float (T,); the panel turns towards the viewer.
        colour: of the panel.

    Returns:
        The shapes, and the handle's positions, float (T, 3).
    """
    frames, height, turn = len(angle), 1.02, np.radians(angle)
    across = np.stack([(near - far) * np.cos(turn), np.zeros(frames), abs(near - far) * np.sin(turn)], axis=-1)
    hinge, up = np.array([far, 0.0, depth]), np.array([0.0, height, 0.0])
    panel = np.stack([still(hinge, frames), hinge + across, hinge + across + up, still(hinge + up, frames)], axis=1)
    behind = np.array([[far, 0, depth], [near, 0, depth], [near, height, depth], [far, height, depth]])
    opening = Polygon(still(behind - [0.0, 0.0, 0.05], frames), shade(colour, 0.22))
    frame = [Stroke(still(a, frames), still(b, frames), 0.035, shade(colour, 0.7)) for a, b in _frame(behind)]
    handle = hinge + 0.88 * across + np.array([0.0, 0.5, 0.0])
    middle = panel.mean(axis=1, keepdims=True)
    inlay = Polygon(middle + 0.6 * (panel - middle), shade(colour, 1.12))
    parts = [opening, *frame, Polygon(panel, colour), inlay]
    return [*parts, Disc(handle, 0.022, (225.0, 200.0, 90.0))], handle


def _frame(corners: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both posts and the lintel."""
    return [(corners[0], corners[3]), (corners[3], corners[2]), (corners[2], corners[1])]
