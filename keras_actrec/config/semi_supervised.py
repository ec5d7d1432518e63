"""The section `training.semi_supervised`: learning from unlabelled clips as well (ActNetFormer, FixMatch, CMPL)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from keras_actrec.config.data import AugmentationConfig
from keras_actrec.config.model import ModelConfig
from keras_actrec.config.section import Count, NonNegative, Positive, Section
from keras_actrec.data import views

STRONG = {"rand_augment": 2, "patch_dropout": 0.2}
"""What strong views change beyond the weak ones where a configuration says nothing of them."""


class AuxiliaryConfig(Section):
    """The second network, and what it is given of the same decoded video."""

    model: ModelConfig = ModelConfig(name="timesformer", width=384, heads=6)
    """Its architecture, as in the section `model`."""
    frames: Count | None = None
    """Frames per clip; default: data.frames."""
    stride: Count | None = None
    """Distance between the frames of a run; default: data.stride."""
    selection: Literal[get_args(views.Selection)] | None = None
    """How frames are chosen; default: data.selection."""
    size: Annotated[int, Field(ge=16)] | None = None
    """Height and width of its input, in pixels; default: data.size."""

    @property
    def data_changes(self) -> dict[str, Any]:
        """What differs from the section `data`."""
        values = {name: getattr(self, name) for name in ("frames", "stride", "selection", "size")}
        return {name: value for name, value in values.items() if value is not None}


class SemiSupervisedConfig(Section):
    """Networks that give each other, or themselves, labels for clips without one."""

    auxiliary: AuxiliaryConfig | None = None
    """The network that the primary one (`model`) learns together with; not given: the primary one alone (FixMatch)."""
    unlabelled_ratio: Count = 5
    """Unlabelled clips per labelled clip of a batch; `training.batch_size` counts the labelled ones."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Smallest probability with which a prediction becomes a pseudo-label."""
    pseudo_weight: NonNegative = 2.0
    """Factor of the pseudo-labels' loss, gamma."""
    contrastive_weight: NonNegative = 2.0
    """Factor of the contrastive loss between the two networks, beta."""
    ramp_epochs: NonNegative = 0.0
    """Epochs over which both factors rise from 0, as long as the networks have learnt little from the labels."""
    temperature: Positive = 0.5
    """Of the contrastive loss."""
    projection: Annotated[int, Field(ge=0)] = 128
    """Width of the representations that are contrasted, made by two dense layers; 0: the networks' own features."""
    teacher: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of a slow copy of each network that gives the pseudo-labels; 0: the network itself does."""
    alignment: bool = False
    """Distribution alignment: pseudo-labels are to be as frequent as the classes among the labelled clips."""
    class_thresholds: bool = False
    """A lower threshold for classes that are learnt slowly (FlexMatch)."""
    strong: AugmentationConfig = AugmentationConfig(**STRONG)
    """Random changes of strong views. What it does not name is as in data.augmentation, which makes the weak views."""

    @property
    def unlabelled_used(self) -> bool:
        """Whether unlabelled clips have any part in the loss."""
        return self.pseudo_weight > 0 or self.contrastive_weight > 0

    @model_validator(mode="after")
    def _two_are_contrasted(self) -> SemiSupervisedConfig:
        if self.auxiliary is None and self.contrastive_weight:
            raise ValueError(
                "contrastive_weight compares two networks: name the second one in `auxiliary`, or set "
                "contrastive_weight: 0"
            )
        if self.strong.mixup:
            raise ValueError("strong: a pseudo-label belongs to one clip; set mixup: 0")
        return self
