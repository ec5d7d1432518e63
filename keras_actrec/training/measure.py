"""The last step of a run: measure the trained network on the test split, once, and write metrics and report."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Iterator
from typing import Any

import keras

from keras_actrec import files
from keras_actrec.config import dump_yaml
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantined
from keras_actrec.data.synthetic import TEMPORAL_PAIRS
from keras_actrec.errors import UserError
from keras_actrec.evaluation import (
    codes,
    flops,
    metrics,
    open_set,
    probes,
    pseudo_table,
    report,
    results,
    throughput,
    thumbnails,
    velocity,
)
from keras_actrec.evaluation.predict import Predictions, predict
from keras_actrec.evaluation.provenance import Contamination
from keras_actrec.evaluation.repository import Repository
from keras_actrec.training import coverage, datasets, semi_supervised
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.semi_supervised import Team
from keras_actrec.training.supervised import Fitted

Groups = dict[str, tuple[str, ...]]


def measure(
    network: keras.Model,
    data: Inputs,
    directory: RunDirectory,
    fitted: Fitted,
    baseline: dict[str, Any] | None,
    contamination: Contamination | None = None,
    repository: Repository | None = None,
    team: Team | None = None,
) -> dict[str, Any]:
    """Write `metrics.json` and `report.html`, and return the metrics.

    Args:
        network: trained.
        data: of the run.
        directory: gets the files.
        fitted: which epoch it is.
        baseline: metrics of the single-frame baseline.
        contamination: test clips that the network has learnt from all the same, when several data sets overlap.
        repository: codes by which the network recognises actions, where it keeps one.
        team: the network and the one it learnt together with, after semi-supervised training.
    """
    test = predict(network, data.evaluation("test"))
    document = results.build(
        data.manifest,
        model=data.config.model.name,
        seed=data.config.seed,
        **size_of(network),
        validation=results.headline(predict(network, data.plain("validation"))),
        test=test_details(test, data),
        temporal=probe(network, data) if data.config.evaluation.probes else None,
        single_frame=baseline and baseline["test"],
        quarantined=data.quarantine.entries,
        best_epoch=fitted.best_epoch,
        contamination=contamination,
        extra=_extra(network, data, repository) | _semi_supervised(team, test) | _coverage(data),
    )
    if data.config.evaluation.throughput:
        timed = throughput.measure(network, batch_size=data.config.training.batch_size)
        directory.add_timing(inference=timed.to_json())
    files.write_json(directory.metrics, document)
    if data.config.evaluation.velocity_videos:
        _add_velocity(network, data, directory)
    write_report(directory, data, document, test)
    return document


def evaluate_split(
    network: keras.Model, data: Inputs, split: str, contamination: Contamination, team: Team | None = None
) -> dict[str, Any]:
    """Return the metrics of a finished network on any split, for `python -m keras_actrec evaluate`.

    Args:
        network: trained.
        data: of the run.
        split: which one.
        contamination: clips of it that the network has learnt from.
        team: the network and the one it learnt together with, after semi-supervised training.
    """
    predictions = predict(network, data.evaluation(split))
    return results.build(
        data.manifest,
        model=data.config.model.name,
        seed=data.config.seed,
        **size_of(network),
        validation={},
        test=test_details(predictions, data),
        quarantined=data.quarantine.entries,
        contamination=contamination,
        extra={"split": split, **_tailoring(data)} | _semi_supervised(team, predictions, split),
    )


def _coverage(data: Inputs) -> dict[str, Any]:
    semi = data.config.training.semi_supervised
    return coverage.of(data.manifest, data.quarantine.entries, semi is not None and semi.unlabelled_used)


def _extra(network: keras.Model, data: Inputs, repository: Repository | None) -> dict[str, Any]:
    """Return what only some runs have: how unknown classes are told from known ones, and where boxes came from."""
    wanted = data.config.evaluation.open_set and data.manifest.split("unknown") and not data.targets
    known_from_unknown = {"open_set": _open_set(network, data, repository)} if wanted else {}
    objective = data.config.training.objective
    trained_by = {} if objective == "cross_entropy" else {"objective": objective}
    kept = {"select_by": "last"} if data.config.training.select_by == "last" else {}
    return {**known_from_unknown, **trained_by, **kept, **_tailoring(data)}


def _semi_supervised(team: Team | None, primary: Predictions, split: str = "test") -> dict[str, Any]:
    return {} if team is None else {"semi_supervised": semi_supervised.measure(team, primary, split)}


def _open_set(network: keras.Model, data: Inputs, repository: Repository | None) -> dict[str, Any]:
    known, unknown = (
        codes.encode(network, data.evaluation(split), codes_needed=repository is not None)
        for split in ("test", "unknown")
    )
    return open_set.measure(known, unknown, data.manifest.classes, repository)


def _add_velocity(network: keras.Model, data: Inputs, directory: RunDirectory) -> None:
    """Note how many videos are answered per second; where none can be read, a run whose numbers are kept goes on."""
    try:
        directory.add_timing(velocity=_velocity(network, data))
    except UserError as error:
        directory.say(f"velocity not measured: {error}")


def _velocity(network: keras.Model, data: Inputs) -> dict[str, Any]:
    """Time test videos from file to answer, one after the other; a prepared cache is passed over.

    Raises:
        UserError: none of the first ones that evaluation could read can be read.
    """
    config, lost = data.config, {entry.key for entry in data.quarantine.entries}
    evaluation = data.evaluation("test")
    source = dataclasses.replace(datasets.videos(config.data, data.manifest), threads=None)
    readable = [
        clip
        for clip in data.manifest.split("test")
        if Quarantined(clip.path, clip.split, "", *clip.stretch).key not in lost
    ]
    clips = readable[: config.evaluation.velocity_videos]
    return velocity.measure(network, evaluation.views, source, clips).to_json()


def _tailoring(data: Inputs) -> dict[str, Any]:
    """Return where person boxes came from, and which cameras have none: those of a recording are its first camera's."""
    if data.config.data.tailor is None:
        return {}
    others = sorted(set(data.config.data.cameras) - {0})
    return {"tailor": {"boxes": dict(data.boxes), **({"whole_frame_cameras": others} if others else {})}}


