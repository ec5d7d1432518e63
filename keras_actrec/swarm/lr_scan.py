"""Learning-rate scan: one epoch at each of a row of rising rates, and what its curve suggests for a swarm.

As the notebooks that were released with the paper did it: one training run of 20 epochs whose rate is
1e-6 * 10^(0.4 step); the weights are not reset between rates; what counts is the training accuracy of each epoch. A
scan is an ordinary run with that schedule, so it can be resumed, and it takes any configuration of a run or of a swarm.

Deviations: the notebooks looked at the curve by eye; here the rates of the particles are computed from it
(`lr_scan_rates.suggest`). Their validation clips were the test split; here that is not read at all. A loss that is no
number any more ends the scan; the rates before it are the result.

Imports nothing heavy before a function is called.
"""

from __future__ import annotations

import argparse
import csv
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_actrec import files
from keras_actrec.errors import DivergedError, UserError
from keras_actrec.swarm import lr_scan_plot
from keras_actrec.swarm.lr_scan_rates import (
    FACTOR,
    LOWEST,
    STEPS,
    Curve,
    Suggestion,
    check_particles,
    factor_between,
    ladder,
    suggest,
)

if TYPE_CHECKING:
    from keras_actrec.config import RunConfig
    from keras_actrec.data.manifest import Manifest
    from keras_actrec.training.distribution import Hardware
    from keras_actrec.training.run_directory import RunDirectory

