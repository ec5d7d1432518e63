"""What is to be looked at: a configuration's data set, a folder, a CSV, or that of a run; in all of its folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.config import RunConfig, load_config, parse_config
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UserError
from keras_actrec.training import datasets


@dataclasses.dataclass(frozen=True)
class Opened:
    """A data set.

    Attributes:
        config: names it.
        manifests: of all its folds; the first is the one in focus.
        source: reads its videos, also where a prepared cache is set.
        run: directory of the run whose data set it is; None: none.
    """

    config: RunConfig
    manifests: tuple[Manifest, ...]
    source: VideoSource
    run: Path | None = None

    @property
    def manifest(self) -> Manifest:
        """The fold in focus."""
        return self.manifests[0]


def open_config(config: RunConfig, run: Path | None = None) -> Opened:
    """Open the data set that a configuration names.

    Raises:
        UserError: it is not there, or damaged.
    """
    first = datasets.load(config)
    others = [number for number in _folds(config) if number != first.fold]
    manifests = (first, *(datasets.load(datasets.in_fold(config, number)) for number in others))
    return Opened(config, manifests, datasets.videos(config.data, first), run)


def open_data(path: str, overrides: Sequence[str]) -> Opened:
    """Open a data set by its configuration, its manifest, or its folder.

    Raises:
        UserError: it is none of these.
    """
    place = Path(path)
    if place.is_dir() and (place / "config.yaml").is_file():
        raise UserError(f"{path} is a run directory: inspect --run {path}")
    if place.suffix.lower() in (".yaml", ".yml"):
        return open_config(load_config(place, overrides))
    if not place.exists():
        raise UserError(
            f"there is nothing at {path}; expected a configuration (.yaml), a manifest (.csv), or a folder."
        )
    return open_config(parse_config({"data": _section(place)}, path, overrides=overrides))


def open_run(path: str, overrides: Sequence[str]) -> Opened:
    """Open the data set of a run.

    Raises:
        UserError: it is no run, or one that is not whole any more.
    """
    directory = Path(path)
    if not (directory / "config.yaml").is_file():
        raise UserError(f"{path} is no run directory: expected a config.yaml in it, as train.py makes them.")
    opened = open_config(load_config(directory / "config.yaml", overrides), directory)
    kept = _hash_of_clips(directory)
    if kept != opened.manifest.hash:
        print(
            f"note: the data set is not the one of the run any more (manifest {kept[:12]} then, "
            f"{opened.manifest.hash[:12]} now)"
        )
    return opened


def _hash_of_clips(run: Path) -> str:
    try:
        return str(files.read_json(run / "manifest.lock")["hash"])
    except FileNotFoundError:
        raise UserError(f"{run} holds no manifest.lock, which names the run's clips; copy it too.") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{run / 'manifest.lock'} is damaged; copy it again from the original run.") from None


def _section(place: Path) -> dict[str, Any]:
    """Return the section `data` that reads a folder or a CSV."""
    if place.is_file():
        return {"source": "manifest", "root": str(place.parent), "lists": str(place)}
    source = "manifest" if (place / "manifest.csv").is_file() else "folder"
    return {"source": source, "root": str(place)}


def _folds(config: RunConfig) -> list[int]:
    """Return the numbers of all folds; a data set that has one need not say so."""
    try:
        return datasets.fold_numbers(config.model_copy(update={"folds": "all"}))
    except UserError:
        return [config.data.fold]
