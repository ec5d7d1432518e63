"""The view of a video that a configuration asks for."""

from __future__ import annotations

from keras_actrec.config import DataConfig
from keras_actrec.data.views import View


def plain_view(data: DataConfig, normalization: str) -> View:
    """Return the plain, deterministic view of a video that the section `data` describes.

    Args:
        data: frames, how they are chosen, their order, size and fit.
        normalization: what the network takes (a `data.views.Normalization`).
    """
    return View(
        frames=data.frames,
        selection=data.selection,
        stride=data.stride,
        runs=data.runs,
        size=data.size,
        fit=data.fit,
        order=data.order,
        normalization=normalization,
    )
