"""Which places share a relative-position embedding, seen from one of them: Figure 3.5 of the thesis on RPE-STDT.

Drawn for a grid and a mapping alone, or for a trained `rpe_stdt`: then beside the map, for each spatial layer, how long
its embeddings are (their Euclidean norm, mean over the heads). A layer in which all are alike makes no difference
between places.
"""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.explain import pictures
from keras_actrec.models.rpe_stdt import cluster_map

SIDE = 448
"""Pixels of a map's longer side, about."""
CAPTION, GAP = 24, 16
GOLDEN = 0.618034
"""Share of the colour circle between one cluster's colour and the next one's: neighbours never look alike."""
FLAG = (220, 20, 20)
_SHADES = ((0.35, 0.95), (0.65, 0.9), (0.85, 0.65), (0.45, 0.55))
"""Saturation and brightness, in turn, as hues nearly repeat after 13 and after 21 clusters."""
_INK = (30, 30, 30)


def norms(layer: Any, reference: tuple[int, int] | None = None) -> np.ndarray:
    """Return the length of p_ij for every place j seen from the reference i, float (H, W), mean over the heads.

    Args:
        layer: a built `RelativePositionAttention` over rows and columns.
        reference: row and column, from 0; None: the middle.
    """
    ids = cluster_map(layer.grid, reference, layer.mapping, layer.reach, layer.partition, layer.curvature)
    lengths = np.linalg.norm(np.asarray(layer.clusters, np.float64), axis=-1)
    return (lengths if lengths.ndim == 1 else lengths.mean(axis=0))[ids]


def cell_size(grid: tuple[int, ...]) -> int:
    """Return the pixels of a patch in a picture of (rows, columns)."""
    return max(SIDE // max(grid), 1)


def draw(ids: np.ndarray, reference: tuple[int, int] | None = None, caption: str = "") -> np.ndarray:
    """Return a picture of a map (H, W): one colour for each cluster, a red flag at the reference; uint8 RGB."""
    rows, columns = ids.shape
    order = {cluster: place for place, cluster in enumerate(np.unique(ids))}
    colours = np.array([[_colour(order[cluster]) for cluster in row] for row in ids.tolist()])
    cell = cell_size(ids.shape)
    picture = np.kron(colours, np.ones((cell, cell, 1))).astype(np.uint8)
    picture[::cell] = picture[:, ::cell] = 255
    _flag(picture, reference or (rows // 2, columns // 2), cell)
    return np.concatenate([picture, _caption(caption, picture.shape[1])])


def draw_grid(grid: tuple[int, int], reference: tuple[int, int] | None, mapping: str, reach: int) -> np.ndarray:
    """Return the map of a grid of patches, with how many clusters there are below it; uint8 RGB."""
    ids = cluster_map(grid, reference, mapping, reach)
    return draw(ids, reference, f"{len(np.unique(ids))} clusters, {mapping}")


def draw_norms(values: np.ndarray, top: float, caption: str = "") -> np.ndarray:
    """Return a picture of lengths (H, W), dark for zero and bright for `top`; uint8 RGB."""
    grey = np.clip(values / top if top else values, 0, 1)
    coloured = cv2.applyColorMap(np.round(grey * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    cell = cell_size(values.shape)
    picture = np.kron(coloured, np.ones((cell, cell, 1))).astype(np.uint8)
    return np.concatenate([picture, _caption(caption, picture.shape[1])])


def draw_network(model: Any, reference: tuple[int, int] | None = None) -> np.ndarray:
    """Return the map of a network's spatial layers and, for each layer, the lengths of its embeddings; uint8 RGB.

    Raises:
        UserError: the network has no relative positions over patches.
    """
    layers = _spatial_layers(model)
    if not layers:
        raise UserError(f"'{model.name}' has no relative positions over the patches of frames.")
    first = next(iter(layers.values()))
    ids = cluster_map(first.grid, reference, first.mapping, first.reach, first.partition, first.curvature)
    lengths = {name: norms(layer, reference) for name, layer in layers.items()}
    top = max(float(values.max()) for values in lengths.values())
    panels = [draw(ids, reference, f"{len(np.unique(ids))} clusters, {first.mapping}")]
    panels += [
        draw_norms(values, top, f"{name}: {values.min():.2f} to {values.max():.2f}") for name, values in lengths.items()
    ]
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def write(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture, uint8 RGB, as PNG."""
    with files.publish(Path(path)) as temporary:
        encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1]
        Path(temporary).write_bytes(encoded.tobytes())


def _spatial_layers(model: Any) -> dict[str, Any]:
    """Return the attention of each block that has relative positions over rows and columns, by the block's name."""
    found = {layer.name: getattr(layer, "attention", None) for layer in model.layers}
    return {
        name: attention
        for name, attention in found.items()
        if hasattr(attention, "cluster_index") and len(attention.grid) == 2
    }


def _colour(place: int) -> tuple[int, int, int]:
    hue, shade = place * GOLDEN % 1, place % len(_SHADES)
    red, green, blue = colorsys.hsv_to_rgb(hue, *_SHADES[shade])
    return round(255 * red), round(255 * green), round(255 * blue)


def _flag(picture: np.ndarray, place: tuple[int, int], cell: int) -> None:
    """Draw a flag, about 24 pixels high, into the middle of a cell."""
    middle, centre = (position * cell + cell // 2 for position in place)
    left, top = centre - 6, middle - 10
    cv2.line(picture, (left, top), (left, top + 21), _INK, 2, cv2.LINE_AA)
    corners = np.array([[left + 1, top], [left + 15, top + 5], [left + 1, top + 11]])
    cv2.fillPoly(picture, [corners], FLAG, cv2.LINE_AA)


def _caption(text: str, width: int) -> np.ndarray:
    line = np.full((CAPTION, width, 3), 255, np.uint8)
    pictures.write(line, text, (2, CAPTION - 8), 0.48, _INK)
    return line
