"""The convolutions and poolings of C3D: what its classifier and its Non-local variant stand on.

Tran et al. 2015, "Learning Spatiotemporal Features with 3D Convolutional Networks" (arXiv 1412.0767), Sec. 3.3 and
Fig. 3: eight 3x3x3 convolutions with stride 1 and "same" padding in five stages, a ReLU after each, a max-pooling after
each stage. The first pooling is 1x2x2, "so as not to merge the temporal signal too early"; the others are 2x2x2. The
fifth has, as in the released network, one row and column of padding on each side, so that 7x7 gives 4x4.

Deviation: the weights start from He's distribution, because with the original's Gaussian of deviation 0.01 the signal
fades to about a six-hundredth over the eight convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import layers

from keras_actrec.errors import UserError
from keras_actrec.layers import MaxPooling3D

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (("1a",), ("2a",), ("3a", "3b"), ("4a", "4b"), ("5a", "5b"))
# Four poolings halve the time, five the frame.
MIN_FRAMES = 2**4
MIN_SIZE = 2**4
INITIALIZER = "he_normal"

AfterStage = Callable[[int, keras.KerasTensor], keras.KerasTensor]


def c3d_stages(
    clip: keras.KerasTensor,
    widths: Sequence[int] = WIDTHS,
    after_stage: AfterStage | None = None,
    *,
    batch_norm: bool = False,
) -> keras.KerasTensor:
    """Apply the five stages: (B, T, H, W, 3) -> (B, T // 16, h, w, widths[4]); 16 x 112 x 112 gives 1 x 4 x 4.

    Args:
        clip: the clip, channels last.
        widths: channels of the five stages.
        after_stage: called as `after_stage(number, x)` with the output of the convolutions of stage 1 to 5, before
            their pooling; what it returns is pooled. The padding of the fifth pooling is zeros, which is neutral behind
            a ReLU: behind a hook that returns negative values, the border's are cut at zero.
        batch_norm: a batch normalisation between each convolution and its ReLU; the original has none.

    Raises:
        UserError: if the clip is too small for the poolings, or there are not five widths.
    """
    check_c3d(clip.shape[1], clip.shape[2], widths)
    x = clip
    for number, (width, names) in enumerate(zip(widths, CONVOLUTIONS, strict=True), start=1):
        for name in names:
            x = _convolution(x, width, f"conv{name}", batch_norm)
        if after_stage is not None:
            x = after_stage(number, x)
        x = _pool(x, number)
    return x


def check_c3d(frames: int, size: int, widths: Sequence[int] = WIDTHS) -> None:
    """Refuse clips that the poolings leave nothing of, and any number of widths but five positive ones."""
    if frames < MIN_FRAMES or size < MIN_SIZE:
        raise UserError(
            f"C3D halves the time four times and the frame five times: it takes at least {MIN_FRAMES} frames of at "
            f"least {MIN_SIZE} pixels, got {frames} frames of {size} pixels; set data.frames and data.size."
        )
    if len(widths) != len(CONVOLUTIONS) or min(widths) < 1:
        raise UserError(f"C3D has five stages: give five widths of at least 1, got {tuple(widths)}.")


def _convolution(x: keras.KerasTensor, width: int, name: str, batch_norm: bool) -> keras.KerasTensor:
    """Convolve 3x3x3 and rectify; the convolution alone has the original's name and weights."""
    options = {"padding": "same", "kernel_initializer": INITIALIZER, "name": name}
    if not batch_norm:
        return layers.Conv3D(width, 3, activation="relu", **options)(x)
    x = layers.Conv3D(width, 3, use_bias=False, **options)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _pool(x: keras.KerasTensor, number: int) -> keras.KerasTensor:
    if number == len(CONVOLUTIONS):
        x = layers.ZeroPadding3D((0, 1, 1), name=f"pool{number}_pad")(x)
    window = (1, 2, 2) if number == 1 else 2
    return MaxPooling3D(window, name=f"pool{number}")(x)
