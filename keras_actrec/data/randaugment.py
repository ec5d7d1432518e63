"""RandAugment (Cubuk et al., 2020) with KerasCV's policy and operations, one draw for all frames of a clip.

KerasCV treats the frames of a clip as independent images. Here the operations and their strengths are drawn once,
from a NumPy generator, with the distributions that KerasCV's own layers of the standard policy hold; then KerasCV's
layers apply them. Operations that look at an image's own statistics (automatic contrast, equalisation, contrast) see
the frames of a clip as one tall image, so that equal pixels stay equal over time and nothing flickers.

KerasCV computes with TensorFlow whatever Keras' backend is. It is the extra `keras_actrec[augment]`.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from typing import Any

import numpy as np

from keras_actrec.errors import UserError

RATE = 10 / 11
"""Share of the drawn operations that are applied (KerasCV's default; the paper's identity is the eleventh)."""
MAGNITUDE_STDDEV = 0.15
"""Spread of the strength (KerasCV's default)."""

_SPATIAL = {"RandomShear": ("shear_x", "shear_y"), "RandomTranslation": ("width_translations", "height_translations")}
_building = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Operation:
    """One drawn operation.

    Attributes:
        index: place in KerasCV's standard policy.
        name: KerasCV's layer.
        values: its drawn numbers; two for the operations in space (along x, along y) and for Solarization (addition,
            threshold), one for the others, none for those without a strength.
    """

    index: int
    name: str
    values: tuple[float, ...] = ()

    @property
    def spatial(self) -> bool:
        """Whether it moves pixels, so that a depth video must follow."""
        return self.name in _SPATIAL


def draw(rng: np.random.Generator, count: int, magnitude: float) -> tuple[Operation, ...]:
    """Draw `count` operations of a strength around `magnitude` in [0, 1]; some are left out (see `RATE`).

    Raises:
        UserError: KerasCV is not installed, or does not work with the installed TensorFlow.
    """
    operations = []
    for _ in range(count):
        layers = _policy(magnitude)
        index = int(rng.integers(len(layers)))
        skipped = rng.random() > RATE
        values = _DRAWS[type(layers[index]).__name__](layers[index], rng)
        if not skipped:
            operations.append(Operation(index, type(layers[index]).__name__, values))
    return tuple(operations)


def apply(frames: np.ndarray, operations: tuple[Operation, ...], colour: bool = True) -> np.ndarray:
    """Apply drawn operations to all frames.

    Args:
        frames: uint8 (T, H, W, C); C is 3 where colour operations are wanted.
        operations: as `draw` gave them.
        colour: False leaves out what changes colours only (for depth).
    """
    for operation in operations:
        if colour or operation.spatial:
            frames = _apply_one(frames, operation)
    return frames


def require() -> None:
    """Try every operation once on a tiny clip.

    Raises:
        UserError: KerasCV is not installed, or does not work with the installed TensorFlow.
    """
    clip = np.zeros((2, 4, 4, 3), np.uint8)
    rng = np.random.default_rng(0)
    try:
        for index, layer in enumerate(_policy(0.5)):
            name = type(layer).__name__
            _apply_one(clip, Operation(index, name, _DRAWS[name](layer, rng)))
    except UserError:
        raise
    except Exception as error:
        raise _unavailable(error) from error


def _apply_one(frames: np.ndarray, operation: Operation) -> np.ndarray:
    import keras_cv

    def tensor(value: float, shape: tuple[int, ...]) -> Any:
        return keras_cv.core.ConstantFactorSampler(value)(shape=shape)

    layer = _policy(0.5)[operation.index]
    shape = frames.shape if operation.spatial else (1, -1, *frames.shape[2:])
    # KerasCV's constant sampler makes TensorFlow tensors on every backend: 1 * frames is the frames as a tensor.
    images = tensor(1.0, ()) * frames.reshape(shape).astype(np.float32)
    changed = layer.augment_images(images, transformations=_transformation(operation, tensor))
    return np.clip(np.rint(np.asarray(changed)), 0, 255).astype(np.uint8).reshape(frames.shape)


def _transformation(operation: Operation, tensor: Any) -> Any:
    """Return the drawn numbers in the form in which the layer would have drawn them itself."""
    if operation.spatial:
        names = _SPATIAL[operation.name]
        return {name: tensor(value, (1, 1)) for name, value in zip(names, operation.values, strict=True)}
    values = [tensor(value, (1, 1, 1, 1)) for value in operation.values]
    if operation.name == "Solarization":
        return {"additions": values[0], "thresholds": values[1]}
    return values[0] if values else None


@functools.lru_cache(maxsize=16)
def _built(magnitude: float) -> tuple[Any, ...]:
    try:
        import keras
        from keras_cv.layers import RandAugment

        layers = tuple(RandAugment.get_standard_policy((0, 255), magnitude, MAGNITUDE_STDDEV))
        for layer in layers:
            layer.dtype_policy = keras.dtype_policies.DTypePolicy("float32")
    except Exception as error:
        raise _unavailable(error) from error
    return layers


def _policy(magnitude: float) -> tuple[Any, ...]:
    """Return the layers; a lock keeps threads from building, and importing KerasCV, at the same time."""
    with _building:
        return _built(magnitude)


def _unavailable(error: Exception) -> UserError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(
        "RandAugment (data.augmentation.rand_augment) needs KerasCV working with the installed TensorFlow, which it "
        f"does not ({type(error).__name__}: {reason[0]}); install the extra keras_actrec[augment] with the pinned "
        "TensorFlow of requirements.txt, or set rand_augment to 0."
    )


def _sample(factor: Any, rng: np.random.Generator) -> float:
    """Draw from one of KerasCV's factor samplers."""
    kind = type(factor).__name__
    if kind == "NormalFactorSampler":
        return float(np.clip(rng.normal(factor.mean, factor.stddev), factor.min_value, factor.max_value))
    if kind == "UniformFactorSampler":
        return float(rng.uniform(factor.lower, factor.upper))
    if kind == "ConstantFactorSampler":
        return float(factor.value)
    raise TypeError(f"KerasCV's factor sampler {kind} is not known here")


def _either_sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


_DRAWS = {
    "AutoContrast": lambda layer, rng: (),
    "Equalization": lambda layer, rng: (),
    "Solarization": lambda layer, rng: (_sample(layer.addition_factor, rng), _sample(layer.threshold_factor, rng)),
    "RandomColorDegeneration": lambda layer, rng: (_sample(layer.factor, rng),),
    "RandomContrast": lambda layer, rng: (_sample(layer.factor, rng),),
    "RandomBrightness": lambda layer, rng: (_sample(layer.factor, rng) * 255,),
    "RandomShear": lambda layer, rng: tuple(
        _sample(factor, rng) * _either_sign(rng) for factor in (layer.x_factor, layer.y_factor)
    ),
    "RandomTranslation": lambda layer, rng: (
        float(rng.uniform(layer.width_lower, layer.width_upper)),
        float(rng.uniform(layer.height_lower, layer.height_upper)),
    ),
}
