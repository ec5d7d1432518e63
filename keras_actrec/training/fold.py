"""One fold of one data set: network, training, baseline, evaluation."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from keras_actrec import backbones, files, models
from keras_actrec.config import RunConfig
from keras_actrec.data import labelled_split
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.targets import targets_of
from keras_actrec.evaluation import provenance
from keras_actrec.evaluation.provenance import Provenance
from keras_actrec.models.codes import encoder_of
from keras_actrec.models.joint import with_heads
from keras_actrec.training import (
    coverage,
    feature_cache,
    inputs,
    metric_learning,
    semi_batches,
    semi_supervised,
    supervised,
    weights,
)
from keras_actrec.training.callbacks import Companion, known_times
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.measure import measure
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.seeding import seed_everything
from keras_actrec.training.supervised import Fitted


def check_model(config: RunConfig) -> models.ModelConfig:
    """Validate the networks' options before anything is rendered, read or written.

    Returns:
        The config of the section `model` for two classes.
    """
    semi_supervised.check_auxiliary(config)
    return model_config(config, num_classes=2)


def model_config(config: RunConfig, num_classes: int) -> models.ModelConfig:
    """Return the architecture's config: the section `model`, with what the section `data` says of clips."""
    return models.make_config_for(config.model.name, num_classes, config.data, config.model.options)


def model_config_for(config: RunConfig, manifest: Manifest) -> models.ModelConfig:
    """Return the architecture's config for the classes of a data set; of several heads, for those of the first."""
    return model_config(config, next(iter(heads_of(config, manifest).values()), len(manifest.classes)))


def heads_of(config: RunConfig, manifest: Manifest) -> dict[str, int]:
    """Return name -> number of classes of the heads that `data.targets` asks for; nothing for the label alone."""
    return {target.name: len(target.classes) for target in targets_of(manifest, config.data.targets)}


@dataclasses.dataclass(frozen=True)
class Learnt:
    """What training on one fold gives.

    Attributes:
        network: with the weights of the chosen epoch.
        data: as the network sees it.
        fitted: how training went.
        team: the networks that learnt together, of semi-supervised training.
    """

    network: keras.Model
    data: Inputs
    fitted: Fitted
    team: semi_supervised.Team | None


def train_only(
    directory: RunDirectory, manifest: Manifest, hardware: Hardware, companion: Companion | None = None
) -> Learnt:
    """Train on one fold; no test clip is looked at. `companion` goes along with training."""
    config = directory.config
    architecture = model_config_for(config, manifest)
    data = inputs.open_inputs(config, manifest, Quarantine(directory.quarantine), architecture.normalization)
    directory.say(describe_start(config, data) + hardware.company)
    coverage.keep_receipt(directory, manifest)
    if manifest.notes:
        directory.say(", ".join(manifest.notes))
    if config.data.labels is not None:
        labelled_split.write_list(directory.labelled, manifest, manifest.notes)

    with hardware.together(config, manifest):
        network = build(directory, architecture, hardware, heads_of(config, manifest))
        team = semi_supervised.gather(network, data, hardware) if config.training.semi_supervised else None
        record_provenance(directory, manifest, starting_from(directory))
        fitted = (
            fit(network, data, directory, hardware, companion)
            if team is None
            else semi_supervised.fit(team, directory, hardware, companion)
        )
    return Learnt(network, data, fitted, team)


def run_fold(
    directory: RunDirectory, manifest: Manifest, hardware: Hardware, companion: Companion | None = None
) -> dict[str, Any]:
    """Train on one fold, keep the model, evaluate it, and return its metrics; `companion` goes along with training."""
    config = directory.config
    began = time.monotonic() - sum(known_times(directory))  # of the sessions before this one
    learnt = train_only(directory, manifest, hardware, companion)
    data = learnt.data
    weights.save_model(learnt.network, directory.model)
    network = hardware.alone(learnt.network, directory.model)
    repository = metric_learning.keep_repository(network, data, directory) if keeps_repository(config) else None
    directory.add_timing(training_sec=round(time.monotonic() - began, 1))

    baseline = run_baseline(directory, manifest, hardware) if config.evaluation.baseline else None
    metrics = measure(network, data, directory, learnt.fitted, baseline, repository=repository, team=learnt.team)
    directory.mark_finished()
    return metrics


def keeps_repository(config: RunConfig) -> bool:
    """Return whether a repository of codes belongs to a run."""
    return metric_learning.is_asked_for(config.training) or config.training.repository is not None


def build(
    directory: RunDirectory,
    architecture: models.ModelConfig,
    hardware: Hardware,
    heads: Mapping[str, int] = MappingProxyType({}),
) -> keras.Model:
    """Build the network on the run's devices, seeded, with the weights that it starts from.

    Args:
        directory: of the run.
        architecture: config of the network, for the first of several heads.
        hardware: from `distribution.set_up`.
        heads: name -> number of classes, where a clip has more than one label.

    Raises:
        UserError: a repository of codes belongs to the run, and the network has no code.
    """
    config = directory.config
    seed_everything(config.seed, config.training.deterministic)
    with hardware.scope():
        network = models.build_from_config(config.model.name, architecture)
        if metric_learning.is_asked_for(config.training):
            network = metric_learning.prepare(network, config.training)
        if heads:
            network = with_heads(network, heads)
        if keeps_repository(config):
            encoder_of(network)
        backbones.synchronize(network, hardware.strategy is not None)
    # A run that is resumed has weights of its own, and the first ones may be gone by then.
    if config.training.init_from and hardware.writes and not any(directory.checkpoints.glob("*")):
        weights.init_from(network, config.training.init_from, directory.say)
    return network


