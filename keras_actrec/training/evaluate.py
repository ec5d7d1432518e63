"""Evaluate finished runs: one on any split, or several whose answers are averaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_actrec import files
from keras_actrec.config import RunConfig, load_config
from keras_actrec.data.manifest import Clip
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UserError
from keras_actrec.evaluation import fusion, provenance, results, run_search
from keras_actrec.evaluation.predict import Predictions, predict
from keras_actrec.evaluation.provenance import Contamination
from keras_actrec.training import datasets, distribution, inputs, semi_supervised
from keras_actrec.training.fold import model_config_for
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.measure import describe, evaluate_split, size_of, test_details
from keras_actrec.training.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run, opened to be evaluated.

    Attributes:
        directory: of the run.
        config: of the run, with the overrides.
        data: what it reads.
        network: trained.
        contamination: clips of the split that the network has learnt from.
    """

    directory: RunDirectory
    config: RunConfig
    data: Inputs
    network: keras.Model
    contamination: Contamination


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What one of several runs says of a split.

    Attributes:
        name: of the run directory.
        opened: the run.
        predictions: of the split's clips.
        size: number of weights and operations.
    """

    name: str
    opened: Finished
    predictions: Predictions
    size: dict[str, int | None]


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
    opened = open_finished(path, split, overrides, allow_contaminated)
    team = semi_supervised.reopen(opened.network, opened.data, opened.directory)
    if semi_supervised.ensemble_in_vain(opened.config):
        print("note: evaluation.ensemble has no part here: the run has trained one network alone")
    result = evaluate_split(opened.network, opened.data, split, opened.contamination, team)
    _publish(result, Path(out) if out else opened.directory.path / f"evaluation-{split}.json", opened.contamination)
    return result


def fuse_runs(
    paths: Sequence[str],
    *,
    split: str,
    overrides: Sequence[str] = (),
    allow_contaminated: bool = False,
    out: str | None = None,
) -> dict[str, Any]:
    """Evaluate several runs on the same clips and average their probabilities (score fusion, as MFST's RGB + depth).

    Args:
        paths: at least two run directories; trained on the same classes, each with the inputs that it likes.
        split: as for `evaluate_run`.
        overrides: for all of them.
        allow_contaminated: as for `evaluate_run`.
        out: JSON file for the result; default `fused-SPLIT.json` in the first run directory.

    Raises:
        UserError: as `evaluate_run`, or the runs have no clips or classes in common.
    """
    if len(paths) < 2:
        raise UserError("--fuse averages the answers of several runs: name two run directories or more.")
    answers = [_answer(path, split, overrides, allow_contaminated) for path in paths]
    _check_alike(answers, split)
    first = answers[0].opened
    fused = fusion.average([one.predictions for one in answers], [target.of_class for target in first.data.targets])
    contamination = next((one.opened.contamination for one in answers if one.opened.contamination), Contamination())
    result = results.build(
        first.data.manifest,
        model=" + ".join(one.opened.config.model.name for one in answers),
        seed=first.config.seed,
        **_total([one.size for one in answers]),
        validation={},
        test=test_details(fused, first.data),
        quarantined=[entry for one in answers for entry in one.opened.data.quarantine.entries],
        contamination=contamination,
        extra={"split": split, "fused": [_summary(one) for one in answers]},
    )
    for one in answers:
        row = _summary(one)
        print(f"{row['run']} ({row['model']} on {', '.join(row['modalities'])}): top-1 {100 * row['top1']:.1f} %")
    _publish(result, Path(out) if out else first.directory.path / f"fused-{split}.json", contamination)
    return result


def open_finished(path: str, split: str, overrides: Sequence[str], allow_contaminated: bool) -> Finished:
    """Open a run's data and model, after the provenance guard has looked at the split.

    Raises:
        UserError: no such run, no trained model in it, or clips that the model has learnt from.
    """
    directory = RunDirectory.open(path)
    config = load_config(directory.path / "config.yaml", overrides)
    if config.joint:
        names = ", ".join(str(part.parent) for part in sorted(directory.path.glob("*/config.yaml")))
        raise UserError(f"{path} was trained on several data sets; evaluate the run of one of them: {names}.")
    if not directory.model.exists():
        run_search.check_one_network(directory.path)
        raise UserError(f"{path} holds no trained model yet; continue its training with --resume {path}.")
    hardware = distribution.set_up(config.training)
    manifest = datasets.load(config)
    contamination = provenance.check(
        provenance.read(directory.path / provenance.FILE_NAME),
        manifest,
        manifest.split(split),
        allow_contaminated=allow_contaminated,
    )
    architecture = model_config_for(config, manifest)
    data = inputs.open_inputs(config, manifest, Quarantine(), architecture.normalization)
    with hardware.scope():
        network = keras.saving.load_model(directory.model)
    return Finished(directory, config, data, network, contamination)


def _answer(path: str, split: str, overrides: Sequence[str], allow_contaminated: bool) -> _Answers:
    opened = open_finished(path, split, overrides, allow_contaminated)
    predictions = predict(opened.network, opened.data.evaluation(split))
    return _Answers(opened.directory.path.name, opened, predictions, size_of(opened.network))


def _check_alike(answers: Sequence[_Answers], split: str) -> None:
    first = answers[0]
    for other in answers[1:]:
        for name, ours, theirs in (
            ("classes", first.opened.data.manifest.classes, other.opened.data.manifest.classes),
            (f"{split} clips", _clips(first, split), _clips(other, split)),
            ("heads", tuple(first.predictions.heads), tuple(other.predictions.heads)),
        ):
            if ours != theirs:
                raise UserError(
                    f"{first.name} and {other.name} have other {name}; only runs on the same clips and classes can be "
                    "fused. Check data.source, data.fold and data.split_seed of both."
                )


def _clips(one: _Answers, split: str) -> list[tuple[Any, ...]]:
    def key(clip: Clip) -> tuple[Any, ...]:
        return (clip.path, clip.label, clip.start_sec, clip.end_sec)

    return [key(clip) for clip in one.opened.data.manifest.split(split)]


def _total(sizes: Sequence[dict[str, int | None]]) -> dict[str, int | None]:
    """Add the sizes of networks; None where one is not known."""
    return {
        name: None if any(size[name] is None for size in sizes) else sum(size[name] or 0 for size in sizes)
        for name in sizes[0]
    }


def _summary(one: _Answers) -> dict[str, Any]:
    config = one.opened.config
    return {
        "run": one.name,
        "model": config.model.name,
        "modalities": list(config.data.modalities),
        "seed": config.seed,
        "top1": one.predictions.accuracy(),
        "coverage": one.predictions.coverage,
    }


def _publish(result: dict[str, Any], target: Path, contamination: Contamination) -> None:
    files.write_json(target, result)
    print(describe(result))
    if contamination:
        print(f"CONTAMINATED: {contamination.describe()}")
    print(f"evaluation: {target}")
