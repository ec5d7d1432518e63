"""Layers that two architectures or more share: one idea per file, plain arguments, registered for saving."""

from keras_actrec.layers.central_difference_conv3d import CentralDifferenceConv3D
from keras_actrec.layers.class_token import ClassToken
from keras_actrec.layers.conv3d import Conv3D
from keras_actrec.layers.convolutional_attention import ConvolutionalAttention
from keras_actrec.layers.divided_space_time import DividedSpaceTimeBlock
from keras_actrec.layers.halve_time import HalveTime
from keras_actrec.layers.max_pooling3d import MaxPooling3D
from keras_actrec.layers.multi_scale_temporal_encoder import MultiScaleTemporalEncoder
from keras_actrec.layers.nearest_keys_attention import NearestKeysAttention
from keras_actrec.layers.non_local import NonLocalBlock
from keras_actrec.layers.pick_frame import PickFrame
from keras_actrec.layers.position import LearnedPosition, SinusoidalPosition
from keras_actrec.layers.relative_position_attention import RelativePositionAttention
from keras_actrec.layers.repeat_edges import RepeatEdges
from keras_actrec.layers.resample_time import ResampleTime
from keras_actrec.layers.self_attention import SelfAttention
from keras_actrec.layers.time_distributed import TimeDistributed
from keras_actrec.layers.top_std_pooling import TopStdBlock
from keras_actrec.layers.transformer_block import TransformerBlock
from keras_actrec.layers.transformer_encoder import TransformerEncoder
from keras_actrec.layers.tubelet_embedding import TubeletEmbedding

__all__ = [
    "CentralDifferenceConv3D",
    "ClassToken",
    "Conv3D",
    "ConvolutionalAttention",
    "DividedSpaceTimeBlock",
    "HalveTime",
    "LearnedPosition",
    "MaxPooling3D",
    "MultiScaleTemporalEncoder",
    "NearestKeysAttention",
    "NonLocalBlock",
    "PickFrame",
    "RelativePositionAttention",
    "RepeatEdges",
    "ResampleTime",
    "SelfAttention",
    "SinusoidalPosition",
    "TimeDistributed",
    "TopStdBlock",
    "TransformerBlock",
    "TransformerEncoder",
    "TubeletEmbedding",
]
