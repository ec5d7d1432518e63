"""The commands of `python -m keras_actrec`.

Only argument parsing stands here; a command imports what it needs when it runs, so that `--help` answers at once.
Each ends with exit code 0, or with another one and one clear sentence.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from keras_actrec import lean_keras
from keras_actrec.cluster import option as ray_option
from keras_actrec.doctor import command as doctor_command
from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.evaluation import attribute_command, run_table_command
from keras_actrec.explain import cluster_command
from keras_actrec.explain import command as explain_command
from keras_actrec.inspection import command as inspect_command
from keras_actrec.porting import command as porting_command
from keras_actrec.serving import export_command, predict_command, serve_command
from keras_actrec.swarm import lr_scan
from keras_actrec.swarm.simulation import command as simulation_command
from keras_actrec.sweep import command as sweep_command
from keras_actrec.training import boxes_command, embed, fetch_command, repository_command, verify_command

DESCRIPTION = "Recognise human actions in videos with Keras: train, evaluate, prepare data."
INTERRUPTED = 128 + signal.SIGINT
_OVERRIDE = re.compile(r"[a-zA-Z_][\w.]*=")


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes read like the rest of our messages."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake in one line and end with code 2."""
        choice = message.partition("invalid choice: '")[2].partition("'")[0]
        told, _, choices = message.partition(" (choose from ")
        hint = did_you_mean(choice, re.findall(r"[\w-]+", choices)) if choice else ""
        self.exit(2, f"error: {told}.{hint} See {self.prog} --help.\n")

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; `key=value` may stand before, between and after options, where argparse takes the first group only."""
        found, rest = super().parse_known_args(args, namespace)
        if hasattr(found, "overrides"):
            found.overrides = [*found.overrides, *filter(_OVERRIDE.match, rest)]
            rest = [one for one in rest if not _OVERRIDE.match(one)]
        return found, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    begin()
    parser = Parser(prog="python -m keras_actrec", description=DESCRIPTION)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for name, (describe, run) in COMMANDS.items():
        text, example = (inspect.getdoc(describe) or "").split("\n\nExample:")
        command = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            epilog=f"example: {example.strip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        describe(command)
        command.set_defaults(run=run)
    options = parser.parse_args(arguments)
    return guard(lambda: options.run(options))


def program() -> NoReturn:
    """Be the command `keras-actrec`: run what was asked for, and end the process.

    `main` does not end it, as it may be called by a process that has more to do.
    """
    raise SystemExit(leave(main()))


def leave(code: int) -> int:
    """Return the exit code, or end the process at once where TensorFlow, or TensorFlow IO, would not end well."""
    remote = sys.modules.get("keras_actrec.data.remote")
    if remote is not None:
        remote.leave(code)
    links = sys.modules.get("keras_actrec.training.links")
    if links is not None:
        links.leave(code)
    return code


def begin() -> None:
    """Do what each command does first.

    TensorFlow's notes about the machine are kept off the screen, unless the user has set the level himself, and Keras
    begins without what no command uses.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    lean_keras.install()


