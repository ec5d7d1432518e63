"""Rows of the battery: `rpe_stdt`."""

from __future__ import annotations

from case import CLASSES, Case, dense

# Four patches of 8 x 8 pixels in each frame.
TINY = {
    "frames": 4,
    "size": 16,
    "patch": 8,
    "width": 12,
    "depth": 2,
    "heads": 3,
    "dense_dim": 16,
    "temporal_depth": 2,
    "temporal_heads": 2,
    "subsample_after": [1],
    "head_dropout": 0.1,
}
SQUARE = 4 * dense(12, 12)  # queries, keys, values, output
NORM = 2 * 12
SPACE_LAYER = SQUARE + dense(12, 16) + dense(16, 12) + 2 * NORM
ENDS = dense(8 * 8 * 3, 12) + 12 + NORM + dense(12, CLASSES)  # patches, class token, norm behind the layers, logits
DECOUPLED = ENDS + 2 * SPACE_LAYER + 12 + NORM
# Distances of both axes from -2 to 2, of time alone likewise, and one cluster more for the class token.
SPACE_CLUSTERS, TIME_CLUSTERS = 5**2 + 1, 5 + 1
# The softmax over keys takes no notice of a constant that is added to all keys. In the last layers the class token
# alone is read, whose pairs are all of one cluster: the same constant again.
UNMOVED = ("attention/key/bias", "space_block2/attention/clusters", "time_block2/attention/clusters")

RPE_STDT: dict[str, Case] = {
    "rpe_stdt": Case(
        "rpe_stdt",
        TINY
        | {
            "reach": 2,
            "partition": 0.4,
            "curvature": 3.0,
            "dropout": 0.05,
            "attention_dropout": 0.05,
            "position_stddev": 1.0,
            "temporal_position_stddev": 1.0,
        },
        DECOUPLED + 2 * SPACE_LAYER + 2 * SPACE_CLUSTERS * 4 + 2 * TIME_CLUSTERS * 6,
        unmoved=UNMOVED,
        frame_wise=False,
        learning_rate=0.002,
        training_clips=768,
    ),
    "rpe_stdt, heads of their own": Case(
        "rpe_stdt",
        TINY
        | {
            "reach": 2,
            "mapping": "clip",
            "heads_share_positions": False,
            "position_stddev": 1.0,
            "subsampling": "convolution",
            "temporal_head_dim": 5,
            "temporal_dense_dim": 9,
        },
        DECOUPLED
        + 2 * (3 * dense(12, 10) + dense(10, 12) + dense(12, 9) + dense(9, 12) + 2 * NORM)
        + 2 * 3 * SPACE_CLUSTERS * 4
        + 2 * 2 * TIME_CLUSTERS * 5
        + dense(2 * 12, 12),
        unmoved=UNMOVED,
        frame_wise=False,
        learning_rate=0.002,
        training_clips=768,
    ),
    "rpe_stdt, absolute": Case(
        "rpe_stdt",
        TINY | {"position": "absolute", "modalities": ["depth"], "subsampling": "average", "subsample_after": [0, 2]},
        DECOUPLED + 2 * SPACE_LAYER - 8 * 8 * 2 * 12 + (1 + 4) * 12 + (1 + 4) * 12,
        unmoved=UNMOVED,
        frame_wise=False,
        learning_rate=0.002,
        inputs=(("depth", 1),),
        training_clips=768,
    ),
    "rpe_stdt, no position": Case(
        "rpe_stdt",
        TINY | {"position": "none", "drop_path": 0.1},
        DECOUPLED + 2 * SPACE_LAYER,
        unmoved=UNMOVED,
        sees_order=False,
        frame_wise=False,
        learning_rate=0.002,
        training_clips=768,
    ),
    "rpe_stdt, space": Case(
        "rpe_stdt",
        {
            name: TINY[name]
            for name in ("frames", "size", "patch", "width", "depth", "heads", "dense_dim", "head_dropout")
        }
        | {"encoders": "space"},
        ENDS + 2 * SPACE_LAYER + 2 * (7**2 + 1) * 4,
        unmoved=UNMOVED,
        sees_order=False,
        frame_wise=False,
        learning_rate=0.002,
        training_clips=768,
    ),
}
