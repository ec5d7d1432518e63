"""A 3-D convolution that runs as a 2-D one where its kernel spans only space or only time, and where that is faster."""

from __future__ import annotations

import keras
from keras import ops

from keras_actrec.layers.folding import Tensor, fold_time, unfold_time

FASTER_ON = frozenset({"jax"})
"""Backends on which two dimensions are faster: XLA is slow at three on a CPU, TensorFlow's own kernels are not."""


@keras.saving.register_keras_serializable(package="keras_actrec")
class Conv3D(keras.layers.Conv3D):
    """`keras.layers.Conv3D`: (B, T, H, W, I) -> (B, t, h, w, O). Arguments, weights and numbers are Keras'.

    On the backends of `FASTER_ON` a kernel (1, kh, kw) is computed as a 2-D convolution of each frame, and a kernel
    (kt, 1, 1) as one along the time of each place.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolve (B, T, H, W, I) with (kt, kh, kw, I, O)."""
        if self._folds() and self.kernel_size[0] == self.strides[0] == 1:
            return unfold_time(self._convolve(fold_time(inputs), kernel[0], self.strides[1:]), like=inputs)
        if self._folds() and self.kernel_size[1:] == (1, 1):
            return self._along_time(inputs, kernel)
        return super().convolution_op(inputs, kernel)

    def _folds(self) -> bool:
        plain = self.groups == 1 and self.data_format == "channels_last" and set(self.dilation_rate) == {1}
        return plain and keras.backend.backend() in FASTER_ON

    def _along_time(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Lay the places of a frame in one row: (B, T, H*W, I) is an image that is T high."""
        _, rows, columns = self.strides
        inputs = inputs[:, :, ::rows, ::columns] if (rows, columns) != (1, 1) else inputs
        _, frames, height, width, channels = inputs.shape
        image = ops.reshape(inputs, (-1, frames, height * width, channels))
        outputs = self._convolve(image, kernel[:, 0], (self.strides[0], 1))
        return ops.reshape(outputs, (-1, outputs.shape[1], height, width, self.filters))

    def _convolve(self, inputs: Tensor, kernel: Tensor, strides: tuple[int, ...]) -> Tensor:
        return ops.conv(inputs, kernel, strides, self.padding, self.data_format)
