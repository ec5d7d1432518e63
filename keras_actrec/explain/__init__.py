"""What a trained network looks at: `explain(model, clip, method)` gives heat over the clip, or says why it cannot.

Methods: activation maps, Grad-CAM, guided backpropagation, integrated gradients, attention maps, attention rollout,
non-local maps and relative positions. `python -m keras_actrec explain --run DIR --video FILE` draws them;
docs/explain.md explains them.

The names below are imported when they are asked for, because the command line imports this package to name its options.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "METHODS": "methods",
    "Explanation": "explanation",
    "NotApplicable": "explanation",
    "Options": "explanation",
    "Subject": "subject",
    "explain": "methods",
    "explain_subject": "methods",
    "open_subject": "subject",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