def size_of(network: keras.Model) -> dict[str, int | None]:
    """Return the number of weights, of trainable ones, and of floating point operations for one clip.

    The operations are None when the network has layers whose cost is not known: no number is better than a low one.
    """
    counted = flops.count(network)
    if counted.unknown:
        print(f"flops: not counted, as the cost of these layers is not known: {', '.join(counted.unknown)}")
    return {
        "params": network.count_params(),
        "trainable_params": sum(math.prod(variable.shape) for variable in network.trainable_variables),
        "flops": None if counted.unknown else counted.total,
    }


def test_details(predictions: Predictions, data: Inputs) -> dict[str, Any]:
    """Return all numbers of the test split."""
    evaluation = data.config.evaluation
    return results.details(
        predictions,
        data.manifest.classes,
        clips=evaluation.clips,
        crops=evaluation.crops,
        groups=temporal_pairs(data.manifest),
        heads={target.name: target.classes for target in data.targets},
    )


def probe(network: keras.Model, data: Inputs) -> dict[str, Any]:
    """Return the accuracy with shuffled, reversed and frozen frames."""
    plain = data.evaluation("test")

    def reordered(views: tuple[Any, ...]) -> Loader:
        return data.evaluation("test", order=views[0].order)

    return probes.temporal_probe(network, reordered, plain.views, groups=temporal_pairs(data.manifest))


def temporal_pairs(manifest: Manifest) -> Groups:
    """Return the pairs of classes that differ in the order of their frames alone, where that is known of the data."""
    if manifest.name != "stick-actions":
        return {}
    return metrics.name_pairs([pair for pair in TEMPORAL_PAIRS if set(pair) <= set(manifest.classes)])


def write_report(directory: RunDirectory, data: Inputs, metrics_document: dict[str, Any], test: Predictions) -> None:
    """Write `report.html` from what the run directory holds."""
    sessions = files.read_json(directory.path / "environment.json")["sessions"]
    view = data.views()[0]
    content = report.Content(
        metrics=metrics_document,
        title=directory.path.name,
        history=report.read_history(directory.history),
        counts=data.manifest.counts(),
        quarantined=data.quarantine.entries,
        examples=thumbnails.examples(
            test, data.manifest.split("test"), data.manifest.classes, thumbnails.reader(data.source, view)
        ),
        config_yaml=dump_yaml(directory.config),
        environment=sessions[-1],
        command=shlex.join(sessions[0]["command"]),
        timing=files.read_json(directory.timing) if directory.timing.exists() else {},
        pseudo_labels=pseudo_table.read_pseudo_labels(directory.pseudo_labels),
    )
    report.write(directory.report, content)


def describe(document: dict[str, Any]) -> str:
    """Return the results as text: per class beside the single-frame baseline, then the headline numbers."""
    test, baseline = document["test"], document["baseline"].get("single_frame")
    lines = list(_class_table(test, baseline))
    lines += [_headline(name, head) for name, head in test.get("heads", {}).items()]
    lines.append(_headline("test", test))
    together = document.get("semi_supervised", {})
    lines += [_headline(name, together[name]) for name in ("auxiliary", "ensemble") if name in together]
    if baseline:
        lines.append(_headline("single frame", baseline))
    lines += [f"frames {order}: top-1 {_percent(row['top1'])}" for order, row in document["temporal"].items()]
    lines += [coverage.sentence(document["coverage"])] if "coverage" in document else []
    return "\n".join(lines)


def _class_table(test: dict[str, Any], baseline: dict[str, Any] | None) -> Iterator[str]:
    width = max(map(len, test["per_class"]), default=0)
    yield f"{'class':<{width}}  {'clips':>5}  {'recall':>7}" + ("  single frame" if baseline else "")
    for name, row in test["per_class"].items():
        beside = f"  {_percent(baseline['per_class'][name]['recall']):>12}" if baseline else ""
        yield f"{name:<{width}}  {row['support']:>5}  {_percent(row['recall']):>7}{beside}"


def _headline(name: str, test: dict[str, Any]) -> str:
    pairs = test.get("pairs", {}).get("mean")
    within = "" if pairs is None else f", within temporal pairs {_percent(pairs)}"
    return (
        f"{name}: top-1 {_percent(test['top1'])}, top-5 {_percent(test['top5'])}{within}, "
        f"coverage {_percent(test['coverage'])} ({test['evaluated']} of {test['expected']} clips)"
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
