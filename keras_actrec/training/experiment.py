"""A whole run: data, network, training, evaluation, report. A run that is killed at any step can be resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_actrec import backbones, files, models
from keras_actrec.config import RunConfig, load_config
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UserError
from keras_actrec.evaluation import folds, provenance, report
from keras_actrec.training import datasets, distribution, feature_cache, inputs, supervised, weights
from keras_actrec.training.callbacks import Companion
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.measure import describe, evaluate_split, measure
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.seeding import seed_everything
from keras_actrec.training.supervised import Fitted


def run(config: RunConfig, resume: str | None = None) -> Path:
    """Train and evaluate as the configuration says.

    Args:
        config: of the run.
        resume: None for a new run, "latest" for the newest unfinished one of this configuration (a new one when there
            is none), or a run directory.

    Returns:
        The run directory.

    Raises:
        UserError: a mistake in the configuration or the data.
    """
    check_model(config)
    fold_numbers = datasets.fold_numbers(config)
    hardware = distribution.set_up(config.training)
    manifest = datasets.load(datasets.in_fold(config, fold_numbers[0]))
    directory = open_run(config, manifest, resume)
    with directory, directory.interruptible():
        if directory.finished:
            directory.say(f"the run {directory.path} has already finished")
        elif config.folds == "all":
            run_folds(directory, fold_numbers, hardware)
        else:
            directory.say(describe(run_fold(directory, manifest, hardware)))
            directory.say(f"report: {directory.report}")
    return directory.path


def check_model(config: RunConfig) -> models.ModelConfig:
    """Validate the section `model` before anything is rendered, read or written; return its config for two classes."""
    return model_config(config, num_classes=2)


def model_config(config: RunConfig, num_classes: int) -> models.ModelConfig:
    """Return the architecture's config: the section `model`, with frames and size from the section `data`."""
    return models.make_config(
        config.model.name, num_classes, frames=config.data.frames, size=config.data.size, **config.model.options
    )


def open_run(config: RunConfig, manifest: Manifest, resume: str | None) -> RunDirectory:
    """Make a run directory, or find the one to continue."""
    if resume is None:
        return RunDirectory.create(config, manifest)
    if resume == "latest":
        found = RunDirectory.find_resumable(config, manifest)
        if found is None:
            print("there is no unfinished run of this configuration; a new one begins", flush=True)
        return found or RunDirectory.create(config, manifest)
    return RunDirectory.reopen(resume, config, manifest)


def run_folds(directory: RunDirectory, numbers: list[int], hardware: Hardware) -> None:
    """Run each fold in a sub-directory of its own, then summarise them."""
    results = []
    for number in numbers:
        config = datasets.in_fold(directory.config, number)
        manifest = datasets.load(config)
        fold = directory.child(f"fold-{number}", config, manifest)
        directory.say(f"fold {number} of {len(numbers)}")
        results.append(files.read_json(fold.metrics) if fold.finished else run_fold(fold, manifest, hardware))
        directory.say(describe(results[-1]))
        keras.utils.clear_session()
    summary = folds.summarise(results)
    files.write_json(directory.metrics, summary)
    links = {number: f"fold-{number}/report.html" for number in numbers}
    report.write_folds(directory.report, summary, title=directory.path.name, links=links)
    directory.say(folds.table(summary))
    directory.say(f"report: {directory.report}")
    directory.mark_finished()


def run_fold(
    directory: RunDirectory, manifest: Manifest, hardware: Hardware, companion: Companion | None = None
) -> dict[str, Any]:
    """Train on one fold, keep the model, evaluate it, and return its metrics; `companion` goes along with training."""
    config = directory.config
    architecture = model_config(config, len(manifest.classes))
    data = inputs.open_inputs(config, manifest, Quarantine(directory.quarantine), architecture.normalization)
    directory.say(describe_start(config, data))

    began = time.monotonic()
    network = build(directory, architecture, hardware)
    record_provenance(directory, manifest)
    fitted = fit(network, data, directory, hardware, companion)
    weights.save_model(network, directory.model)
    directory.add_timing(training_sec=round(time.monotonic() - began, 1))

    baseline = run_baseline(directory, manifest, hardware) if config.evaluation.baseline else None
    metrics = measure(network, data, directory, fitted, baseline)
    directory.mark_finished()
    return metrics


