"""The section `training`: how the network learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from keras_actrec.config.cluster import ClusterConfig
from keras_actrec.config.section import Count, NonNegative, Positive, Section, Share
from keras_actrec.config.semi_supervised import SemiSupervisedConfig


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


class MetricConfig(Section):
    """Metric learning: the network learns codes, near for clips of one class and far for others."""

    clips_per_class: Annotated[int, Field(ge=2)] = 2
    """Clips of a class in a batch; `training.batch_size` must be a multiple of it."""
    code: Count = 256
    """Length of the code that a network without one gets before its classifier."""
    semi_hard: bool = False
    """`n_pair`: only negatives less like the anchor than its positive count, where there are any."""
    symmetric: bool = False
    """`n_pair`: both clips of a pair are anchors, compared with all clips of the other pairs; else the first one is,
    compared with the second ones, as in the paper."""
    standardize: bool = False
    """Bring each number of the code to mean 0 and variance 1 over the batch (batch normalisation without weights)."""
    normalize: bool = False
    """Codes are brought to length 1 before they are compared; with `n_pair`, then divided by `temperature`."""
    temperature: Positive = 0.1
    """Of normalised codes: similarities are divided by it."""
    code_penalty: NonNegative = 0.0
    """`n_pair`: factor of the mean squared length of the codes, which keeps them from growing (Sohn 2016, Eq. 8)."""
    cross_entropy: NonNegative = 0.0
    """Factor of the cross entropy of a linear classifier on the codes, which is trained beside them and thrown away:
    its vectors of classes show the way while single clips are compared. 0: the loss of codes alone."""


class RepositoryConfig(Section):
    """The codes by which actions are recognised (MS3D's full repository)."""

    fragments: Count = 10
    """Training videos of each action, w; all of them where there are fewer."""
    passes: Count = 1
    """How often each of them is encoded, p, with frames chosen anew."""
    gamma: Literal["per_class", "global"] = "global"
    """Whether each action has its own largest distance."""
    false_accepts: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the validation videos of other actions that may lie within gamma of an action's centre."""


class TrainingConfig(Section):
    """How the network learns."""

    regime: Literal["end_to_end", "transfer"] = "end_to_end"
    """`transfer`: the backbone is frozen, frame features are computed once and cached, only the head is trained."""
    objective: Literal["cross_entropy", "n_pair", "supervised_contrastive"] = "cross_entropy"
    """What is minimised: cross entropy of the logits, or a loss of metric learning on the codes before them. With the
    latter the classifier is the distance to the centres of the classes' codes."""
    metric: MetricConfig = MetricConfig()
    repository: RepositoryConfig | None = None
    """Keep a repository of codes beside the model; metric learning always does."""
    semi_supervised: SemiSupervisedConfig | None = None
    """Learn from the clips without a label as well (docs/semi-supervised.md); not given: from the labelled ones."""
    epochs: Count = 20
    batch_size: Count = 8
    """Global batch size, over all devices."""
    steps_per_epoch: Annotated[int, Field(ge=0)] = 0
    """Batches of an epoch, for which the clips go round; 0: each clip once (semi-supervised: each unlabelled one)."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    select_by: Literal["val_accuracy", "val_loss", "last"] = "val_accuracy"
    """What chooses the epoch whose weights are kept: the validation split, or none, the `last` one is."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after so many epochs without improvement; 0: never."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    devices: Literal["auto"] | tuple[str, ...] = "auto"
    """`auto`: all GPUs found, else the CPU; or names such as ["GPU:0", "GPU:1"]."""
    cluster: ClusterConfig = ClusterConfig()
    """Several processes, on one machine or on many, that train this network together (docs/multi-node.md)."""
    virtual_cpus: Annotated[int, Field(ge=0)] = 0
    """Split the CPU into so many logical devices, to try MirroredStrategy without a GPU."""
    jit_compile: Literal["auto"] | bool = "auto"
    """XLA; `auto`: off on CPU and under MirroredStrategy."""
    deterministic: bool = True
    """Ask the backend for reproducible kernels."""
    init_from: str | None = None
    """A run directory, `.keras` model or weights file to start from."""

    @model_validator(mode="after")
    def _batches_hold_whole_classes(self) -> TrainingConfig:
        if self.objective == "cross_entropy":
            return self
        per_class = self.metric.clips_per_class
        if self.batch_size % per_class or self.batch_size < 2 * per_class:
            raise ValueError(
                f"objective {self.objective}: batch_size must hold metric.clips_per_class ({per_class}) clips of at "
                f"least two classes, so 2, 3, .. times {per_class}; got {self.batch_size}"
            )
        if self.regime == "transfer":
            raise ValueError(f"objective {self.objective} trains end to end; set regime: end_to_end")
        return self

    @model_validator(mode="after")
    def _stopping_early_needs_a_measure(self) -> TrainingConfig:
        if self.select_by == "last" and self.patience:
            raise ValueError("patience waits for a better epoch: set select_by to val_accuracy or val_loss")
        return self

    @model_validator(mode="after")
    def _regimes_are_apart(self) -> TrainingConfig:
        if self.semi_supervised is not None and (self.regime == "transfer" or self.objective != "cross_entropy"):
            raise ValueError(
                "semi_supervised trains end to end with cross entropy; set regime: end_to_end and objective: "
                "cross_entropy"
            )
        if self.steps_per_epoch and (self.regime == "transfer" or self.objective != "cross_entropy"):
            raise ValueError("steps_per_epoch lets single clips go round: not with regime transfer or metric learning")
        return self
