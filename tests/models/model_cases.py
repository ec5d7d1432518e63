"""The rows of the battery of models: a small network of each architecture, and its parameters worked out by hand."""

from __future__ import annotations

from case import CLASSES, Case, dense, unit
from cases_ctn import CTN
from cases_mfst import MFST
from cases_ms3d import MS3D
from cases_rpe_stdt import RPE_STDT
from cases_vit import VIT

# --- Frame by frame ---------------------------------------------------------------------------------------------------

# Backbone tiny on 3 + 2 (coordinates) and 6 + 2 channels: two 3x3 convolutions without bias, three normalisations.
FRAMES = {"frames": 4, "size": 16, "backbone": "tiny", "weights": "none", "widths": [6, 8]}
TINY = FRAMES | {"head_units": 10}
TINY_PARAMETERS = unit(9, 5, 6) + unit(9, 8, 8) + 4 * 8
HEAD = dense(8, 10) + dense(10, CLASSES)
# Two heads of width 3 on 8 features: queries, keys, values, their joint projection; feed-forward; two normalisations.
ENCODER = 3 * dense(8, 2 * 3) + dense(2 * 3, 8) + dense(8, 5) + dense(5, 8) + 2 * 2 * 8


def lstm(inputs: int, units: int) -> int:
    """Four gates, each of which reads input and state."""
    return 4 * dense(inputs + units, units)


FRAME_WISE = {
    "convnet_transformer": Case(
        "convnet_transformer",
        TINY | {"position": "learned", "encoder_layers": 2, "heads": 2, "key_dim": 3, "dense_dim": 5},
        TINY_PARAMETERS + 4 * 8 + 2 * ENCODER + HEAD,
        # The softmax over keys does not change when a constant is added to all keys.
        unmoved=("attention/key/bias",),
    ),
    "convnet_transformer, sinusoidal": Case(
        "convnet_transformer",
        TINY | {"heads": 2, "key_dim": 3, "dense_dim": 5, "attention_dropout": 0.0, "encoder_dropout": 0.1},
        TINY_PARAMETERS + ENCODER + HEAD,
        unmoved=("attention/key/bias",),
    ),
    "convnet_rnn": Case(
        "convnet_rnn",
        TINY | {"cell": "lstm", "units": 5, "bidirectional": True},
        TINY_PARAMETERS + 2 * lstm(8, 5) + dense(10, 10) + dense(10, CLASSES),
    ),
    "convnet_rnn, simple": Case(
        "convnet_rnn",
        TINY | {"cell": "simple", "units": 5, "activation": "sigmoid"},
        TINY_PARAMETERS + dense(8 + 5, 5) + dense(5, 10) + dense(10, CLASSES),
    ),
    "convnet_rnn, gru": Case(
        "convnet_rnn",
        TINY | {"units": 5, "recurrent_dropout": 0.1},
        # Keras' GRU has a bias before and one after the reset gate.
        TINY_PARAMETERS + 3 * (8 + 5 + 2) * 5 + dense(5, 10) + dense(10, CLASSES),
    ),
    "single_frame": Case("single_frame", TINY | {"noise": 0.2}, TINY_PARAMETERS + HEAD, sees_order=False),
    "frame_average": Case("frame_average", TINY | {"head_dropout": 0.1}, TINY_PARAMETERS + HEAD, sees_order=False),
    "frame_average, features": Case(
        "frame_average", TINY | {"average": "features"}, TINY_PARAMETERS + HEAD, sees_order=False
    ),
    "late_fusion": Case(
        "late_fusion",
        FRAMES | {"latent_dim": 7, "fusion_units": 9, "head_dropout": 0.1},
        TINY_PARAMETERS + dense(8, 7) + dense(4 * 7, 9) + dense(9, CLASSES),
    ),
    "late_fusion, no fusion layer": Case(
        "late_fusion",
        FRAMES | {"latent_dim": 7, "fusion_units": None, "head_dropout": 0.1},
        TINY_PARAMETERS + dense(8, 7) + dense(4 * 7, CLASSES),
    ),
    "late_fusion, average": Case(
        "late_fusion",
        FRAMES | {"latent_dim": 7, "fusion": "average", "head_dropout": 0.1},
        TINY_PARAMETERS + dense(8, 7) + dense(7, CLASSES),
        sees_order=False,
    ),
    "lrcn": Case(
        "lrcn",
        FRAMES | {"latent_dim": 7, "hidden_size": 5, "lstm_layers": 3, "head_dropout": 0.1},
        TINY_PARAMETERS + dense(8, 7) + 2 * lstm(7, 5) + 2 * 2 * lstm(10, 5) + dense(10, CLASSES),
    ),
    "lrcn, last step of one layer": Case(
        "lrcn",
        FRAMES
        | {"latent_dim": 7, "hidden_size": 5, "lstm_layers": 1, "bidirectional": False}
        | {"readout": "last", "head_dropout": 0.1},
        TINY_PARAMETERS + dense(8, 7) + lstm(7, 5) + dense(5, CLASSES),
    ),
}

