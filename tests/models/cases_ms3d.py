"""Rows of the battery: `ms3d`."""

from __future__ import annotations

from case import CLASSES, Case, dense, unit

GROWTH, BOTTLENECK = 4, 3
SMALL = {
    **{"frames": 4, "size": 16, "tempos": [2, 5], "pathway_kernels": [[1, 3, 3], [3, 5, 3]]},
    **{"pathway_filters": [4, 3], "shared_filters": 6, "shared_seed": 5, "pool": False},
    **{"blocks": [3, 2], "growth": GROWTH, "bottleneck": BOTTLENECK, "connection_seed": 3},
    **{"code_size": 5, "head_dropout": 0.1},
}
INPUTS = (("tempo1", 3), ("tempo2", 3))


def layer(received: int, growth: int = GROWTH, bottleneck: int = BOTTLENECK) -> int:
    """A normalisation of what is received, the bottleneck with its normalisation, the 3x3x3 convolution."""
    inside = bottleneck * growth
    return 4 * received + unit(1, received, inside) + 27 * inside * growth


def stem(channels: int, side: int) -> int:
    """The fixed kernel over one frame, and the pathways."""
    return side * side * channels * 6 + unit(9, 6, 4) + unit(45, 6, 3)


# The module has 7 channels and the first block adds 3 x 4. Its third layer has one other before its neighbour, so that
# it receives round(2 x 0.45) = 1 of the block's input (7 channels) and layer 1 (4 channels) beside layer 2.
FIRST = layer(7) + layer(4)
TRANSITION = 4 * 19

MS3D = {
    "ms3d": Case(
        "ms3d",
        SMALL | {"alpha": 0.45, "compression": 0.6, "shared_kernel": 5, "temporal_padding": "edge"},
        # The third layer drew the block's input, and int(19 x 0.6) = 11 channels are left behind the block.
        stem(3, 5)
        + (FIRST + layer(7 + 4))
        + (TRANSITION + 19 * 11)
        + (layer(11) + layer(4) + 4 * 19)
        + (dense(19, 5) + dense(5, CLASSES)),
        frame_wise=False,
        inputs=INPUTS,
        lengths=(2, 5),
    ),
    "ms3d, depth, all connections": Case(
        "ms3d",
        SMALL | {"alpha": 1.0, "modalities": ["depth"], "pathway_stride": [1, 4, 4], "inflation": "mean"},
        stem(1, 3)
        + (FIRST + layer(7 + 4) - layer(4) + layer(7 + 4 + 4))
        + (TRANSITION + 19 * 9)
        + (layer(9) + layer(9 + 4) + 4 * 17)
        + (dense(17, 5) + dense(5, CLASSES)),
        frame_wise=False,
        inputs=(("tempo1", 1), ("tempo2", 1)),
        lengths=(2, 5),
    ),
}
