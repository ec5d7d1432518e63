"""The numbers of the normalisations: what `pipeline.normalize` subtracts and divides by, per channel."""

from __future__ import annotations

# Mean and standard deviation of RGB in 0..1. ImageNet's numbers are those of keras.applications.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of torchvision's video networks, and of SlowFast's and PyTorchVideo's.
_KINETICS_MEAN, _KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
_SLOWFAST_MEAN, _SLOWFAST_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
# Means of BGR in 0..255.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
# C3D subtracts a mean clip; these are its means per channel, as its PyTorch versions use them.
_SPORTS1M_MEAN = (90.0, 98.0, 102.0)

STANDARDISED = {
    "imagenet": (_IMAGENET_MEAN, _IMAGENET_STD),
    "kinetics": (_KINETICS_MEAN, _KINETICS_STD),
    "slowfast": (_SLOWFAST_MEAN, _SLOWFAST_STD),
}
BGR_MEANS = {"caffe": _CAFFE_MEAN, "sports1m": _SPORTS1M_MEAN}
