"""Layers that two architectures or more share: one idea per file, plain arguments, registered for saving."""

from keras_actrec.layers.conv3d import Conv3D
from keras_actrec.layers.max_pooling3d import MaxPooling3D
from keras_actrec.layers.non_local import NonLocalBlock
from keras_actrec.layers.pick_frame import PickFrame
from keras_actrec.layers.position import LearnedPosition, SinusoidalPosition
from keras_actrec.layers.repeat_edges import RepeatEdges
from keras_actrec.layers.time_distributed import TimeDistributed
from keras_actrec.layers.transformer_encoder import TransformerEncoder

__all__ = [
    "Conv3D",
    "LearnedPosition",
    "MaxPooling3D",
    "NonLocalBlock",
    "PickFrame",
    "RepeatEdges",
    "SinusoidalPosition",
    "TimeDistributed",
    "TransformerEncoder",
]
