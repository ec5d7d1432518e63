"""One import from beginning to end: read, recognise, build, match, refuse or write."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import yaml

from keras_actrec import files, models
from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.porting import matching, reading, recognition
from keras_actrec.porting.family import Family
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.report import Report

REPORT_SUFFIX = ".import.json"
# Weights that a model would otherwise fetch or start from, which the imported ones replace.
START = {"weights": "none"}


def import_weights(
    model: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Mapping[str, Any] | None = None,
    *,
    family: str | None = None,
    allow_partial: bool = False,
    say: Callable[[str], None] = print,
) -> Report:
    """Write a `.keras` model with the weights of a PyTorch checkpoint, and a report beside it.

    Args:
        model: name in the registry.
        source: file or folder (`reading.read`).
        out: the `.keras` file; the report goes to the same name with `.import.json`.
        options: of the model, and `num_classes` where the file has no classifier.
        family: name of a family; None: the one whose names are in the file.
        allow_partial: write the model even if weights stay random or known tensors have no layer.
        say: gets the report and the lines for a run's configuration.

    Raises:
        UserError: any mistake; nothing is written then.
    """
    target = _target(out)
    _check_model(model)
    network, report = _matched(reading.read(source), model, dict(options or {}), family)
    if report.match.incomplete and not allow_partial:
        matching.refuse_incomplete(report.match, matching.other_models(report.family, model))
    for line in report.lines():
        say(line)
    matching.assign(network, report.match.values)
    with files.publish(target) as temporary:
        network.save(temporary)
    files.write_json(target.with_name(target.stem + REPORT_SUFFIX), report.as_json())
    say(report.usage(str(out)))
    return report


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` arguments; values are YAML, as in a run's configuration.

    Raises:
        UserError: for an argument that is none.
    """
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"'{text}' is no option; expected key=value, such as frames=8.")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            options[name] = value
    return options


def _matched(
    found: reading.Source, model: str, options: dict[str, Any], family: str | None
) -> tuple[keras.Model, Report]:
    """Build the network that the tensors demand, and find their places in it."""
    names = recognition.unwrapped(found.tensors)
    tensors = {plain: found.tensors[name] for plain, name in names.items()}
    chosen = recognition.choose(model, list(names), family)
    config = _config(model, chosen, tensors, found.settings, options)
    network = models.build_from_config(model, config)
    match = matching.match(network, chosen, tensors, names, found.settings)
    return network, _report(found, chosen, model, config, match)


def _target(out: str | os.PathLike[str]) -> Path:
    target = Path(out)
    if target.suffix != ".keras":
        raise UserError(f"--out names the model that is written, and ends in .keras; got {target}.")
    if target.is_dir():
        raise UserError(f"--out names the file that is written, but {target} is a folder.")
    return target


def _check_model(model: str) -> None:
    if model not in models.REGISTRY:
        raise UserError(f"there is no model '{model}'.{did_you_mean(model, recognition.portable())}")


def _config(
    model: str, family: Family, tensors: Tensors, settings: Settings, given: dict[str, Any]
) -> models.ModelConfig:
    """Return the model's config: the user's options, what the weights demand, and what is published."""
    num_classes = _number_of_classes(family, tensors, given.pop("num_classes", None))
    available = {option.name for option in models.describe(model)}
    demands = {name: value for name, value in family.demands(tensors, settings).items() if name in available}
    published = {"input_normalization": family.normalization, **START, **family.published}
    published |= family.suggests(tensors, settings)
    published = {name: value for name, value in published.items() if name in available}
    _check_told(family, {**demands, **given})
    config = models.make_config(model, num_classes, **{**published, **demands, **given})
    _check_demands(config, demands, family)
    return config


def _check_told(family: Family, options: Mapping[str, Any]) -> None:
    """Refuse to guess what tensors do not show, as a wrong guess would fit and answer wrongly."""
    missing = [name for name in family.told if name not in options]
    if missing:
        raise UserError(
            f"the tensors do not show {' and '.join(missing)}; pass the folder with the config.json that was published "
            f"beside the weights, or say it: {' '.join(f'{name}=N' for name in missing)}."
        )


def _check_demands(config: models.ModelConfig, demands: Mapping[str, Any], family: Family) -> None:
    for name, value in demands.items():
        if getattr(config, name) != value:
            raise UserError(
                f"the weights are those of a network with {name}={value} (family {family.name}), but {name}="
                f"{getattr(config, name)} was asked for; leave the option out."
            )


def _number_of_classes(family: Family, tensors: Tensors, given: Any) -> int:
    found = recognition.number_of_classes(family, tensors)
    if found is None and given is None:
        raise UserError(
            "the file holds no classifier that tells the number of classes; give it, such as num_classes=400."
        )
    if found is not None and given not in (None, found):
        raise UserError(
            f"the classifier in the file has {found} classes, but num_classes={given} was asked for; leave it out: a "
            "run that starts from the model begins with a new classifier for its own classes."
        )
    return given if found is None else found


def _report(
    found: reading.Source, family: Family, model: str, config: models.ModelConfig, match: matching.Match
) -> Report:
    options = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    num_classes = options.pop("num_classes")
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    changed = {name: value for name, value in options.items() if value != defaults[name]}
    return Report(found, family, model, options, changed, num_classes, config.normalization, match)
