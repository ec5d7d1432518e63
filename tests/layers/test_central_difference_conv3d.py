"""Central difference convolution against MFST, Eq. 2.3 to 2.6, summed place by place in NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import CentralDifferenceConv3D, Conv3D, conv3d

SHAPE = (2, 5, 6, 7, 3)
FILTERS = 4
every_kind = pytest.mark.parametrize("kind", ["st", "t", "vanilla"])


@pytest.fixture(autouse=True, params=[False, True], ids=["plain", "folded"])
def folding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which `Conv3D` computes, whatever this backend's own is."""
    monkeypatch.setattr(conv3d, "FASTER_ON", frozenset({keras.backend.backend()} if request.param else ()))


def clips(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def made(shape: tuple[int, ...] = SHAPE, **options: Any) -> CentralDifferenceConv3D:
    """A built layer with random weights, the bias too."""
    keras.utils.set_random_seed(1)
    layer = CentralDifferenceConv3D(FILTERS, **{"kernel_size": 3, "padding": "same"} | options)
    layer.build(shape)
    rng = np.random.default_rng(2)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    return layer


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def padded(x: np.ndarray, kernel: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """Zeros around a clip, as "same" has it: half of what is missing before, the larger half after."""
    missing = [
        max((-(-length // stride) - 1) * stride + size - length, 0)
        for length, size, stride in zip(x.shape[1:4], kernel, strides, strict=True)
    ]
    return np.pad(x, [(0, 0), *((total // 2, total - total // 2) for total in missing), (0, 0)])


def oracle(layer: CentralDifferenceConv3D, x: np.ndarray) -> np.ndarray:
    """The equations, one output place at a time."""
    kernel, *bias = layer.get_weights()
    size, strides = layer.kernel_size, layer.strides
    x = padded(x, size, strides) if layer.padding == "same" else x
    counts = [(length - k) // stride + 1 for length, k, stride in zip(x.shape[1:4], size, strides, strict=True)]
    y = np.zeros((len(x), *counts, FILTERS))
    for place in np.ndindex(*counts):
        start = [index * stride for index, stride in zip(place, strides, strict=True)]
        for clip in range(len(x)):
            y[(clip, *place)] = one_place(layer, kernel.astype("float64"), x[clip], start)
    return y + (bias[0] if bias else 0)


def one_place(layer: CentralDifferenceConv3D, kernel: np.ndarray, x: np.ndarray, start: list[int]) -> np.ndarray:
    """Eq. 2.5 as a mixture of Eq. 2.3 and 2.4; Eq. 2.6 with the frames of p_n told apart."""
    half = [size // 2 for size in layer.kernel_size]
    centre = x[tuple(a + b for a, b in zip(start, half, strict=True))]
    plain, differences, adjacent = (np.zeros(FILTERS) for _ in range(3))
    for tap in np.ndindex(*layer.kernel_size):
        seen = x[tuple(a + b for a, b in zip(start, tap, strict=True))]
        plain += seen @ kernel[tap]
        differences += (seen - centre) @ kernel[tap]
        if tap[0] != half[0]:
            adjacent += centre @ kernel[tap]
    if layer.kind == "st":
        return layer.theta * differences + (1 - layer.theta) * plain
    return plain - layer.theta * adjacent if layer.kind == "t" else plain


@every_kind
@pytest.mark.parametrize("strides", [1, (2, 2, 2), (1, 2, 2)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (3, 1, 1), (1, 1, 1), (5, 3, 1)])
def test_numbers_are_those_of_the_equations(kind: str, strides: Any, kernel: tuple[int, ...]) -> None:
    """Borders, where the surroundings are zero, are among the places."""
    layer = made(kernel_size=kernel, strides=strides, kind=kind, theta=0.7)
    np.testing.assert_allclose(array(layer(clips())), oracle(layer, clips()), rtol=1e-4, atol=1e-4)


@every_kind
def test_without_padding_and_bias(kind: str) -> None:
    layer = made(kind=kind, padding="valid", use_bias=False)
    assert len(layer.weights) == 1
    np.testing.assert_allclose(array(layer(clips())), oracle(layer, clips()), rtol=1e-4, atol=1e-4)


def test_a_worked_example() -> None:
    """One channel, weights 1: 27 seen places of value 1 inside a clip of ones; 9 of them in the same frame."""
    values = {}
    for kind in ("st", "t", "vanilla"):
        layer = CentralDifferenceConv3D(1, 3, kind, theta=0.5, padding="same", use_bias=False)
        layer.build((1, 3, 3, 3, 1))
        layer.set_weights([np.ones((3, 3, 3, 1, 1))])
        values[kind] = array(layer(np.ones((1, 3, 3, 3, 1), "float32")))[0, 1, 1, 1, 0]
    assert values == pytest.approx({"st": 27 - 0.5 * 27, "t": 27 - 0.5 * 18, "vanilla": 27})


@pytest.mark.parametrize("kind", ["st", "t"])
def test_theta_of_zero_is_the_plain_convolution(kind: str) -> None:
    layer, plain = made(kind=kind, theta=0.0), Conv3D(FILTERS, 3, padding="same")
    plain.build(SHAPE)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(array(layer(clips())), array(plain(clips())), rtol=1e-5, atol=1e-5)


def test_full_differences_take_no_notice_of_brightness() -> None:
    """Theta 1: a constant added to the clip changes nothing away from the borders; with `t`, one added to time."""
    x = clips()
    layer = made(kind="st", theta=1.0, padding="valid")
    np.testing.assert_allclose(array(layer(x + 3)), array(layer(x)), rtol=1e-3, atol=1e-3)
    still = np.repeat(x[:, :1], 5, axis=1)
    layer = made(kind="t", theta=1.0, padding="valid", kernel_size=(3, 1, 1))
    # Of a still clip, adjacent frames differ in nothing: what is left is the frame's own weight.
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(array(layer(still)), still[:, :3] @ kernel[1, 0, 0] + bias, rtol=1e-3, atol=1e-3)


def test_one_place_scales_and_one_frame_is_plain() -> None:
    x = clips()
    layer = made(kind="st", theta=0.6, kernel_size=1, use_bias=False)
    np.testing.assert_allclose(array(layer(x)), 0.4 * x @ layer.get_weights()[0][0, 0, 0], rtol=1e-4, atol=1e-4)
    layer = made(kind="t", theta=0.6, kernel_size=(1, 3, 3))
    plain = made(kind="vanilla", kernel_size=(1, 3, 3))
    np.testing.assert_allclose(array(layer(x)), array(plain(x)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["st", "t"])
def test_the_gradient_goes_through_the_difference(kind: str) -> None:
    """One step of plain SGD on the mean output moves each weight by the derivative of the equation."""
    x, rate = clips(), 0.1
    clip = keras.Input(SHAPE[1:])
    layer = CentralDifferenceConv3D(FILTERS, 3, kind, padding="valid", use_bias=False)
    model = keras.Model(clip, layer(clip))
    before = layer.get_weights()[0]
    model.compile(keras.optimizers.SGD(rate), lambda _, y: keras.ops.mean(y), jit_compile=False)
    model.train_on_batch(x, np.zeros((2, 3, 4, 5, FILTERS), "float32"))
    found = (before - layer.get_weights()[0]) / rate
    centre = x[:, 1:4, 1:5, 1:6]
    expected = np.zeros((3, 3, 3, 3))
    for t, i, j in np.ndindex(3, 3, 3):
        subtracted = kind == "st" or t != 1
        seen = x[:, t : t + 3, i : i + 4, j : j + 5] - 0.6 * centre * subtracted
        expected[t, i, j] = seen.mean(axis=(0, 1, 2, 3)) / FILTERS
    np.testing.assert_allclose(found, np.repeat(expected[..., None], FILTERS, axis=-1), rtol=1e-2, atol=1e-5)


def test_a_dilated_kernel_has_the_same_centre() -> None:
    """It is a larger one with zeros between."""
    x = clips()
    layer = made(kind="st", dilation_rate=(1, 2, 2))
    kernel, bias = layer.get_weights()
    wide = np.zeros((3, 5, 5, 3, FILTERS))
    wide[:, ::2, ::2] = kernel
    dense = made(kind="st", kernel_size=(3, 5, 5))
    dense.set_weights([wide, bias])
    np.testing.assert_allclose(array(layer(x)), array(dense(x)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_difference_is_exact_in_half_precision(policy: str) -> None:
    """The sum of many weights is not taken in half precision: the kernel is off by its own rounding alone."""
    kernel = np.random.default_rng(0).normal(1, 0.1, size=(7, 7, 7, 1, 2)).astype("float32")
    layer = CentralDifferenceConv3D(2, 7, "st", dtype=policy)
    half = keras.ops.cast(kernel, layer.compute_dtype)
    found = array(keras.ops.cast(layer.difference_kernel(half), "float32"))
    exact = array(layer.difference_kernel(array(keras.ops.cast(half, "float32"))))
    np.testing.assert_allclose(found, exact, rtol=2**-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "ts"}, "there is no central difference of kind 'ts'. Did you mean"),
        ({"theta": 1.5}, "theta of a central difference lies between 0 and 1, got 1.5"),
        ({"kernel_size": (3, 2, 3)}, "a kernel with a centre: odd sizes, got (3, 2, 3)"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        CentralDifferenceConv3D(FILTERS, **{"kernel_size": 3} | options)
    assert message in str(caught.value)


def test_a_vanilla_kernel_needs_no_centre() -> None:
    assert array(made(kind="vanilla", kernel_size=2)(clips())).shape == (*SHAPE[:4], FILTERS)
