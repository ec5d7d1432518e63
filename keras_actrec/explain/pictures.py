"""Colours: frames, heat and signed maps as pictures, uint8 RGB. OpenCV only.

Every map is scaled by one number for the whole clip, so that the pictures of one row can be compared.
"""

from __future__ import annotations

import cv2
import numpy as np

_ROBUST = 99.7
"""Percentile that counts as full colour in maps of single pixels, where a few outliers would leave all else grey."""


def scaled(heat: np.ndarray, percentile: float = 100.0) -> np.ndarray:
    """Return heat (T, H, W) in 0..1: divided by its largest value, or by a percentile and cut off there."""
    top = float(np.percentile(heat, percentile))
    top = top if top > 0 else float(heat.max())
    return np.clip(heat / top, 0, 1) if top > 0 else np.zeros_like(heat)


def coloured(heat: np.ndarray) -> np.ndarray:
    """Return heat (T, H, W) as pictures (T, H, W, 3) from black over red to yellow."""
    return _coloured(scaled(heat), cv2.COLORMAP_INFERNO)


def overlaid(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return frames (T, H, W, 3) under heat (T, h, w): blue where lukewarm, red where warmest, untouched where cold."""
    heat = resized(scaled(heat), frames.shape[1:3])
    share = (0.7 * np.sqrt(heat))[..., None]
    return np.round(frames * (1 - share) + _coloured(heat, cv2.COLORMAP_TURBO) * share).astype(np.uint8)


def guided(signed: np.ndarray) -> np.ndarray:
    """Return signed RGB values (T, H, W, 3) as colours about mid-grey, which stands for zero."""
    top = float(np.percentile(np.abs(signed), _ROBUST)) or float(np.abs(signed).max())
    return np.round(127.5 + 127.5 * np.clip(signed / top, -1, 1) if top else np.full(signed.shape, 127.5)).astype(
        np.uint8
    )


def two_sided(frames: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Return pale grey frames (T, H, W, 3) under signed values (T, h, w): red speaks for the class, blue against it."""
    top = float(np.percentile(np.abs(signed), _ROBUST)) or float(np.abs(signed).max())
    values = resized(np.clip(signed / top, -1, 1) if top else signed, frames.shape[1:3])
    grey = 170 + 70 * frames.mean(axis=-1, keepdims=True) / 255
    colour = np.where(values[..., None] > 0, (200.0, 0.0, 0.0), (0.0, 40.0, 200.0))
    share = np.abs(values)[..., None]
    return np.round(grey * (1 - share) + colour * share).astype(np.uint8)


def weighed(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return frames (T, H, W, 3) with a bar at the foot of each, as long as its weight (T,); the longest is full."""
    result = np.round(frames * 0.8).astype(np.uint8)
    height, width = frames.shape[1:3]
    thick = max(height // 10, 2)
    for picture, weight, share in zip(result, weights, scaled(weights), strict=True):
        picture[height - thick :] = 40
        picture[height - thick :, : round(width * float(share))] = (255, 170, 0)
        write(picture, f"{weight:.3f}", (4, height - thick - 5), 0.42, (255, 255, 255))
    return result


def resized(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return maps (T, h, w) or pictures (T, h, w, 3) at another height and width."""
    height, width = shape
    way = cv2.INTER_AREA if height < maps.shape[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(one, (width, height), interpolation=way) for one in maps])


def enlarged(pictures: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return pictures (T, h, w, 3) of another size with their pixels kept visible."""
    height, width = shape
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_NEAREST) for one in pictures])


def write(picture: np.ndarray, text: str, place: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    """Write into a picture (H, W, 3), in place; OpenCV's letters are ASCII, others become question marks."""
    ascii_text = text.encode("ascii", "replace").decode()
    cv2.putText(picture, ascii_text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def circle(picture: np.ndarray, row: float, column: float, radius: int) -> None:
    """Draw a white ring with a dark rim into a picture (H, W, 3), in place."""
    for thickness, colour in ((4, (0, 0, 0)), (2, (255, 255, 255))):
        cv2.circle(picture, (round(column), round(row)), radius, colour, thickness, cv2.LINE_AA)


def _coloured(heat: np.ndarray, colours: int) -> np.ndarray:
    pictures = [cv2.applyColorMap(np.round(one * 255).astype(np.uint8), colours) for one in heat]
    return np.stack(pictures)[..., ::-1]