def build(directory: RunDirectory, architecture: models.ModelConfig, hardware: Hardware) -> keras.Model:
    """Build the network on the run's devices, seeded, with the weights that it starts from."""
    config = directory.config
    seed_everything(config.seed, config.training.deterministic)
    with hardware.scope():
        network = models.build_from_config(config.model.name, architecture)
        backbones.synchronize(network, hardware.strategy is not None)
    # A run that is resumed has weights of its own, and the first ones may be gone by then.
    if config.training.init_from and not any(directory.checkpoints.glob("*")):
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


def record_provenance(directory: RunDirectory, manifest: Manifest) -> None:
    """Write down, before training, which clips the network is about to learn from, and what its first weights know."""
    parent = directory.config.training.init_from
    ancestors = []
    if parent:
        known = provenance_of(Path(parent))
        if known is None:
            directory.say(
                f"note: nothing tells which clips {parent} was trained on, so the provenance guard cannot know"
            )
        else:
            ancestors.append(provenance.read(known))
    provenance.write(directory.path / provenance.FILE_NAME, provenance.record(manifest, ancestors=ancestors))


def provenance_of(weights_path: Path) -> Path | None:
    """Return the provenance file that belongs to a run directory or to a file of weights; None for a foreign file."""
    if weights_path.is_dir():
        return weights_path / provenance.FILE_NAME
    candidates = [provenance.beside(weights_path), *(up / provenance.FILE_NAME for up in weights_path.parents[:2])]
    return next((path for path in candidates if path.exists()), None)


def run_baseline(directory: RunDirectory, manifest: Manifest, hardware: Hardware) -> dict[str, Any]:
    """Train the single-frame baseline with the same backbone, data and budget; return its metrics."""
    config = baseline_config(directory.config)
    child = directory.child("baseline", config, manifest)
    if child.finished:
        return files.read_json(child.metrics)
    directory.say("single-frame baseline: the same backbone and budget, one frame per clip")
    return run_fold(child, manifest, hardware)


def baseline_config(config: RunConfig) -> RunConfig:
    """Return the configuration of the single-frame baseline of a run."""
    shared = {option.name for option in models.describe("single_frame")} & config.model.options.keys()
    options = {name: config.model.options[name] for name in shared}
    changes = {
        "name": "baseline",
        "model": {"name": "single_frame", **options},
        "training": {**config.training.model_dump(), "regime": "end_to_end", "init_from": None},
        "evaluation": {**config.evaluation.model_dump(), "baseline": False, "probes": False},
        "logging": {"tensorboard": False},
    }
    return RunConfig.model_validate(config.model_dump() | changes)


def describe_start(config: RunConfig, data: Inputs) -> str:
    """Return the lines that a run begins with."""
    sizes = ", ".join(f"{len(data.manifest.split(name)):,} {name}" for name in ("train", "validation", "test"))
    return (
        f"{config.model.name} on {data.manifest.name}, fold {data.manifest.fold}: "
        f"{len(data.manifest.classes)} classes, {sizes} clips; seed {config.seed}, "
        f"{keras.backend.backend()} on {os.cpu_count()} cores"
    )


def evaluate_run(
    path: str, *, split: str, overrides: Sequence[str] = (), allow_contaminated: bool = False, out: str | None = None
) -> dict[str, Any]:
    """Evaluate a run's model on a split of its own data set, or of the data that `overrides` name.

    Args:
        path: run directory with a kept model.
        split: "train", "validation" or "test".
        overrides: `key=value`, such as "data.fold=2" or "evaluation.clips=5".
        allow_contaminated: evaluate clips that the model has learnt from all the same; the result says so.
        out: JSON file for the result; default `evaluation-SPLIT.json` in the run directory.

    Raises:
        UserError: no such run, or the provenance guard refuses.
    """
    directory = RunDirectory.open(path)
    if not directory.model.exists():
        raise UserError(f"{path} holds no trained model yet; continue its training with --resume {path}.")
    config = load_config(directory.path / "config.yaml", overrides)
    hardware = distribution.set_up(config.training)
    manifest = datasets.load(config)
    contamination = provenance.check(
        provenance.read(directory.path / provenance.FILE_NAME),
        manifest,
        manifest.split(split),
        allow_contaminated=allow_contaminated,
    )
    architecture = model_config(config, len(manifest.classes))
    data = inputs.open_inputs(config, manifest, Quarantine(), architecture.normalization)
    with hardware.scope():
        network = keras.saving.load_model(directory.model)
    result = evaluate_split(network, data, split, contamination)
    target = Path(out) if out else directory.path / f"evaluation-{split}.json"
    files.write_json(target, result)
    print(describe(result))
    if contamination:
        print(f"CONTAMINATED: {contamination.describe()}")
    print(f"evaluation: {target}")
    return result
