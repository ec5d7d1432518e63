"""Max-pooling over time and space whose gradient goes to one place of each window, on every backend."""

from __future__ import annotations

import keras
from keras import ops

from keras_actrec.layers.folding import Tensor, fold_time, unfold_time

INEXACT_ON = frozenset({"tensorflow"})
"""Backends whose 3-D max-pooling can hand the whole gradient to each of several equal maxima: TensorFlow's own kernel
for CPUs (2.17: a window of eight ones gets 8 in place of 1). It runs in eager execution, and in graphs where oneDNN
does not take over. TensorFlow's 2-D pooling and the other backends choose one place."""


@keras.saving.register_keras_serializable(package="keras_actrec")
class MaxPooling3D(keras.layers.MaxPooling3D):
    """`keras.layers.MaxPooling3D`: (B, T, H, W, C) -> (B, t, h, w, C). Arguments and values are Keras'.

    Equal maxima are common after a ReLU, and the rule where one pooling follows another, as in Inception; there the
    errors multiply. On the backends of `INEXACT_ON` the maximum is therefore taken over space and then over time, each
    by a 2-D pooling.
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Return the largest value of each window."""
        if self.data_format != "channels_last" or keras.backend.backend() not in INEXACT_ON:
            return super().call(inputs)
        return self._over_time(self._over_space(inputs))

    def _over_space(self, x: Tensor) -> Tensor:
        if self.pool_size[1:] == self.strides[1:] == (1, 1):
            return x
        return unfold_time(ops.max_pool(fold_time(x), self.pool_size[1:], self.strides[1:], self.padding), like=x)

    def _over_time(self, x: Tensor) -> Tensor:
        """Lay the places of a frame in one row: (B, T, H*W, C) is an image that is T high."""
        if self.pool_size[0] == self.strides[0] == 1:
            return x
        _, frames, height, width, channels = x.shape
        image = ops.reshape(x, (-1, frames, height * width, channels))
        image = ops.max_pool(image, (self.pool_size[0], 1), (self.strides[0], 1), self.padding)
        return ops.reshape(image, (-1, image.shape[1], height, width, channels))
