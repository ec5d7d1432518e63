"""The section `data`: which videos, and what is taken of them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from keras_actrec.config.section import Count, NonNegative, Positive, Section, Share
from keras_actrec.data import views


class StickActions(Section):
    """The data set that is rendered on this machine (`data.source: stick-actions`)."""

    clips_per_class: Count = 100
    """Clips per class, over all groups."""
    difficulty: Literal["easy", "medium", "hard"] = "medium"
    """Clutter, occlusion, camera movement and variety of bodies."""
    seed: int = 0
    """Seed of everything in it."""


class AugmentationConfig(Section):
    """Random changes of training clips, one draw for all frames of a clip. The defaults change nothing."""

    zoom: Share = 0.0
    """Largest relative zoom in or out (paper: 0.1)."""
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation to either side, in degrees (paper: 8)."""
    shift: Share = 0.0
    """Largest shift as a share of width and height (paper: 0.2)."""
    flip: Share = 0.0
    """Probability of a horizontal flip."""
    flip_vertical: Share = 0.0
    """Probability of a vertical flip."""
    resized_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the area that a random resized crop keeps; 1 turns it off."""
    crop_ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """Smallest and largest aspect ratio of the resized crop."""
    colour: Share = 1.0
    """Probability with which a clip's brightness, contrast, saturation and hue are changed at all."""
    brightness: Share = 0.0
    """Largest relative change of brightness."""
    contrast: Share = 0.0
    """Largest relative change of contrast."""
    saturation: Share = 0.0
    """Largest relative change of saturation."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest change of hue, as a share of the colour circle."""
    rand_augment: Annotated[int, Field(ge=0, le=10)] = 0
    """Number of RandAugment operations in a row (KerasCV's policy); 0 turns it off."""
    rand_augment_magnitude: Share = 0.5
    """Strength of RandAugment."""
    auto_augment: bool = False
    """AutoAugment with the policy that was learnt on ImageNet."""
    patch_dropout: Share = 0.0
    """Share of a grid of patches that is blanked, the same ones in all frames."""
    patch_grid: Count = 8
    """Patches per side of that grid."""
    mixup: NonNegative = 0.0
    """Alpha of MixUp's Beta distribution; 0 turns it off."""

    @model_validator(mode="after")
    def _one_policy(self) -> AugmentationConfig:
        if self.rand_augment and self.auto_augment:
            raise ValueError("expected RandAugment or AutoAugment: set rand_augment: 0 or auto_augment: false")
        return self

    def draws(self) -> views.Augmentation:
        """Return the part that is applied clip by clip (MixUp works on batches)."""
        names = [field.name for field in dataclasses.fields(views.Augmentation)]
        return views.Augmentation(**{name: getattr(self, name) for name in names})


class LabelsConfig(Section):
    """Which clips of the training list keep their label; the others become unlabelled ones."""

    per_class: Count | None = None
    """So many clips of each class."""
    rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of each class's clips, at least one clip."""
    list: str | None = None
    """A file that names them: a published list, or that of another run (docs/data.md)."""
    per_group: Count = 1
    """So many clips of a class at most from one group. The group's other clips are left out."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Seed of the draw; default: data.split_seed, else the run's."""

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> LabelsConfig:
        given = [name for name in ("per_class", "rate", "list") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"labels: expected one of per_class, rate and list, got {', '.join(given) or 'none'}")
        return self


class TailorConfig(Section):
    """MS3D's tailor strategy: the clip is cut towards the person, who is made brighter, and what lies around darker."""

    boxes: Literal["auto", "manifest", "yolov8", "none"] = "auto"
    """Where the person boxes come from: the manifest's box files, KerasCV's YOLOv8 detector (box files are made first),
    or nowhere: the whole frame. `auto`: the first of these that is there."""
    weights: str | None = None
    """`yolov8`: preset folder of the detector, or the name of a preset that KerasCV downloads."""
    enhance: Positive = 1.2
    """Factor of the pixels within the box, eta (Eq. 7)."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Factor per ring of the pixels around the box, xi (Eq. 8)."""
    ring_px: Count = 5
    """Width of a ring, in pixels of the network's input."""
    margin: NonNegative = 0.15
    """What the cut leaves around the person on each side, as a share of the boxes' extent over the clip."""
    smooth_frames: Count = 5
    """Over how many frames a box is averaged."""
    crop: bool = True
    """Whether to cut towards the person at all."""

    def wish(self) -> views.Tailor:
        """Return what a view is told of it."""
        names = [field.name for field in dataclasses.fields(views.Tailor)]
        return views.Tailor(**{name: getattr(self, name) for name in names})


class FiftyOneConfig(Section):
    """A FiftyOne dataset of videos (`data.source: fiftyone`)."""

    dataset: str
    """Its name in FiftyOne's database, or a folder that it was exported to."""
    view: str | None = None
    """A view that was saved with it; default: all samples."""
    label_field: str | None = None
    """Field with the labels: `Classification`, `TemporalDetections` (each a clip) or a string; default: `ground_truth`,
    or the only one of these kinds."""
    split_field: str | None = None
    """Field with the splits; default: `split`, or else the samples' tags."""
    group_field: str | None = None
    """Field with the group of a video (person, scene); default: every video is its own."""


OWN_OF_A_DATA_SET = (
    *("source", "root", "lists", "fold", "protocol", "groups", "test_fraction", "fiftyone"),
    *("prepared", "depth_range_mm", "stick_actions", "labels"),
)
"""Keys of the section `data` that say which videos, not what is taken of them."""


