"""A whole run: data, network, training, evaluation, report. A run that is killed at any step can be resumed."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from keras_actrec import files
from keras_actrec.config import RunConfig
from keras_actrec.data.manifest import Manifest
from keras_actrec.evaluation import folds, report
from keras_actrec.training import datasets, distribution, joint
from keras_actrec.training.cluster import Place, find_place
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.fold import check_model, run_fold
from keras_actrec.training.measure import describe
from keras_actrec.training.run_directory import RunDirectory


def run(config: RunConfig, resume: str | None = None) -> Path | None:
    """Train and evaluate as the configuration says.

    Args:
        config: of the run.
        resume: None for a new run, "latest" for the newest unfinished one of this configuration (a new one when there
            is none), or a run directory.

    Returns:
        The run directory; None in a process that computed along with another one, which keeps the run.

    Raises:
        UserError: a mistake in the configuration or the data.
    """
    check_model(config)
    place = find_place(config.training.cluster, os.environ)
    if resume not in (None, "latest") and (place is None or place.is_chief):
        RunDirectory.open(resume)  # before a data set is rendered or read
    if place is not None:
        return _run_together(config, resume, place)
    if config.joint:
        return _run_joint(config, resume)
    return _run(config, resume, distribution.set_up(config.training))


def _run_together(config: RunConfig, resume: str | None, place: Place) -> Path | None:
    """Run as one of several processes."""
    from keras_actrec.training import following, forming  # TensorFlow alone can do this

    hardware = forming.form(config, place)
    with hardware.links.accounted_for():
        if hardware.writes:
            path = _run(config, resume, hardware)
            hardware.links.dismiss()
            return path
        following.follow(hardware)
    return None


def _run(config: RunConfig, resume: str | None, hardware: Hardware) -> Path:
    fold_numbers = datasets.fold_numbers(config)
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
    """Run each fold in a sub-directory of its own, then summarise them; their times are added."""
    results, seconds = [], []
    for number in numbers:
        config = datasets.in_fold(directory.config, number)
        manifest = datasets.load(config)
        fold = directory.child(f"fold-{number}", config, manifest)
        directory.say(f"fold {number} of {len(numbers)}")
        results.append(files.read_json(fold.metrics) if fold.finished else run_fold(fold, manifest, hardware))
        seconds.append(files.read_json(fold.timing).get("training_sec") if fold.timing.exists() else None)
        directory.say(describe(results[-1]))
        keras.utils.clear_session()
    summary = folds.summarise(results)
    files.write_json(directory.metrics, summary)
    if None not in seconds:
        directory.add_timing(training_sec=round(sum(seconds), 1))
    links = {number: f"fold-{number}/report.html" for number in numbers}
    report.write_folds(directory.report, summary, title=directory.path.name, links=links)
    directory.say(folds.table(summary))
    directory.say(f"report: {directory.report}")
    directory.mark_finished()