RESULT, PAGE = "scan.json", "scan.html"
PARTICLES = 4
COLUMNS = ("accuracy", "loss", "val_accuracy", "val_loss")


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Train an epoch at each of many rising learning rates, and suggest rates for the particles of a swarm.

    Example: python -m keras_actrec lr-scan --config configs/quickstart.yaml --low 1e-5 --high 10 --steps 13
    """
    parser.add_argument("--config", required=True, metavar="FILE", help="configuration of a run or a swarm (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, such as training.batch_size=8")
    parser.add_argument("--low", type=float, default=LOWEST, metavar="RATE", help=f"lowest rate (default: {LOWEST:g})")
    upper = parser.add_mutually_exclusive_group()
    upper.add_argument("--high", type=float, metavar="RATE", help="highest rate")
    upper.add_argument("--factor", type=float, default=FACTOR, metavar="F", help="between rates (default: 10^0.4)")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"rates to try (default: {STEPS})")
    parser.add_argument("--particles", type=int, metavar="N", help=f"of the swarm (default: its own, or {PARTICLES})")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        metavar="SCAN",
        help="continue the newest unfinished scan of this configuration, or the directory SCAN",
    )


def run(options: argparse.Namespace) -> None:
    """Scan as the options say, print the curve and the suggestion, and name the directory in the last line."""
    from keras_actrec.swarm import lr_scan_config

    resume, overrides = options.resume, options.overrides
    if resume and "=" in resume and not Path(resume).exists():  # "--resume key=value": argparse takes it for a scan
        resume, overrides = "latest", [resume, *overrides]
    config = lr_scan_config.load(options.config, overrides)
    factor = options.factor if options.high is None else factor_between(options.low, options.high, options.steps)
    usual = config.swarm.particles if config.swarm else PARTICLES
    particles = usual if options.particles is None else options.particles
    directory = scan(
        config, low=options.low, factor_per_step=factor, steps=options.steps, particles=particles, resume=resume
    )
    result = files.read_json(directory / RESULT)
    suggestion = suggest(curve_of(result), particles)
    print(table(result, suggestion.best))
    given = [*overrides, f"swarm.particles={particles}"] if particles != usual else overrides
    print(advice(suggestion, ["--config", options.config, *given]))
    print(f"scan: {directory}")


def scan(
    config: RunConfig,
    *,
    low: float = LOWEST,
    factor_per_step: float = FACTOR,
    steps: int = STEPS,
    output: str | None = None,
    particles: int = PARTICLES,
    resume: str | None = None,
) -> Path:
    """Train an epoch at each of the rates low * factor_per_step^step, step = 0 to steps - 1, without a reset between.

    Args:
        config: of a run or a swarm; its schedule, length and early stopping are replaced.
        low: first rate.
        factor_per_step: between a rate and the next.
        steps: number of rates, and of epochs.
        output: folder in which the directory of the scan is made; default: that of `config`.
        particles: for how many rates are suggested.
        resume: None for a new scan, "latest" for the newest unfinished one of this configuration (a new one when there
            is none), or its directory.

    Returns:
        The run directory of the scan: config.yaml, history.csv, log.txt and so on, `scan.json` and `scan.html`. The
        weights are removed at the end; they have been through rates that ruin them.

    Raises:
        UserError: a mistake in the configuration or the data, or training diverged at the lowest rate already.
    """
    from keras_actrec.swarm import lr_scan_config
    from keras_actrec.training import datasets, distribution, experiment, fold

    rates = ladder(low, factor_per_step, steps)
    check_particles(particles)
    settings = lr_scan_config.scan_config(config, rates, output)
    fold.check_model(settings)
    hardware = distribution.set_up(settings.training)
    manifest = datasets.load(settings)
    directory = experiment.open_run(settings, manifest, resume)
    with directory, directory.interruptible():
        if directory.finished:
            directory.say(f"the scan {directory.path} has already finished")
        else:
            _scan(directory, manifest, hardware, particles)
    return directory.path


def _scan(directory: RunDirectory, manifest: Manifest, hardware: Hardware, particles: int) -> None:
    diverged = _train(directory, manifest, hardware)
    result = _result(directory, manifest, diverged)
    suggestion = suggest(curve_of(result), particles)
    result["suggestion"] = {"best": suggestion.best, "learning_rates": suggestion.rates, "notes": suggestion.notes}
    files.write_json(directory.path / RESULT, result)
    files.write_text(directory.path / PAGE, lr_scan_plot.page(directory.path.name, result, suggestion))
    directory.mark_finished()
    for path in directory.checkpoints.glob("*.safetensors"):
        path.unlink()


def _train(directory: RunDirectory, manifest: Manifest, hardware: Hardware) -> bool:
    """Train as the configuration of the scan says; return whether that ended because the loss was no number."""
    from keras_actrec.data.quarantine import Quarantine
    from keras_actrec.training import fold, inputs

    config = directory.config
    architecture = fold.model_config_for(config, manifest)
    data = inputs.open_inputs(config, manifest, Quarantine(directory.quarantine), architecture.normalization)
    directory.say(fold.describe_start(config, data))
    network = fold.build(directory, architecture, hardware, fold.heads_of(config, manifest))
    try:
        fold.fit(network, data, directory, hardware)
    except DivergedError:
        return True
    finally:
        _tell_lost(directory, data.quarantine.count("train"))
    return False


def _tell_lost(directory: RunDirectory, lost: int) -> None:
    if lost:
        directory.say(
            f"note: {lost} training clips could not be read, so the rates rose a little later than once per epoch"
        )


def _result(directory: RunDirectory, manifest: Manifest, diverged: bool) -> dict[str, Any]:
    """Return the content of scan.json, without the suggestion."""
    rows = _history(directory.history)
    rates = directory.config.training.schedule.rates
    if not rows:
        raise UserError(f"training diverged at the lowest rate already, {rates[0]:g}; scan from a lower one (--low).")
    sizes = manifest.counts()["train"]
    return {
        "model": directory.config.model.name,
        "dataset": manifest.name,
        "fold": manifest.fold,
        "seed": directory.config.seed,
        "clips": sum(sizes.values()),
        "chance": max(sizes.values()) / sum(sizes.values()),
        "diverged_at": rates[len(rows)] if diverged else None,
        "rates": list(rates[: len(rows)]),
        **{column: [row[column] for row in rows] for column in COLUMNS},
    }


def _history(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def curve_of(result: Mapping[str, Any]) -> Curve:
    """Return the curve that a scan.json holds."""
    names = ("rates", "accuracy", "chance", "clips", "diverged_at")
    return Curve(**{name: result[name] for name in names})


def table(result: Mapping[str, Any], best: float | None) -> str:
    """Return the curve as a table; the best rate is marked."""
    lines = [f"{'rate':>10}{'accuracy':>12}{'loss':>10}{'val acc.':>12}{'val loss':>10}"]
    for rate, accuracy, loss, val_accuracy, val_loss in zip(
        result["rates"], *(result[column] for column in COLUMNS), strict=True
    ):
        mark = "  <- best" if rate == best else ""
        lines.append(f"{rate:>10.3g}{accuracy:>12.2%}{loss:>10.4g}{val_accuracy:>12.2%}{val_loss:>10.4g}{mark}")
    if result["diverged_at"] is not None:
        lines.append(f"{result['diverged_at']:>10.3g}    diverged")
    return "\n".join(lines)


def advice(suggestion: Suggestion, arguments: list[str]) -> str:
    """Return the suggestion, the line for a configuration, and the command that takes it."""
    if not suggestion.rates:
        return "\n".join(suggestion.notes)
    command = shlex.join(["python", "swarm_server.py", *arguments, f"swarm.learning_rates={suggestion.listed}"])
    lines = [f"suggested, one rate per particle: {suggestion.listed}", *suggestion.notes]
    return "\n".join([*lines, f"in a configuration: {suggestion.yaml}", f"or: {command}"])
