"""A finished run, opened to be exported: its network with every input and head, and what each input is made of."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from keras_actrec import files
from keras_actrec.config import RunConfig, load_config
from keras_actrec.data.assemble import frames_read
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.targets import Target, targets_of
from keras_actrec.data.views import View
from keras_actrec.data.wanted import plain_views
from keras_actrec.errors import UserError
from keras_actrec.evaluation import run_search

if TYPE_CHECKING:
    import keras

LABEL = "label"
"""Name of the only head of a network that has one."""


@dataclasses.dataclass(frozen=True)
class ExportRun:
    """A run whose network is to leave the package.

    Attributes:
        path: the run directory.
        config: of the run.
        manifest: the clips of the run.
        model: the network, computing in float32.
        views: what each input of the network is made of, in the order of its inputs.
        targets: of several heads; none where one tells the label.
        trained_in: dtype policy that the network was trained in, such as "float32" or "mixed_bfloat16".
    """

    path: Path
    config: RunConfig
    manifest: Manifest
    model: keras.Model
    views: tuple[View, ...]
    targets: tuple[Target, ...]
    trained_in: str

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """Name of each head -> its classes, in the order of its outputs."""
        return {target.name: target.classes for target in self.targets} or {LABEL: self.manifest.classes}

    @property
    def shapes(self) -> dict[str, tuple[int, int, int, int]]:
        """Name of each input -> (T, H, W, C) of its uint8 clips."""
        return {view.name: clip_shape(view) for view in self.views}


def clip_shape(view: View) -> tuple[int, int, int, int]:
    """Return (T, H, W, C) of the uint8 clips of a view."""
    return frames_read(view), view.size, view.size, 1 if view.modality == "depth" else 3


def output_names(heads: Mapping[str, tuple[str, ...]], head: str) -> tuple[str, str]:
    """Return what an export calls the logits and the probabilities of a head."""
    prefix = "" if len(heads) == 1 else f"{head}_"
    return f"{prefix}logits", f"{prefix}probabilities"


def open_run(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> ExportRun:
    """Open a run directory.

    Args:
        path: the run directory.
        root: where the videos lie, if no longer where the run's configuration says.

    Raises:
        UserError: it is no run directory, holds no trained model, or one that is not the configuration's.
    """
    directory = Path(path)
    config = _config(directory)
    manifest = _manifest(directory, Path(root if root is not None else config.data.root))
    from keras_actrec import models

    targets = targets_of(manifest, config.data.targets)
    first = len(targets[0].classes if targets else manifest.classes)
    architecture = models.make_config_for(config.model.name, first, config.data, config.model.options)
    model, trained_in = _network(directory / "model.keras")
    views = {view.name: view for view in plain_views(config.data, architecture.normalization)}
    names = [tensor.name for tensor in model.inputs]
    if sorted(names) != sorted(views):
        raise UserError(
            f"{directory / 'model.keras'} takes the inputs {', '.join(names)}, but the run's config.yaml describes "
            f"{', '.join(views)}; they belong to different runs."
        )
    run = ExportRun(directory, config, manifest, model, tuple(views[name] for name in names), targets, trained_in)
    _check_outputs(run)
    return run


def _config(directory: Path) -> RunConfig:
    if not (directory / "config.yaml").is_file():
        raise UserError(
            f"{directory} is no run directory: it holds no config.yaml. Give the directory that training named."
        )
    config = load_config(directory / "config.yaml")
    if config.joint:
        parts = ", ".join(str(part.parent) for part in sorted(directory.glob("*/config.yaml")))
        raise UserError(f"{directory} was trained on several data sets; export the run of one of them: {parts}.")
    if not (directory / "model.keras").is_file():
        run_search.check_one_network(directory)
        raise UserError(
            f"{directory} holds no trained model (model.keras); train first, or go on with --resume {directory}."
        )
    return config


def _manifest(directory: Path, root: Path) -> Manifest:
    try:
        return Manifest.from_json(files.read_json(directory / "manifest.lock"), root)
    except FileNotFoundError:
        raise UserError(f"{directory} holds no manifest.lock, which names classes and clips; copy it too.") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{directory / 'manifest.lock'} is damaged; copy it again from the original run.") from None


def _network(path: Path) -> tuple[keras.Model, str]:
    """Load a network and let it compute in float32; return it with the policy that it was trained in."""
    from keras_actrec import models
    from keras_actrec.serving.export_precision import as_float32, policy_of

    try:
        model = models.load_model(path)
    except (ValueError, OSError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be loaded ({reason[:200]}); copy it again, or train the run anew.") from error
    policy = policy_of(model)
    return (model if policy == "float32" else as_float32(model)), policy


def _check_outputs(run: ExportRun) -> None:
    found = run.model.output if isinstance(run.model.output, dict) else {LABEL: run.model.output}
    widths = {name: tensor.shape[-1] for name, tensor in found.items()}
    wanted = {name: len(classes) for name, classes in run.heads.items()}
    if widths != wanted:
        raise UserError(f"{run.path}: the network's outputs are {widths}, but the run's classes make {wanted}.")
