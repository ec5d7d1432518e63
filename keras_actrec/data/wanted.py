"""The views of a video that a configuration asks for."""

from __future__ import annotations

from keras_actrec.config import DataConfig
from keras_actrec.data.views import View

WITHOUT_COLOUR_MEANS = ("zero_one", "minus_one_one", "none")
"""Normalisations that have a meaning for depth."""


def plain_views(data: DataConfig, normalization: str) -> tuple[View, ...]:
    """Return the plain, deterministic views of a video that the section `data` describes, one for each modality.

    They differ in nothing else, so that the frames of RGB and depth are the same ones. Where the network wants RGB
    with the means and deviations of a data set, depth comes in -1..1, a range of about the same width.

    Args:
        data: modalities, frames, how they are chosen, their order, size and fit.
        normalization: what the network takes (a `data.views.Normalization`).
    """
    of_depth = normalization if normalization in WITHOUT_COLOUR_MEANS else "minus_one_one"
    return tuple(
        View(
            name=modality,
            modality=modality,
            frames=data.frames,
            selection=data.selection,
            stride=data.stride,
            runs=data.runs,
            size=data.size,
            fit=data.fit,
            order=data.order,
            normalization=of_depth if modality == "depth" else normalization,
        )
        for modality in data.modalities
    )
