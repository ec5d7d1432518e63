"""Rows of the battery: `mfst`."""

from __future__ import annotations

from case import CLASSES, Case, dense, unit

TINY = {
    **{"frames": 8, "size": 32, "stages": 2, "theta": 0.5, "head_units": 9, "head_dropout": 0.1},
    **{"stem_widths": [4, 5, 6], "stem_temporal_kernels": [3, 5], "stem_temporal_stride": 2},
    "inception_widths": [[[2, 3, 4, 2, 3, 2], [3, 2, 4, 3, 2, 3]], [[4, 3, 5, 2, 3, 2], [5, 4, 6, 2, 3, 2]]],
    **{"pool_strides": [1, 2], "widths": [8, 10], "spatial_layers": 1, "temporal_layers": 2},
    **{"heads": 2, "head_dim": 3, "dense_dim": 7, "spatial_keys_kept": 0.5},
}


def stem(channels: int, first: int = 3, last: int = 5) -> int:
    """Convolutions over 7x7 pixels and `first` frames, one place, and 3x3 pixels and `last` frames."""
    return unit(first * 49, channels, 4) + unit(1, 4, 5) + unit(last * 9, 5, 6)


def inception(inputs: int, *widths: int) -> int:
    """The six convolutions of a module's four branches, over one frame."""
    alone, first, second, third, fourth, pooled = widths
    ones = sum(unit(1, inputs, width) for width in (alone, first, third, pooled))
    return ones + unit(9, first, second) + unit(9, third, fourth)


def block(width: int) -> int:
    """Two heads of 3: queries, keys, values, their joint projection; feed-forward; two normalisations."""
    attention = 3 * dense(width, 2 * 3) + dense(2 * 3, width)
    return attention + dense(width, 7) + dense(7, width) + 2 * 2 * width


def head(width: int) -> int:
    """A layer normalisation, the hidden layer, the logits."""
    return 2 * width + dense(width, 9) + dense(9, CLASSES)


# Modules of 2 + 4 + 3 + 2 = 11 channels and 3 + 4 + 2 + 3 = 12, of 4 + 5 + 3 + 2 = 14 and 5 + 6 + 3 + 2 = 16, and the
# projections to the tokens.
FIRST = inception(6, 2, 3, 4, 2, 3, 2) + inception(11, 3, 2, 4, 3, 2, 3) + dense(12, 8)
SECOND = inception(8, 4, 3, 5, 2, 3, 2) + inception(14, 5, 4, 6, 2, 3, 2) + dense(16, 10)
SHORTCUT = dense(8, 10)
ONE_STAGE = TINY | {"stages": 1, "temporal_layers": 1}
# The softmax over keys does not change when a constant is added to all keys.
UNMOVED = ("attention/key/bias",)

MFST: dict[str, Case] = {
    "mfst, depth": Case(
        "mfst",
        ONE_STAGE | {"modalities": ["depth"]},
        stem(1) + FIRST + (1 + 1) * block(8) + head(8),
        unmoved=UNMOVED,
        frame_wise=False,
        inputs=(("depth", 1),),
    ),
    "mfst, RGB and depth": Case(
        "mfst",
        ONE_STAGE
        | {"modalities": ["rgb", "depth"], "input_normalization": "zero_one"}
        | {"stem_temporal_kernels": [5, 1], "residual": False},
        stem(4, first=5, last=1) + FIRST + (1 + 1) * block(8) + head(8),
        unmoved=UNMOVED,
        frame_wise=False,
        normalization="zero_one",
        inputs=(("rgb", 3), ("depth", 1)),
    ),
    # The last row of a name is the one that other backends read, too: they are given RGB alone.
    "mfst": Case(
        "mfst",
        TINY | {"stem_kind": "vanilla", "temporal_scales": [1, 2], "share_scales": False, "dropout": 0.05},
        # In each stage one layer over space, and two over time for each of two scales.
        stem(3) + FIRST + SECOND + (1 + 2 * 2) * (block(8) + block(10)) + SHORTCUT + head(10),
        unmoved=UNMOVED,
        frame_wise=False,
    ),
}
