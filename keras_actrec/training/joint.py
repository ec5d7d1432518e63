"""One network on several data sets at once: one body, a classifier for each, a batch of each per step.

Each data set gets a run directory of its own inside of the run's, with its curves, its network (body and its own
classifier, an ordinary `model.keras`), its numbers and its report; the run's own report sets them side by side. Every
decision, such as the best epoch, is taken by the mean over the data sets.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import keras

from keras_actrec import files, models
from keras_actrec.config import RunConfig
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.evaluation import joint_report, provenance
from keras_actrec.evaluation.provenance import Contamination, Provenance
from keras_actrec.models import joint as heads
from keras_actrec.training import datasets, feature_cache, fold, inputs, objectives, supervised, weights
from keras_actrec.training.callbacks import Batches, known_times, write_rows
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.joint_batches import JointBatches
from keras_actrec.training.measure import describe, measure
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.supervised import Fitted


@dataclasses.dataclass(frozen=True)
class Task:
    """One of the data sets.

    Attributes:
        name: of the data set; unique among the tasks.
        config: of a run on it alone.
        manifest: its clips.
    """

    name: str
    config: RunConfig
    manifest: Manifest


@dataclasses.dataclass(frozen=True)
class Part:
    """A task in a run.

    Attributes:
        name: of the task.
        directory: its own run directory.
        data: what it reads.
        network: the shared body with its own classifier.
    """

    name: str
    directory: RunDirectory
    data: Inputs
    network: keras.Model


def load_tasks(config: RunConfig) -> tuple[Task, ...]:
    """Read, or render, all data sets of a joint run; equal names get a number."""
    tasks: list[Task] = []
    for data in (config.data, *config.joint):
        own = config.model_copy(update={"data": data, "joint": ()})
        manifest = datasets.load(own)
        taken = [task.name for task in tasks if task.manifest.name == manifest.name]
        name = f"{manifest.name}-{len(taken) + 1}" if taken else manifest.name
        tasks.append(Task(name, own, manifest))
    return tuple(tasks)


def combined_manifest(tasks: tuple[Task, ...]) -> Manifest:
    """Return all clips of all data sets in one list, with the data set's name before each path and class."""
    clips = [
        dataclasses.replace(clip, path=f"{task.name}/{clip.path}", label=clip.label and f"{task.name}/{clip.label}")
        for task in tasks
        for clip in task.manifest.clips
    ]
    classes = [f"{task.name}/{label}" for task in tasks for label in task.manifest.classes]
    name = "+".join(task.name for task in tasks)
    return Manifest.from_clips(name, tasks[0].manifest.root, tasks[0].manifest.fold, clips, classes)


def run(directory: RunDirectory, tasks: tuple[Task, ...], hardware: Hardware) -> dict[str, Any]:
    """Train on all data sets, keep and evaluate a network for each, and return the numbers side by side."""
    began = time.monotonic() - sum(known_times(directory))  # of the sessions before this one
    parts = _parts(directory, tasks, hardware)
    for part in parts:
        directory.say(fold.describe_start(part.directory.config, part.data))
    _record_provenance(directory, parts)
    fitted = _fit(parts, directory, hardware)
    for part in parts:
        weights.save_model(part.network, part.directory.model)
        write_rows(part.directory.history, _rows_of(part, fitted))
    directory.add_timing(training_sec=round(time.monotonic() - began, 1))

    results = {part.name: _measure(part, fitted, hardware) for part in parts}
    for name, document in results.items():
        directory.say(f"--- {name}\n{describe(document)}")
    summary = joint_report.summarise(results, best_epoch=fitted.best_epoch)
    files.write_json(directory.metrics, summary)
    joint_report.write(directory.report, summary, title=directory.path.name)
    directory.mark_finished()
    return summary


def _parts(directory: RunDirectory, tasks: tuple[Task, ...], hardware: Hardware) -> list[Part]:
    architectures = [fold.model_config(task.config, len(task.manifest.classes)) for task in tasks]
    first = fold.build(directory, architectures[0], hardware)
    with hardware.scope():
        others = [_build_for_its_head(directory.config.model.name, architecture) for architecture in architectures[1:]]
        networks = heads.with_shared_body([first, *others])
    parts = []
    for task, architecture, network in zip(tasks, architectures, networks, strict=True):
        child = directory.child(task.name, task.config, task.manifest)
        quarantine = Quarantine(child.quarantine)
        data = inputs.open_inputs(task.config, task.manifest, quarantine, architecture.normalization)
        parts.append(Part(task.name, child, data, network))
    return parts


def _build_for_its_head(name: str, architecture: models.ModelConfig) -> keras.Model:
    """Build a network of which only the classifier is used: weights of its body need not be fetched."""
    has_weights = any(field.name == "weights" for field in dataclasses.fields(architecture))
    return models.build_from_config(
        name, dataclasses.replace(architecture, weights="none") if has_weights else architecture
    )


def _fit(parts: list[Part], directory: RunDirectory, hardware: Hardware) -> Fitted:
    settings = directory.config.training
    networks, training, validation = {}, {}, {}
    for part in parts:
        networks[part.name], training[part.name], validation[part.name] = _learner(part, directory)
    with hardware.scope():
        network = heads.join(networks)
    return supervised.fit(
        network,
        JointBatches(training, training=True),
        JointBatches(validation, training=False),
        settings,
        directory,
        hardware=hardware,
    )


def _learner(part: Part, directory: RunDirectory) -> tuple[keras.Model, Batches, Batches]:
    """Return what learns of a data set, the whole network or its head on cached features, and its batches."""
    settings = directory.config.training
    if settings.regime == "transfer":
        return feature_cache.cached_head(part.network, part.data, settings, directory)
    return part.network, part.data.training(), part.data.plain("validation")


def _record_provenance(directory: RunDirectory, parts: list[Part]) -> None:
    """Write down for each network that its body has learnt from the other data sets, too."""
    own = {part.name: provenance.record(part.data.manifest) for part in parts}
    # What is kept of a run that is resumed holds its own data sets, too.
    known = [record for record in fold.starting_from(directory) if record not in own.values()]
    for part in parts:
        others = [record for name, record in own.items() if name != part.name]
        fold.record_provenance(part.directory, part.data.manifest, [*known, *others])
    _write_all(directory, list(own.values()), known)


def _write_all(directory: RunDirectory, records: list[Provenance], known: list[Provenance]) -> None:
    first, *others = records
    everything = dataclasses.replace(first, ancestors=(*known, *others))
    provenance.write(directory.path / provenance.FILE_NAME, everything)


def _overlap(part: Part) -> Contamination:
    """Return which test clips of a data set the body has learnt as clips of another one."""
    known = provenance.read(part.directory.path / provenance.FILE_NAME)
    return provenance.find(known, part.data.manifest, part.data.manifest.split("test"))


def _rows_of(part: Part, fitted: Fitted) -> list[dict[str, float]]:
    return [objectives.of_head(row, part.name) for row in fitted.rows]


def _measure(part: Part, fitted: Fitted, hardware: Hardware) -> dict[str, Any]:
    """Evaluate one network on its own test split; a part that a killed run has measured already is only read."""
    directory = part.directory
    if directory.finished:
        return files.read_json(directory.metrics)
    wanted = directory.config.evaluation.baseline
    baseline = fold.run_baseline(directory, part.data.manifest, hardware) if wanted else None
    found = _overlap(part)
    if found:
        directory.say(f"CONTAMINATED: the data sets overlap: {found.describe()}")
    document = measure(part.network, part.data, directory, fitted, baseline, found)
    directory.mark_finished()
    return document
