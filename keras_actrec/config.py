"""The run configuration: one YAML file, typed and strict, with `key=value` overrides.

Every mistake becomes one readable `UserError`. An unknown key names the nearest valid one, a wrong value what is
allowed. The section `model` is open, because its keys are the fields of the chosen architecture's own config; they
are checked when the registry builds it. This module imports no Keras, so that the swarm's server can use it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from keras_actrec import files
from keras_actrec.data import views
from keras_actrec.errors import UserError, did_you_mean

Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: no unknown keys, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)


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
    mixup: NonNegative = 0.0
    """Alpha of MixUp's Beta distribution; 0 turns it off."""

    def draws(self) -> views.Augmentation:
        """Return the part that is applied clip by clip (MixUp works on batches)."""
        names = [field.name for field in dataclasses.fields(views.Augmentation)]
        return views.Augmentation(**{name: getattr(self, name) for name in names})


OWN_OF_A_DATA_SET = (
    *("source", "root", "lists", "fold", "protocol", "groups", "test_fraction"),
    *("prepared", "depth_range_mm", "stick_actions"),
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
    ] = "stick-actions"
    """Kind of collection. `folder`: class = sub-folder. `manifest`: a CSV in `root`, see docs/data.md."""
    root: str = "datasets/stick-actions"
    """Folder that holds the videos."""
    lists: str | None = None
    """Folder of the collection's own lists, which docs/data.md names (`ntu_rgbd`: samples to leave out, optional); or
    the CSV (`manifest`, default ROOT/manifest.csv)."""
    fold: Annotated[int, Field(ge=1)] = 1
    """Which official split; a top-level `folds: all` runs them all."""
    protocol: Literal["cross_subject", "cross_view", "cross_subject_120", "cross_setup_120"] = "cross_subject"
    """`ntu_rgbd` only: what training and test differ in; with 60 classes, or (`..._120`) all 120."""
    groups: str | None = None
    """`folder` only: regular expression whose first group, found in a file's path, names its group (person, scene)."""
    test_fraction: Share = 0.2
    """`folder` only: share of the groups that is held out for the test."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training list's groups that is held out for validation."""
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
    selection: Literal[get_args(views.Selection)] = "uniform"
    """How frames are chosen: evenly, one random run, several runs, the first T ("shadow"), every STRIDE-th, dense."""
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


class ModelConfig(BaseModel):
    """The architecture: `name` and the fields of its own config (`python -m keras_actrec models NAME` lists them)."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: str = "convnet_transformer"
    """Name in the registry."""

    @model_validator(mode="after")
    def _no_field_of_the_data(self) -> ModelConfig:
        of_the_data = {name: f"data.{name}" for name in ("frames", "size", "modalities")}
        for name, origin in {"num_classes": "the data set", **of_the_data}.items():
            if name in self.options:
                raise ValueError(f"'{name}' is given by {origin}; remove it from the section `model`")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The fields beside the name."""
        return dict(self.model_extra or {})


class OptimizerConfig(Section):
    """How weights move."""

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: Share = 0.9
    """SGD and RMSprop."""
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    """Decoupled; not applied to biases and normalisation weights."""
    clip_norm: NonNegative = 0.0
    """Largest global norm of the gradient; 0: no clipping."""
    accumulate: Count = 1
    """Batches per step of the optimiser."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of the exponential moving average of the weights that is evaluated and kept; 0: none."""


class ScheduleConfig(Section):
    """How the learning rate changes over the run."""

    name: Literal["constant", "step", "exponential", "cosine", "listed"] = "constant"
    rates: tuple[Positive, ...] = ()
    """`listed`: the learning rate of each epoch; the last one holds on. `optimizer.learning_rate` is not used then."""
    warmup_epochs: NonNegative = 0.0
    """Linear rise from zero before the schedule begins."""
    every_epochs: Positive = 10.0
    """`step` and `exponential`: the rate is multiplied by `factor` once per so many epochs."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    minimum: Share = 0.0
    """`cosine`: last rate, as a share of the first."""

    @model_validator(mode="after")
    def _rates_are_listed(self) -> ScheduleConfig:
        if (self.name == "listed") != bool(self.rates):
            raise ValueError("'listed' and rates belong together: name: listed, rates: [0.01, 0.001]")
        if self.name == "listed" and self.warmup_epochs:
            raise ValueError("'listed' knows no warmup_epochs: list the rising rates")
        return self


class TrainingConfig(Section):
    """How the network learns."""

    regime: Literal["end_to_end", "transfer"] = "end_to_end"
    """`transfer`: the backbone is frozen, frame features are computed once and cached, only the head is trained."""
    epochs: Count = 20
    batch_size: Count = 8
    """Global batch size, over all devices."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    select_by: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    """What chooses the best epoch; always on the validation split."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after so many epochs without improvement; 0: never."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    devices: Literal["auto"] | tuple[str, ...] = "auto"
    """`auto`: all GPUs found, else the CPU; or names such as ["GPU:0", "GPU:1"]."""
    virtual_cpus: Annotated[int, Field(ge=0)] = 0
    """Split the CPU into so many logical devices, to try MirroredStrategy without a GPU."""
    jit_compile: Literal["auto"] | bool = "auto"
    """XLA; `auto`: off on CPU and under MirroredStrategy."""
    deterministic: bool = True
    """Ask the backend for reproducible kernels."""
    init_from: str | None = None
    """A run directory, `.keras` model or weights file to start from."""


