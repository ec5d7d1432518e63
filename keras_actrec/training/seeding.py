"""One seed for all that is drawn while a network is built; the input pipeline has its own, (seed, epoch, index)."""

from __future__ import annotations

import random

import keras
import numpy as np

from keras_actrec.training import distribution


def seed_everything(seed: int, deterministic: bool = True) -> None:
    """Seed Python, NumPy and the backend, and ask for reproducible kernels. Call it right before building a model.

    Layers with random draws of their own (dropout) take their first state from here; later states are in the
    checkpoints.
    """
    keras.utils.set_random_seed(seed)
    if deterministic:
        distribution.make_deterministic()


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed the global generators for an epoch, so that a resumed run draws from them what an undisturbed one does.

    Keras 3.15 on PyTorch takes dropout without an explicit seed from PyTorch's global generator, whose state is in no
    variable and so in no checkpoint. TensorFlow's is left alone: nothing draws from it, and setting its seed throws
    all compiled kernels away, which took 60 % of a short epoch.
    """
    number = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
    if keras.backend.backend() == "torch":
        keras.utils.set_random_seed(number)
    else:
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002 (whoever draws from the global generator shall get the same again)
