"""Networks that turn frames into features: keras.applications without their tops, and a tiny one of our own."""

from keras_actrec.backbones.frame import NAMES, FrameBackboneName, build_frame_backbone, check, normalization
from keras_actrec.backbones.synchronize import synchronize
from keras_actrec.backbones.tiny import build_tiny

__all__ = ["NAMES", "FrameBackboneName", "build_frame_backbone", "build_tiny", "check", "normalization", "synchronize"]
