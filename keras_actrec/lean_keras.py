"""Let Keras begin without scikit-learn and Matplotlib, which its own import loads where they are installed.

They are for wrappers and galleries that no command of this package uses, and take a quarter of the time that a process
needs to begin: a swarm, a sweep or a comparison starts dozens. Keras does without them; others get them as ever.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

UNUSED = frozenset({"sklearn", "matplotlib"})


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing, and says so for `UNUSED` while Keras is being imported and asks for it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None, which leaves the search to others.

        Raises:
            ModuleNotFoundError: which Keras expects where the package is not installed.
        """
        if fullname in UNUSED and _begins("keras") and _asker().startswith("keras."):
            raise ModuleNotFoundError(f"{fullname} is left out while Keras begins", name=fullname)
        return None


def install() -> None:
    """Leave them out in this process from now on; to be called before Keras is imported, by commands alone."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _begins(module: str) -> bool:
    """Whether a module is being imported and has not been imported whole."""
    return getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", False)


def _asker() -> str:
    """Return the name of the module whose import statement is at work."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back
    return frame.f_globals.get("__name__", "") if frame is not None else ""