class EvaluationConfig(Section):
    """What is measured once training has ended."""

    clips: Count = 1
    """Clips per video whose probabilities are averaged."""
    crops: Literal[1, 3] = 1
    """Crops per clip."""
    batch_size: Count | None = None
    """Videos per batch; default: the training batch size."""
    probes: bool = True
    """Temporal probe: accuracy with frames shuffled, reversed and frozen."""
    baseline: bool = True
    """Train the single-frame baseline with the same backbone and budget, for comparison."""
    throughput: bool = True
    """Measure clips per second."""


class WandbConfig(Section):
    """Weights & Biases (extra `wandb`)."""

    project: str = "keras_actrec"
    mode: Literal["offline", "online"] = "offline"


class LoggingConfig(Section):
    """Where progress goes besides the run directory's own files."""

    tensorboard: bool = True
    wandb: WandbConfig | None = None


class RunConfig(Section):
    """One run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Prefix of the run directory."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    output: str = "runs"
    """Folder in which the run directory is made."""
    folds: Literal["one", "all"] = "one"
    """`all`: run every official fold and report mean and standard deviation."""
    data: DataConfig = DataConfig()
    joint: tuple[DataConfig, ...] = ()
    """Further data sets that the network learns at the same time, each with a classifier of its own on the same body.
    What an entry does not say of frames, sizes and augmentation is taken from `data`."""
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="before")
    @classmethod
    def _joint_data_is_cut_alike(cls, document: Any) -> Any:
        data, joint = (document.get(key) for key in ("data", "joint")) if isinstance(document, dict) else (None, None)
        if not isinstance(data, dict) or not isinstance(joint, (list, tuple)):
            return document
        shared = {name: value for name, value in data.items() if name not in OWN_OF_A_DATA_SET}
        entries = [{**shared, **entry} if isinstance(entry, dict) else entry for entry in joint]
        return {**document, "joint": entries}

    @model_validator(mode="after")
    def _joint_data_fits_one_network(self) -> RunConfig:
        for entry in self.joint:
            for name in ("frames", "size", "modalities", "targets"):
                ours, theirs = getattr(self.data, name), getattr(entry, name)
                if ours != theirs:
                    raise ValueError(f"one network takes one input: data.{name} is {ours}, in `joint` it is {theirs}")
        if self.joint and self.folds == "all":
            raise ValueError("folds: all is for one data set; with `joint`, choose data.fold and that of each entry")
        if self.joint and self.data.targets != "label":
            raise ValueError("`joint` has a head for each data set; with it, data.targets must be label")
        return self


Kind = TypeVar("Kind", bound=RunConfig)


def load_config(path: str | Path, overrides: Sequence[str] = (), kind: type[Kind] = RunConfig) -> Kind:
    """Read a YAML file, apply `section.key=value` overrides in order, and validate the result as `kind`."""
    document = _read_yaml(Path(path))
    for override in overrides:
        _override(document, override)
    return parse_config(document, origin=str(path), kind=kind)


def parse_config(document: dict[str, Any], origin: str = "configuration", kind: type[Kind] = RunConfig) -> Kind:
    """Validate a nested dictionary; raise one `UserError` that lists every mistake in it."""
    if "swarm" in document and "swarm" not in kind.model_fields:
        raise UserError(f"{origin} describes a swarm: start it with python swarm_server.py --config ...")
    try:
        return kind.model_validate(document)
    except pydantic.ValidationError as error:
        lines = [_explain(item, kind) for item in error.errors(include_url=False)]
        raise UserError(f"{origin}: " + "; ".join(lines)) from None


def dump_yaml(config: BaseModel) -> str:
    """Return the resolved configuration as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def save_config(config: BaseModel, path: str | Path) -> None:
    """Publish the resolved configuration."""
    files.write_text(path, dump_yaml(config))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a run configuration, for completion in editors."""
    return RunConfig.model_json_schema()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = did_you_mean(path.name, [entry.name for entry in path.parent.glob("*.yaml")])
        raise UserError(f"there is no configuration at {path}.{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected sections with keys, found {type(document).__name__}.")
    return document


def _override(document: dict[str, Any], override: str) -> None:
    """Set one dotted key in place."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"'{override}' is no override; expected key=value, such as training.epochs=5.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    for depth, part in enumerate(parts[:-1], start=1):
        section = document.setdefault(part, {})
        if section is None:
            section = document[part] = {}
        if not isinstance(section, dict):
            raise UserError(f"'{override}': '{'.'.join(parts[:depth])}' is a value, not a section.")
        document = section
    document[parts[-1]] = value


def _explain(error: dict[str, Any], kind: type[BaseModel]) -> str:
    """Turn one of pydantic's errors into a sentence."""
    location = [part for part in error["loc"] if not (isinstance(part, str) and "[" in part)]
    where = ".".join(map(str, location)) or "the configuration"
    if error["type"] == "extra_forbidden":
        return f"unknown key '{where}'.{did_you_mean(str(location[-1]), _keys_at(location[:-1], kind))}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{where}: {message}" + ("." if isinstance(error["input"], dict) else f" (got {error['input']!r}).")


def _keys_at(location: Sequence[str | int], section: type[BaseModel]) -> list[str]:
    """Return the valid keys of the section at a location below `section`."""
    for part in location:
        if isinstance(part, int):  # an entry of a list, whose section is the list's
            continue
        annotation = section.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(section.model_fields)