# --- The whole clip at once: C3D and I3D on Inception -----------------------------------------------------------------

# After the poolings one place is left of 16 frames of 16 pixels, so that fc6 reads the last stage's width.
C3D = {"frames": 16, "size": 16, "widths": [4, 5, 6, 7, 8], "fc_units": 9, "head_dropout": 0.1}
C3D_PAIRS = ((3, 4), (4, 5), (5, 6), (6, 6), (6, 7), (7, 7), (7, 8), (8, 8))
C3D_HEAD = dense(8, 9) + dense(9, 9) + dense(9, CLASSES)


def inception(inputs: int, *widths: int) -> int:
    """The six convolutions of a module's four branches."""
    alone, first, second, third, fourth, pooled = widths
    ones = sum(unit(1, inputs, width) for width in (alone, first, third, pooled))
    return ones + unit(27, first, second) + unit(27, third, fourth)


# An eighth of the original's widths.
INCEPTION_PARAMETERS = (
    unit(7**3, 3, 8)
    + unit(1, 8, 8)
    + unit(27, 8, 24)
    + inception(24, 8, 12, 16, 2, 4, 4)
    + inception(32, 16, 16, 24, 4, 12, 8)
    + inception(60, 24, 12, 26, 2, 6, 8)
    + inception(64, 20, 14, 28, 3, 8, 8)
    + inception(64, 16, 16, 32, 3, 8, 8)
    + inception(64, 14, 18, 36, 4, 8, 8)
    + inception(66, 32, 20, 40, 4, 16, 16)
    + inception(104, 32, 20, 40, 4, 16, 16)
    + inception(104, 48, 24, 48, 6, 16, 16)
    + dense(128, CLASSES)
)

WHOLE_CLIP = {
    "c3d": Case(
        "c3d",
        C3D | {"batch_norm": True},
        sum(unit(27, *pair) for pair in C3D_PAIRS) + C3D_HEAD,
        frame_wise=False,
        normalization="sports1m",
    ),
    "c3d, without batch normalisation": Case(
        "c3d",
        C3D | {"input_normalization": "zero_one"},
        sum(dense(27 * inputs, outputs) for inputs, outputs in C3D_PAIRS) + C3D_HEAD,
        frame_wise=False,
        normalization="zero_one",
        learning_rate=0.001,
    ),
    "i3d_inception": Case(
        "i3d_inception",
        {"frames": 8, "size": 32, "width_factor": 0.125, "head_dropout": 0.1},
        INCEPTION_PARAMETERS,
        frame_wise=False,
    ),
}

# --- The whole clip at once: 3-D ResNets and Non-local networks -------------------------------------------------------

# Widths of 4 channels in two stages.
RESNET = {"frames": 4, "size": 32, "base_width": 4, "depths": [1, 2], "temporal_strides": [1, 2], "head_dropout": 0.1}
UNTRAINED = RESNET | {"weights": "none"}


def basic(volume: int, inputs: int, width: int) -> int:
    """Two convolutions of a volume, and a projection where the width changes."""
    projection = unit(1, inputs, width) if inputs != width else 0
    return unit(volume, inputs, width) + unit(volume, width, width) + projection


def factorised(inputs: int, width: int, mid: int) -> int:
    """Two (2+1)D convolutions over 3x3 pixels and 3 frames, and a projection where the width changes."""
    first, second = (unit(9, channels, mid) + unit(3, mid, width) for channels in (inputs, width))
    return first + second + (unit(1, inputs, width) if inputs != width else 0)


def bottleneck(frames: int, inputs: int, width: int, middle: int = 9) -> int:
    """Three convolutions, the first over some frames, and a projection where the width changes."""
    inside = unit(frames, inputs, width) + unit(middle, width, width) + unit(1, width, 4 * width)
    return inside + (unit(1, inputs, 4 * width) if inputs != 4 * width else 0)


def non_local(width: int, inner: int, embeddings: int = 2) -> int:
    """Convolutions with bias (theta and phi if there are embeddings; g; out) and a batch normalisation."""
    return (embeddings + 1) * dense(width, inner) + dense(inner, width) + 4 * width


# The batch normalisation behind a non-local block's `out`, and its softmax, take no notice of these.
NON_LOCAL_UNMOVED = ("phi/bias", "g/bias", "out/bias")
NON_LOCAL_C3D = ((3, 4), (4, 8), (8, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 32))

