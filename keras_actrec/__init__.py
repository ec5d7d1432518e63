"""Recognise human actions in videos with Keras 3.

Importing the package loads nothing heavy: Keras comes with the first model that is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

__version__ = "0.1.0"
__all__ = ["__version__", "build_model", "list_models"]


def build_model(name: str, num_classes: int, **options: Any) -> keras.Model:
    """Build an architecture by its name in the registry.

    Args:
        name: one of `list_models()`.
        num_classes: number of classes, the width of the logits.
        **options: fields of the architecture's config; what is not given keeps the paper's value.

    Returns:
        A functional model from clips, float (B, T, H, W, 3), to logits, float32 (B, num_classes).

    Raises:
        UserError: for an unknown name or option, or a value that is not allowed.
    """
    from keras_actrec import models

    return models.build_model(name, num_classes, **options)


def list_models() -> list[str]:
    """Return the names of all architectures, sorted."""
    from keras_actrec import models

    return models.list_models()