class DataConfig(Section):
    """Where the videos are and what is taken of them."""

    source: Literal[
        "stick-actions",
        "folder",
        "ucf101",
        "hmdb51",
        "ntu_rgbd",
        "isogd",
        "diving48",
        "epic_kitchens_100",
        "kinetics",
        "something_something_v2",
        "manifest",
        "fiftyone",
    ] = "stick-actions"
    """Kind of collection. `folder`: class = sub-folder. `manifest`: a CSV in `root`, see docs/data.md. `fiftyone`: a
    FiftyOne dataset, see `fiftyone`."""
    root: str = "datasets/stick-actions"
    """Folder that holds the videos."""
    lists: str | None = None
    """Folder of the collection's own lists, which docs/data.md names (`ntu_rgbd`: samples to leave out, optional); or
    the CSV (`manifest`, default ROOT/manifest.csv)."""
    fold: Annotated[int, Field(ge=1)] = 1
    """Which official split; a top-level `folds: all` runs them all."""
    protocol: Literal["cross_subject", "cross_view", "cross_subject_120", "cross_setup_120"] = "cross_subject"
    """`ntu_rgbd` only: what training and test differ in; with 60 classes, or (`..._120`) all 120."""
    fiftyone: FiftyOneConfig | None = None
    groups: str | None = None
    """`folder` only: regular expression whose first group, found in a file's path, names its group (person, scene)."""
    test_fraction: Share = 0.2
    """Share of the groups that is held out for the test, where nothing names the test clips: `folder`, a `manifest`
    without splits, `fiftyone`."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training list's groups that is held out for validation."""
    labels: LabelsConfig | None = None
    """Keep the labels of a few training clips only; not given: of all."""
    split_seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Seed by which groups are held out; default: the run's seed. Runs that are compared want the same one."""
    prepared: str | None = None
    """Folder or s3:// address of a cache of small JPEG frames (`python -m keras_actrec prepare`), read in place of the
    videos. A folder that does not exist yet is made first."""
    prepared_short_side: Annotated[int, Field(ge=16)] = 256
    """Shorter side of the cache's frames, in pixels."""
    depth_range_mm: tuple[NonNegative, Positive] = (500.0, 4500.0)
    """Nearest and farthest distance of 16 bit depth pictures: grey 255 and 1; 0 stays where nothing was measured."""
    modalities: tuple[views.Modality, ...] = ("rgb",)
    """What the network is given of each video: rgb, depth, or both, frame by frame aligned and changed alike."""
    targets: Literal["label", "verb_noun"] = "label"
    """What is told of a clip: its label, or its verb and its noun, each by a head of its own."""
    frames: Count = 8
    """Frames per clip, T."""
    tempos: tuple[Count, ...] = ()
    """Frames of each of several inputs of the network, drawn apart from the same video: MS3D's are [7, 17, 25]. Then
    `frames` is the length that the network brings them to. Empty: one input of `frames` frames."""
    cameras: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Camera of each tempo, where a recording has several: 0 is the manifest's `path`, 1 the first of its `cameras`."""
    tailor: TailorConfig | None = None
    """Cut clips towards the person and darken what lies around; not given: do not."""
    selection: Literal[get_args(views.Selection)] = "uniform"
    """How frames are chosen: evenly, one random run, several runs, the first T ("shadow"), every STRIDE-th, dense, or
    drawn where much moves (`variance_rate`, MS3D's)."""
    stride: Count = 1
    """Distance between the frames of a run."""
    runs: Count = 1
    """Number of runs for `several_runs`."""
    instances: Count = 1
    """Training examples per video: its clips lie evenly over it, and each is an example of its own. 1: one clip, chosen
    at random in each epoch."""
    order: Literal[get_args(views.Order)] = "natural"
    """Order in which the chosen frames are given, in training and evaluation; the others are for experiments on time:
    `shuffled`, `reversed`, `frozen` (one frame, repeated)."""
    size: Annotated[int, Field(ge=16)] = 112
    """Height and width of the network's input, in pixels."""
    fit: Literal["crop", "squash", "pad"] = "crop"
    """How a frame becomes a square."""
    augmentation: AugmentationConfig = AugmentationConfig()
    stick_actions: StickActions = StickActions()
    workers: Annotated[int, Field(ge=0)] = 0
    """Decoding threads; 0: one per core."""

    @model_validator(mode="after")
    def _runs_divide_frames(self) -> DataConfig:
        if self.frames % self.runs:
            raise ValueError(f"frames ({self.frames}) must be a multiple of runs ({self.runs})")
        return self

    @model_validator(mode="after")
    def _far_is_farther_than_near(self) -> DataConfig:
        near, far = self.depth_range_mm
        if near >= far:
            raise ValueError(f"depth_range_mm: expected the nearest distance and a farther one, got {near:g}, {far:g}")
        return self

    @model_validator(mode="after")
    def _modalities_differ(self) -> DataConfig:
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities: expected rgb, depth or both, each once; got {list(self.modalities)}")
        return self

    @model_validator(mode="after")
    def _a_camera_for_each_tempo(self) -> DataConfig:
        if self.cameras and len(self.cameras) != len(self.tempos):
            raise ValueError(
                f"cameras: expected one for each of the {len(self.tempos)} tempos, got {len(self.cameras)}"
            )
        if self.tempos and self.modalities not in (("rgb",), ("depth",)):
            raise ValueError("tempos: each input shows one modality; set modalities to [rgb] or to [depth]")
        if any(self.cameras) and self.prepared:
            raise ValueError("cameras: a prepared cache holds the first camera alone; remove data.prepared")
        return self
