"""3-D central difference convolution: MFST, Eq. 2.3 to 2.6, after Yu et al. 2021 (3D-CDC)."""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.layers.conv3d import Conv3D
from keras_actrec.layers.folding import Tensor

Kind = Literal["st", "t", "vanilla"]
KINDS: tuple[str, ...] = get_args(Kind)


@keras.saving.register_keras_serializable(package="keras_actrec")
class CentralDifferenceConv3D(Conv3D):
    """A convolution that sees in part how its surroundings differ from its centre: (B, T, H, W, I) -> (B, t, h, w, O).

    With y(p0) = sum_n w_n . x(p0 + p_n) the plain convolution (Eq. 2.3) and p0 the centre of the kernel's window,

        st        y(p0) - theta * (sum of all w_n) . x(p0)                           (Eq. 2.4 and 2.5)
        t         y(p0) - theta * (sum of the w_n in other frames than p0's) . x(p0)  (Eq. 2.6)
        vanilla   y(p0)

    Both differences are linear in x(p0), so they are taken off the kernel's centre, and one convolution is run in place
    of two. Beyond the borders of a clip x is zero, as in the plain convolution. A kernel of one place leaves nothing to
    differ: `st` then scales by 1 - theta, and `t`, over one frame, is the plain convolution. Weights, arguments and
    cost are those of `Conv3D`.

    Args:
        filters: channels O.
        kernel_size: odd numbers of frames, rows and columns.
        kind: which difference is taken.
        theta: its share, from 0 (the plain convolution) to 1.
        **kwargs: of `keras.layers.Conv3D`.

    Raises:
        UserError: an unknown kind, theta out of range, or a kernel without a centre.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int, int],
        kind: Kind = "st",
        theta: float = 0.6,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        if kind not in KINDS:
            raise UserError(f"there is no central difference of kind '{kind}'.{did_you_mean(kind, KINDS)}")
        if not 0 <= theta <= 1:
            raise UserError(f"theta of a central difference lies between 0 and 1, got {theta}.")
        if kind != "vanilla" and any(size % 2 == 0 for size in self.kernel_size):
            raise UserError(f"a central difference needs a kernel with a centre: odd sizes, got {self.kernel_size}.")
        self.kind, self.theta = kind, theta

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolve (B, T, H, W, I) with (kt, kh, kw, I, O), less the difference's part of its centre."""
        return super().convolution_op(inputs, self.difference_kernel(kernel))

    def difference_kernel(self, kernel: Tensor) -> Tensor:
        """Return the kernel (kt, kh, kw, I, O) whose plain convolution is this one."""
        if self.kind == "vanilla":
            return kernel
        # In float32 whatever the policy: hundreds of weights are summed, and most of them cancel.
        exact = ops.cast(kernel, "float32")
        summed = ops.sum(ops.multiply(exact, self._subtracted()), axis=(0, 1, 2), keepdims=True)
        return ops.cast(exact - ops.multiply(self.theta * summed, self._centre()), kernel.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "kind": self.kind, "theta": self.theta}

    def _centre(self) -> np.ndarray:
        """Return 1 at the kernel's centre and 0 elsewhere, (kt, kh, kw, 1, 1)."""
        mask = np.zeros((*self.kernel_size, 1, 1), "float32")
        mask[tuple(size // 2 for size in self.kernel_size)] = 1
        return mask

    def _subtracted(self) -> np.ndarray:
        """Return 1 where a weight counts in the difference and 0 elsewhere, (kt, kh, kw, 1, 1)."""
        mask = np.ones((*self.kernel_size, 1, 1), "float32")
        if self.kind == "t":
            mask[self.kernel_size[0] // 2] = 0
        return mask