RESNETS = {
    "r3d_18": Case(
        "r3d_18",
        RESNET | {"temporal_kernels": [[3], [1, 3]], "stem_temporal_kernel": 5, "temporal_padding": "edge"},
        unit(5 * 49, 3, 4) + basic(27, 4, 4) + basic(9, 4, 8) + basic(27, 8, 8) + dense(8, CLASSES),
        frame_wise=False,
        normalization="kinetics",
    ),
    "mc3_18": Case(
        "mc3_18",
        RESNET | {"temporal_kernels": [[3], [1]]},
        unit(3 * 49, 3, 4) + basic(27, 4, 4) + basic(9, 4, 8) + basic(9, 8, 8) + dense(8, CLASSES),
        frame_wise=False,
        normalization="kinetics",
    ),
    "r2plus1d_18": Case(
        "r2plus1d_18",
        RESNET | {"temporal_kernels": [[3], [3]], "stem_mid_width": 5},
        unit(49, 3, 5)
        + unit(3, 5, 4)
        # floor(27 * 4 * 4 / (9 * 4 + 3 * 4)) channels between the halves, and so on.
        + factorised(4, 4, 9)
        + factorised(4, 8, 14)
        + factorised(8, 8, 18)
        + dense(8, CLASSES),
        frame_wise=False,
        normalization="kinetics",
    ),
    "r3d_50": Case(
        "r3d_50",
        RESNET | {"temporal_kernels": [[3], [1, 3]], "stem_temporal_kernel": 3, "stride_on": "1x1"},
        unit(3 * 49, 3, 4) + bottleneck(3, 4, 4) + bottleneck(1, 16, 8) + bottleneck(3, 32, 8) + dense(32, CLASSES),
        frame_wise=False,
        normalization="slowfast",
    ),
    "i3d_resnet50": Case(
        "i3d_resnet50",
        UNTRAINED
        | {"temporal_kernels": [[1], [3, 1]], "stem_temporal_kernel": 3, "middle_temporal_kernel": 3}
        | {"stride_on": "3x3", "temporal_pool": False, "temporal_padding": "edge"},
        unit(3 * 49, 3, 4)
        + bottleneck(1, 4, 4, middle=27)
        + bottleneck(3, 16, 8, middle=27)
        + bottleneck(1, 32, 8, middle=27)
        + dense(32, CLASSES),
        frame_wise=False,
        normalization="slowfast",
    ),
    "non_local": Case(
        "non_local",
        UNTRAINED
        | {"temporal_kernels": [[3], [1]], "blocks_per_stage": [[1], [2]]}
        | {"subsample": False, "reduction": 4, "scaled": True},
        unit(5 * 49, 3, 4)
        + bottleneck(3, 4, 4)
        + bottleneck(1, 16, 8)
        + bottleneck(1, 32, 8)
        + non_local(16, 4)
        + non_local(32, 8)
        + dense(32, CLASSES),
        unmoved=NON_LOCAL_UNMOVED,
        frame_wise=False,
        normalization="slowfast",
    ),
    "non_local, Gaussian, the stem of I3Res50": Case(
        "non_local",
        UNTRAINED
        | {"frames": 8, "temporal_kernels": [[3], [1]], "blocks_per_stage": [[], [1]], "kind": "gaussian"}
        | {"stem_temporal_stride": 2, "stem_pool_kernel": [2, 3, 3], "stem_pool_stride": [2, 2, 2]}
        | {"stem_pool_padded": False, "stride_on": "3x3"},
        unit(5 * 49, 3, 4)
        + bottleneck(3, 4, 4)
        + bottleneck(1, 16, 8)
        + bottleneck(1, 32, 8)
        + non_local(32, 16, embeddings=0)
        + dense(32, CLASSES),
        unmoved=NON_LOCAL_UNMOVED,
        frame_wise=False,
        normalization="slowfast",
    ),
    "non_local, C3D with concatenation": Case(
        "non_local",
        {"frames": 16, "size": 16, "base_width": 4, "weights": "none", "head_dropout": 0.1, "fc_units": 9}
        | {"body": "c3d", "kind": "concatenation"},
        sum(dense(27 * inputs, outputs) for inputs, outputs in NON_LOCAL_C3D)
        # Each block has w_f, of twice the inner width.
        + (non_local(16, 8) + 2 * 8)
        + (non_local(32, 16) + 2 * 16)
        + (dense(32, 9) + dense(9, 9) + dense(9, CLASSES)),
        unmoved=NON_LOCAL_UNMOVED,
        frame_wise=False,
        normalization="sports1m",
        learning_rate=0.001,
    ),
}

CASES = FRAME_WISE | WHOLE_CLIP | RESNETS | VIT | RPE_STDT | CTN | MFST | MS3D
