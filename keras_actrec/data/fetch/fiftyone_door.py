"""The one door to FiftyOne: imported when it is needed, without its usage statistics, with a sentence where it lacks.

Its addresses are read from it, not copied, so that a newer FiftyOne brings newer ones.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from keras_actrec.errors import UserError


def kinetics() -> ModuleType:
    """Return `fiftyone.utils.kinetics`."""
    return _module("fiftyone.utils.kinetics")


def kinetics_annotations(version: str) -> str:
    """Return the address of the archive of a version's lists."""
    return _constant(kinetics(), "_ANNOTATION_DOWNLOAD_LINKS")[version]


def links(dataset: str) -> tuple[str, str]:
    """Return the addresses of the videos and of the lists of HMDB-51 or UCF-101."""
    module = _module(f"fiftyone.utils.{dataset}")
    return _constant(module, "_VIDEOS_DOWNLOAD_LINK"), _constant(module, "_SPLITS_DOWNLOAD_LINK")


def version() -> str:
    """Return FiftyOne's version."""
    return _module("fiftyone.constants").VERSION


def _module(name: str) -> ModuleType:
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "1")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"fetch asks FiftyOne where things are, and it cannot be imported ({error}); pip install "
            "'keras_actrec[fetch]'."
        ) from None


def _constant(module: ModuleType, name: str) -> object:
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"{module.__name__} has no {name} any more; fetch was written for FiftyOne 1.22.")
    return found