def fit(
    network: keras.Model,
    data: Inputs,
    directory: RunDirectory,
    hardware: Hardware,
    companion: Companion | None = None,
) -> Fitted:
    """Train the whole network, or its head on cached frame features."""
    settings = directory.config.training
    if settings.regime == "transfer":
        return feature_cache.fit_head(network, data, settings, directory, hardware=hardware, companion=companion)
    if metric_learning.is_asked_for(settings):
        return metric_learning.fit(network, data, directory, hardware, companion)
    return supervised.fit(
        network,
        data.training(),
        data.plain("validation"),
        settings,
        directory,
        hardware=hardware,
        quarantine=data.quarantine,
        companion=companion,
    )


def record_provenance(directory: RunDirectory, manifest: Manifest, ancestors: Sequence[Provenance]) -> None:
    """Write down, before training, which clips the network is about to learn from, and what else its weights know."""
    learnt, semi = provenance.LEARNT_FROM, directory.config.training.semi_supervised
    if semi is not None and semi.unlabelled_used:
        learnt = (*learnt, "unlabelled")
    record = provenance.record(manifest, splits=learnt, ancestors=ancestors)
    provenance.write(directory.path / provenance.FILE_NAME, record)


def starting_from(directory: RunDirectory) -> list[Provenance]:
    """Return what the weights that a run starts from have learnt from; a note where nothing tells.

    Of a run that is resumed, whose first weights may be gone by then, what was written down when it began.
    """
    parent = directory.config.training.init_from
    if not parent:
        return []
    known, own = provenance_of(Path(parent)), directory.path / provenance.FILE_NAME
    if (known is None or not known.exists()) and own.exists() and (kept := provenance.read(own).ancestors):
        return list(kept)
    if known is None:
        directory.say(f"note: nothing tells which clips {parent} was trained on, so the provenance guard cannot know")
        return []
    return [provenance.read(known)]


def provenance_of(weights_path: Path) -> Path | None:
    """Return the provenance file that belongs to a run directory or to a file of weights; None for a foreign file."""
    if weights_path.is_dir():
        return weights_path / provenance.FILE_NAME
    candidates = [provenance.beside(weights_path), *(up / provenance.FILE_NAME for up in weights_path.parents[:2])]
    return next((path for path in candidates if path.exists()), None)


def run_baseline(directory: RunDirectory, manifest: Manifest, hardware: Hardware) -> dict[str, Any]:
    """Train the single-frame baseline with the same backbone, data and budget; return its metrics."""
    config = baseline_config(directory.config, manifest)
    child = directory.child("baseline", config, manifest)
    if child.finished:
        return files.read_json(child.metrics)
    same = "backbone" if config.model.name == "single_frame" else "network"
    directory.say(f"single-frame baseline: the same {same} and budget, one frame per clip")
    return run_fold(child, manifest, hardware)


def baseline_config(config: RunConfig, manifest: Manifest) -> RunConfig:
    """Return the configuration of the single-frame baseline of a run.

    A network that looks at frames one by one is compared with its own backbone on one frame; any other with itself, on
    clips that repeat one frame. It takes as many steps as a semi-supervised run, whose epochs are those of its
    unlabelled clips.
    """
    semi = config.training.semi_supervised is not None
    steps = semi_batches.steps_per_epoch(config.training, manifest) if semi else config.training.steps_per_epoch
    own = check_model(config)
    frame_wise = hasattr(own, "backbone")
    names = {option.name for option in models.describe("single_frame")} - {"num_classes", "frames", "size"}
    shared = {name: getattr(own, name) for name in sorted(names) if hasattr(own, name)}
    changes = {
        "name": "baseline",
        "joint": (),
        "data": {**config.data.model_dump(), "order": config.data.order if frame_wise else "frozen"},
        "model": {"name": "single_frame", **shared} if frame_wise else config.model.model_dump(),
        "training": {
            **config.training.model_dump(),
            "regime": "end_to_end",
            "semi_supervised": None,
            "steps_per_epoch": steps,
            "init_from": None,
        },
        "evaluation": {**config.evaluation.model_dump(), "baseline": False, "probes": False, "ensemble": False},
        "logging": {"tensorboard": False},
    }
    return RunConfig.model_validate(config.model_dump() | changes)


def describe_start(config: RunConfig, data: Inputs) -> str:
    """Return the lines that a run begins with; what other processes take part stands behind them."""
    sizes = ", ".join(f"{len(data.manifest.split(name)):,} {name}" for name in ("train", "validation", "test"))
    first = (
        f"{config.model.name} on {data.manifest.name}, fold {data.manifest.fold}: "
        f"{len(data.manifest.classes)} classes, {sizes} clips; seed {config.seed}, "
        f"{keras.backend.backend()} on {os.cpu_count()} cores"
    )
    in_vain = ["note: evaluation.ensemble has no part in this run: it trains one network alone"]
    return "\n".join(
        [first, *coverage.verified(data.manifest), *(in_vain if semi_supervised.ensemble_in_vain(config) else [])]
    )
