"""The whole configuration of a run, and its shorter sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from keras_actrec.config.data import OWN_OF_A_DATA_SET, DataConfig
from keras_actrec.config.model import ModelConfig
from keras_actrec.config.section import Count, Section
from keras_actrec.config.semi_supervised import STRONG
from keras_actrec.config.training import TrainingConfig


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
    open_set: bool = True
    """Where the data set has clips of unknown classes: how well they are told from the known ones."""
    ensemble: bool = False
    """Semi-supervised training of two networks: test the auxiliary one, and both together, too."""
    velocity_videos: Annotated[int, Field(ge=0)] = 0
    """Measure videos per second from file to answer, on so many test videos; 0: do not."""


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

    @model_validator(mode="before")
    @classmethod
    def _strong_views_begin_with_weak_ones(cls, document: Any) -> Any:
        training = document.get("training") if isinstance(document, dict) else None
        semi = training.get("semi_supervised") if isinstance(training, dict) else None
        data = document.get("data", {}) if isinstance(semi, dict) else None
        weak = data.get("augmentation", {}) if isinstance(data, dict) else None
        strong = semi.get("strong", STRONG) if isinstance(semi, dict) else None
        if not isinstance(weak, dict) or not isinstance(strong, dict):
            return document
        # MixUp is refused beside semi-supervised learning; of the strong views nobody has said it.
        weak = {name: value for name, value in weak.items() if name != "mixup"}
        semi = {**semi, "strong": {**weak, **strong}}
        return {**document, "training": {**training, "semi_supervised": semi}}

    @model_validator(mode="after")
    def _joint_data_fits_one_network(self) -> RunConfig:
        for entry in self.joint:
            for name in ("frames", "size", "modalities", "tempos", "targets"):
                ours, theirs = getattr(self.data, name), getattr(entry, name)
                if ours != theirs:
                    raise ValueError(f"one network takes one input: data.{name} is {ours}, in `joint` it is {theirs}")
        if self.joint and self.folds == "all":
            raise ValueError("folds: all is for one data set; with `joint`, choose data.fold and that of each entry")
        if self.joint and self.data.targets != "label":
            raise ValueError("`joint` has a head for each data set; with it, data.targets must be label")
        return self

    @model_validator(mode="after")
    def _metric_learning_has_one_label(self) -> RunConfig:
        objective = self.training.objective
        if objective == "cross_entropy" and self.training.repository is None:
            return self
        what = f"training.objective {objective}" if objective != "cross_entropy" else "training.repository"
        if self.joint or self.data.targets != "label":
            raise ValueError(f"{what} knows one label per clip; remove `joint`, and set data.targets: label")
        if self.data.augmentation.mixup and objective != "cross_entropy":
            raise ValueError(f"{what} compares clips of one class each; set data.augmentation.mixup: 0")
        return self

    @model_validator(mode="after")
    def _semi_supervised_learning_has_one_label(self) -> RunConfig:
        if self.training.semi_supervised is None:
            return self
        for wrong, remedy in {
            "several data sets (`joint`)": "remove `joint`" if self.joint else "",
            "verbs and nouns": "set data.targets: label" if self.data.targets != "label" else "",
            "MixUp": "set data.augmentation.mixup: 0" if self.data.augmentation.mixup else "",
            "several examples of a video": "set data.instances: 1" if self.data.instances > 1 else "",
            "several tempos": "remove data.tempos" if self.data.tempos else "",
        }.items():
            if remedy:
                raise ValueError(f"training.semi_supervised does not work with {wrong}: {remedy}")
        self._auxiliary_can_read_its_frames()
        return self

    def _auxiliary_can_read_its_frames(self) -> None:
        """Hold what the auxiliary network is given to the rules of the section `data`."""
        auxiliary = self.training.semi_supervised.auxiliary
        if auxiliary is None:
            return
        try:
            DataConfig.model_validate(self.data.model_dump() | auxiliary.data_changes)
        except ValidationError as error:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise ValueError(f"training.semi_supervised.auxiliary: with its own frames, {reason}") from None
