"""Rows of the battery: `ctn`."""

from __future__ import annotations

from case import CLASSES, Case, dense, unit

SMALL = {"frames": 8, "size": 16, "patch": 8, "width": 6, "depth": 2, "heads": 2, "dense_dim": 5}
DROPPED = {"dropout": 0.1, "head_dropout": 0.1}
NORM = 2 * 6
ATTENTION = 4 * dense(6, 6)
FEED_FORWARD = dense(6, 5) + dense(5, 6)
BLOCK = ATTENTION + FEED_FORWARD + 2 * NORM
CLASS_TOKEN = 6
HEAD = dense(6, CLASSES)
# The softmax over keys does not change when a constant is added to all keys. Of the last layer only the class token is
# read, and its query is made without the convolution.
UNMOVED = (
    "key/bias",
    "block2/attention/query_depthwise/kernel",
    "block2/attention/query_norm/gamma",
    "block2/attention/query_norm/beta",
)

CTN = {
    "ctn, tubelets, linear, depth alone": Case(
        "ctn",
        SMALL | DROPPED | {"modalities": ["depth"], "tokens": "tubelets", "mapping": "linear", "position": "learned"},
        dense(2 * 8 * 8 * 1, 6) + CLASS_TOKEN + (1 + 4 * 2 * 2) * 6 + 2 * BLOCK + HEAD,
        unmoved=UNMOVED,
        frame_wise=False,
        inputs=(("depth", 1),),
    ),
    "ctn, without poolings and normalisations of batches, pre-norm": Case(
        "ctn",
        SMALL
        | {"drop_path": 0.1, "head_dropout": 0.1, "norm": "pre", "mapping_batch_norm": False, "patch_frames": 1}
        | {"stem_channels": 4, "stem_kernel": 5, "stem_stride": 4, "stem_temporal_stride": 2, "stem_pool": False}
        | {"stem_batch_norm": False},
        dense(125 * 3, 4) + dense(2 * 2 * 1 * 4, 6) + CLASS_TOKEN + 2 * (BLOCK + 3 * 9 * 6) + NORM + HEAD,
        unmoved=UNMOVED,
        frame_wise=False,
    ),
    "ctn": Case(
        "ctn",
        SMALL
        | DROPPED
        | {"stem_channels": 4, "stem_kernel": 3, "mapping_kernel": 5, "position": "learned", "attention_dropout": 0.1}
        # 8 frames become 4 by the stem and stay 4 in the pooling: two tokens in time, 2 x 2 in space.
        | {"stem_pool_temporal_stride": 1},
        unit(27, 3, 4)
        + dense(2 * 2 * 2 * 4, 6)
        + CLASS_TOKEN
        + (1 + 2 * 2 * 2) * 6
        + 2 * (BLOCK + 3 * (25 + 4) * 6)
        + HEAD,
        unmoved=UNMOVED,
        frame_wise=False,
    ),
}
