"""What a regime wants of a video, declared: a view. Nothing in `data` knows which regime asks."""

from __future__ import annotations

import dataclasses
from typing import Literal

Modality = Literal["rgb", "depth"]
Selection = Literal["uniform", "random_run", "several_runs", "shadow", "step", "dense", "variance_rate"]
Order = Literal["natural", "shuffled", "reversed", "frozen"]
Normalization = Literal["zero_one", "minus_one_one", "imagenet", "caffe", "kinetics", "slowfast", "sports1m", "none"]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """One random draw per clip, applied alike to all of its frames. The defaults change nothing.

    Attributes:
        zoom: largest relative zoom in or out (paper: 0.1).
        rotation_deg: largest rotation to either side, in degrees (paper: 8).
        shift: largest shift as a share of width and height (paper: 0.2).
        flip, flip_vertical: probability of a horizontal and of a vertical flip.
        resized_crop: smallest share of the area that a random resized crop keeps; 1 turns it off.
        crop_ratio: smallest and largest aspect ratio (width / height) of that crop.
        colour: probability with which brightness, contrast, saturation and hue are changed, all of them or none.
        brightness, contrast, saturation, hue: largest relative change of each (hue: share of the colour circle).
        rand_augment: number of RandAugment operations in a row (KerasCV's policy); 0 turns it off.
        rand_augment_magnitude: their strength in [0, 1].
        auto_augment: whether one pair of operations of AutoAugment's policy for ImageNet follows.
        patch_dropout: share of the patches of the output that are blanked, in [0, 1]; 0 turns it off.
        patch_grid: patches per side.
    """

    zoom: float = 0.0
    rotation_deg: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    flip_vertical: float = 0.0
    resized_crop: float = 1.0
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    colour: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    rand_augment: int = 0
    rand_augment_magnitude: float = 0.5
    auto_augment: bool = False
    patch_dropout: float = 0.0
    patch_grid: int = 8


@dataclasses.dataclass(frozen=True)
class Tailor:
    """MS3D's tailor strategy: the clip is cut towards the person, who is made brighter, and what lies around darker.

    Attributes:
        enhance: factor eta of the pixels within the box (Eq. 7).
        decay: factor xi per ring of the pixels around it (Eq. 8).
        ring_px: width of a ring, in pixels of the network's input.
        margin: what the cut leaves around the person on each side, as a share of the boxes' extent over the clip.
        smooth_frames: over how many frames a box is averaged.
        crop: whether to cut towards the person at all.
    """

    enhance: float = 1.2
    decay: float = 0.9
    ring_px: int = 5
    margin: float = 0.15
    smooth_frames: int = 5
    crop: bool = True


@dataclasses.dataclass(frozen=True)
class View:
    """One input of a network, as made from a video.

    Attributes:
        name: key in the pipeline's dictionary and name of the network's input.
        modality: "rgb", "depth" or "difference" (of adjacent frames).
        frames: number of frames T.
        selection: how the T frames are chosen (see `data.sampling`).
        stride: distance between the frames of a run, in frames.
        runs: number of runs for `several_runs`; T must be a multiple of it.
        instances: training examples per video. From 2 on, example k is the deterministic clip k of so many, and only
            `augmentation` is random; evaluation is not concerned.
        size: height and width of the square that the network takes, in pixels.
        fit: "crop" (centre crop to a square, as in the paper), "squash" or "pad".
        augmentation: random changes, and a random choice of frames; None: nothing random, for validation.
        normalization: how uint8 becomes float at the end of the pipeline.
        clips: clips per video, spread evenly (evaluation).
        crops: 1 (centre) or 3 (start, centre, end of the longer side) per clip (evaluation).
        order: "natural"; the others are for the temporal probe and for training without (the right) time.
        camera: which of a recording's cameras (0: the clip's `path`).
        tailor: cut towards the person of the clip's box file; None: do not. A clip without boxes stays as it is.
    """

    name: str = "rgb"
    modality: Literal["rgb", "depth", "difference"] = "rgb"
    frames: int = 8
    selection: Selection = "uniform"
    stride: int = 1
    runs: int = 1
    instances: int = 1
    size: int = 112
    fit: Literal["crop", "squash", "pad"] = "crop"
    augmentation: Augmentation | None = None
    normalization: Normalization = "zero_one"
    clips: int = 1
    crops: Literal[1, 3] = 1
    order: Order = "natural"
    camera: int = 0
    tailor: Tailor | None = None


def tempo_names(count: int) -> tuple[str, ...]:
    """Return the names of the inputs of a network that looks at a video at several tempos: tempo1, tempo2, ..."""
    return tuple(f"tempo{number}" for number in range(1, count + 1))