def guard(action: Callable[[], None]) -> int:
    """Run an action; turn a user's mistake, a full disk or Ctrl-C into one sentence and an exit code."""
    try:
        action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror}{where}; what was complete before is kept.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on, a training run with --resume.", file=sys.stderr)
        return INTERRUPTED
    return 0


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--config FILE` and the `key=value` overrides that all commands share."""
    parser.add_argument("--config", required=True, metavar="FILE", help="run configuration (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, such as training.epochs=5")


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    """Train and evaluate a network, as `train.py` does.

    Example: python -m keras_actrec train --config configs/quickstart.yaml training.epochs=5
    """
    add_train_arguments(parser)


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a training run."""
    add_config_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        metavar="RUN",
        help="continue the newest unfinished run of this configuration, or the run directory RUN",
    )


def train(options: argparse.Namespace) -> None:
    """Train as the options say and name the run directory in the last line."""
    from keras_actrec.config import load_config

    resume, overrides = _resume(options)
    config = load_config(options.config, overrides)
    from keras_actrec.training import experiment  # imports Keras: a mistake in the file is told before that

    directory = experiment.run(config, resume=resume)
    if directory is not None:
        print(f"run: {directory}")


def add_swarm_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a swarm."""
    add_config_arguments(parser)
    parser.add_argument("--particles", type=int, metavar="N", help="number of networks (default: swarm.particles)")
    ray_option.add_ray_address(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        metavar="SWARM",
        help="continue the newest unfinished swarm of this configuration, or the swarm directory SWARM",
    )


def swarm(options: argparse.Namespace) -> None:
    """Run a swarm as the options say and name its directory in the last line."""
    from keras_actrec.swarm import serve
    from keras_actrec.swarm.settings import load_swarm_config
    from keras_actrec.swarm.state import Standing

    resume, overrides = _resume(options)
    overrides = [*overrides, *ray_option.overrides(options, "swarm")]
    if options.particles is not None:
        overrides = [*overrides, f"swarm.particles={options.particles}"]
    config = load_swarm_config(options.config, overrides)
    directory, standing = serve.run(config, resume)
    print(f"swarm: {directory.path}")
    if standing is Standing.STOPPED:
        raise SystemExit(INTERRUPTED)


def _resume(options: argparse.Namespace) -> tuple[str | None, list[str]]:
    """Return what to resume, and the overrides."""
    resume, overrides = options.resume, options.overrides
    if resume and "=" in resume and not Path(resume).exists():  # "--resume key=value": argparse takes it for a run
        return "latest", [resume, *overrides]
    return resume, overrides


def _prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Write a data set's frames as small JPEGs in sharded TFRecords, so that training need not decode videos.

    Example: python -m keras_actrec prepare --config configs/quickstart.yaml --to datasets/stick-actions-96
    """
    add_config_arguments(parser)
    parser.add_argument("--to", metavar="FOLDER", help="target folder or s3:// address (default: data.prepared)")
    parser.add_argument("--short-side", type=int, metavar="PX", help="default: data.prepared_short_side")
    parser.add_argument("--quality", type=int, default=90, metavar="Q", help="JPEG quality (default: 90)")


def _prepare(options: argparse.Namespace) -> None:
    from keras_actrec.config import load_config
    from keras_actrec.training import datasets

    settings = load_config(options.config, options.overrides)
    target = options.to or settings.data.prepared
    if target is None:
        raise UserError("where should the frames go? Pass --to FOLDER, or set data.prepared in the configuration.")
    short_side = options.short_side or settings.data.prepared_short_side
    quarantine = datasets.prepare(settings.data, datasets.load(settings), target, short_side, options.quality)
    for name, reason in quarantine.reasons().items():
        print(f"not readable: {name}: {reason}")
    print(f"prepared: {target}")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Evaluate a finished run on a split, refusing clips that it was trained on.

    With --fuse the probabilities of several runs are averaged, such as one on RGB and one on depth.

    Example: python -m keras_actrec evaluate --run runs/quickstart-20250101-120000-ab12 evaluation.clips=5
    """
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", metavar="DIR", help="run directory", dest="directory")
    which.add_argument("--fuse", nargs="+", metavar="DIR", help="run directories whose answers are averaged")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"], help="default: test")
    parser.add_argument(
        "--out", metavar="FILE", help="where the JSON goes (default: evaluation-SPLIT.json or fused-SPLIT.json)"
    )
    parser.add_argument(
        "--allow-contaminated", action="store_true", help="evaluate clips of the training list all the same, and say so"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.root=PATH, evaluation.clips=5")


def _evaluate(options: argparse.Namespace) -> None:
    from keras_actrec.training import evaluate

    directories, overrides = _directories(options.fuse or [], options.overrides)
    settings = {
        "split": options.split,
        "overrides": overrides,
        "allow_contaminated": options.allow_contaminated,
        "out": options.out,
    }
    if options.fuse:
        evaluate.fuse_runs(directories, **settings)
    else:
        evaluate.evaluate_run(options.directory, **settings)


def _directories(given: Sequence[str], overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return run directories and overrides: argparse takes a key=value behind --fuse for one of the former."""
    pairs = [word for word in given if "=" in word and not Path(word).exists()]
    return [word for word in given if word not in pairs], [*pairs, *overrides]


def _models_arguments(parser: argparse.ArgumentParser) -> None:
    """List the architectures, or the options of one.

    Example: python -m keras_actrec models convnet_transformer
    """
    parser.add_argument("name", nargs="?", help="an architecture, for its options")


def _models(options: argparse.Namespace) -> None:
    from keras_actrec import models

    if not options.name:
        print("\n".join(models.list_models()))
        return
    print(f"{options.name}: {models.summary(options.name)}\n")
    for option in models.describe(options.name):
        doc = " ".join(option.doc.split())
        print(f"  {option.name} ({option.type}; default {option.default})\n      {doc}")


def _datasets_arguments(parser: argparse.ArgumentParser) -> None:
    """Show what a configuration's data set holds: clips per class and split; renders stick-actions when it is missing.

    With --describe the videos are looked at: a page with lengths, sizes, rates, motion and sample frames.

    Example: python -m keras_actrec datasets --config configs/quickstart.yaml --describe
    """
    add_config_arguments(parser)
    parser.add_argument("--describe", action="store_true", help="look at the videos and write a page about them")
    parser.add_argument("--out", metavar="FOLDER", help="where the page goes (default: OUTPUT/datasets/NAME)")


def _datasets(options: argparse.Namespace) -> None:
    from keras_actrec.config import load_config
    from keras_actrec.training import datasets

    config = load_config(options.config, options.overrides)
    if options.out and not options.describe:
        raise UserError("--out says where the page goes; it wants --describe beside it.")
    if not options.describe:
        print(datasets.summary(datasets.load(config)))
        return
    from keras_actrec.training import describe

    folder = describe.describe(config, options.out)
    print(f"page: {folder / describe.PAGE}")


def _schema_arguments(parser: argparse.ArgumentParser) -> None:
    """Print the JSON schema of run configurations, for completion and checks in editors.

    Example: python -m keras_actrec schema > keras_actrec.schema.json
    """


def _schema(options: argparse.Namespace) -> None:
    from keras_actrec.config import json_schema

    print(json.dumps(json_schema(), indent=2))


def _swarm_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Compare ways of collaborating at equal budget: paired differences, a table, a plot, and what they show.

    Finished swarms are kept: the same command goes on where an interrupted one stopped.

    Example: python -m keras_actrec swarm-compare --config configs/swarm/compare.yaml compare.seeds=[1,2,3]
    """
    add_config_arguments(parser)
    ray_option.add_ray_address(parser)


def _swarm_compare(options: argparse.Namespace) -> None:
    from keras_actrec.swarm import compare
    from keras_actrec.swarm.compare_settings import load_compare_config

    overrides = [*options.overrides, *ray_option.overrides(options, "compare")]
    directory = compare.compare(load_compare_config(options.config, overrides))
    print(f"compare: {directory}")


COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], None]]] = {
    "train": (_train_arguments, train),
    "fetch": (fetch_command.describe_arguments, fetch_command.run),
    "prepare": (_prepare_arguments, _prepare),
    "verify": (verify_command.describe_arguments, verify_command.run),
    "boxes": (boxes_command.describe_arguments, boxes_command.run),
    "evaluate": (_evaluate_arguments, _evaluate),
    "predict": (predict_command.describe_arguments, predict_command.run),
    "serve": (serve_command.describe_arguments, serve_command.run),
    "explain": (explain_command.describe_arguments, explain_command.run),
    "clusters": (cluster_command.describe_arguments, cluster_command.run),
    "embed": (embed.describe_arguments, embed.run),
    "repository": (repository_command.describe_arguments, repository_command.run),
    "attributes": (attribute_command.describe_arguments, attribute_command.run),
    "report": (run_table_command.describe_arguments, run_table_command.run),
    "export": (export_command.describe_arguments, export_command.run),
    "import-weights": (porting_command.describe_arguments, porting_command.run),
    "swarm-compare": (_swarm_compare_arguments, _swarm_compare),
    "swarm-simulate": (simulation_command.describe_arguments, simulation_command.run),
    "sweep": (sweep_command.describe_arguments, sweep_command.run),
    "lr-scan": (lr_scan.describe_arguments, lr_scan.run),
    "models": (_models_arguments, _models),
    "datasets": (_datasets_arguments, _datasets),
    "inspect": (inspect_command.describe_arguments, inspect_command.run),
    "doctor": (doctor_command.describe_arguments, doctor_command.run),
    "schema": (_schema_arguments, _schema),
}
