"""The views of a video that a configuration asks for."""

from __future__ import annotations

import dataclasses

from keras_actrec.config import DataConfig
from keras_actrec.data.views import Modality, View, tempo_names

WITHOUT_COLOUR_MEANS = ("zero_one", "minus_one_one", "none")
"""Normalisations that have a meaning for depth."""


def plain_views(data: DataConfig, normalization: str) -> tuple[View, ...]:
    """Return the plain, deterministic views of a video that the section `data` describes.

    There is one for each modality; with `tempos`, one for each of them, named "tempo1" and so on. Views of several
    modalities differ in nothing else, so that the frames of RGB and depth are the same ones. Where the network wants
    RGB with the means and deviations of a data set, depth comes in -1..1, a range of about the same width.

    Args:
        data: modalities, tempos, frames, how they are chosen, their order, size and fit.
        normalization: what the network takes (a `data.views.Normalization`).
    """
    by_modality = tuple(_view(data, modality, normalization) for modality in data.modalities)
    if not data.tempos:
        return by_modality
    cameras = data.cameras or (0,) * len(data.tempos)
    return tuple(
        dataclasses.replace(by_modality[0], name=name, frames=frames, camera=camera)
        for name, frames, camera in zip(tempo_names(len(data.tempos)), data.tempos, cameras, strict=True)
    )


def _view(data: DataConfig, modality: Modality, normalization: str) -> View:
    of_depth = normalization if normalization in WITHOUT_COLOUR_MEANS else "minus_one_one"
    return View(
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
        tailor=None if data.tailor is None else data.tailor.wish(),
    )
