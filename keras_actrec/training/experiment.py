"""A whole run: data, network, training, evaluation, report. A run that is killed at any step can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_actrec import files
from keras_actrec.config import RunConfig, load_config
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UserError
from keras_actrec.evaluation import folds, provenance, report
from keras_actrec.training import datasets, distribution, inputs, joint
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.fold import check_model, model_config, run_fold
from keras_actrec.training.measure import describe, evaluate_split
from keras_actrec.training.run_directory import RunDirectory


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
    if resume not in (None, "latest"):
        RunDirectory.open(resume)  # before a data set is rendered or read
    if config.joint:
        return _run_joint(config, resume)
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


def _run_joint(config: RunConfig, resume: str | None) -> Path:
    hardware = distribution.set_up(config.training)
    tasks = joint.load_tasks(config)
    directory = open_run(config, joint.combined_manifest(tasks), resume)
    with directory, directory.interruptible():
        if directory.finished:
            directory.say(f"the run {directory.path} has already finished")
        else:
            joint.run(directory, tasks, hardware)
            directory.say(f"report: {directory.report}")
    return directory.path


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
    config = load_config(directory.path / "config.yaml", overrides)
    if config.joint:
        names = ", ".join(str(part.parent) for part in sorted(directory.path.glob("*/config.yaml")))
        raise UserError(f"{path} was trained on several data sets; evaluate the run of one of them: {names}.")
    if not directory.model.exists():
        raise UserError(f"{path} holds no trained model yet; continue its training with --resume {path}.")
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
