"""Which videos of each class stand for it: MS3D's "randomly choose w video fragments" (Sec. III-C)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_actrec.data.manifest import Clip


def choose(clips: Sequence[Clip], count: int, seed: int) -> tuple[Clip, ...]:
    """Return up to `count` clips of each class, drawn without replacement, in the order in which they stand.

    The draw of a class depends on the seed and on its own clips alone.
    """
    by_class: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        if clip.label is not None:
            by_class.setdefault(clip.label, []).append(index)
    chosen: list[int] = []
    for label in sorted(by_class):
        rng = np.random.default_rng([seed, *label.encode()])
        chosen.extend(rng.permutation(by_class[label])[:count].tolist())
    return tuple(clips[index] for index in sorted(chosen))
