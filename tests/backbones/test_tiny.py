"""The tiny network: cheap, and its averaged features still know where things are."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec.backbones import build_tiny
from keras_actrec.backbones.tiny import Coordinates
from keras_actrec.errors import UserError


def test_coordinates_run_from_minus_one_to_one() -> None:
    joined = keras.ops.convert_to_numpy(Coordinates()(np.full((2, 3, 5, 1), 7, "float32")))
    np.testing.assert_array_equal(joined[..., 0], np.full((2, 3, 5), 7))
    np.testing.assert_allclose(joined[1, :, 2, 1], [-1, 0, 1])
    np.testing.assert_allclose(joined[1, 0, :, 2], [-1, -0.5, 0, 0.5, 1])


def test_averaged_features_tell_where() -> None:
    """A patch far from all borders, moved by a multiple of all strides: a plain ConvNet's averages would not change."""
    keras.utils.set_random_seed(0)
    network = build_tiny(128, widths=(16, 32))
    frames = np.zeros((2, 128, 128, 3), "float32")
    frames[0, 32:40, 32:40] = frames[1, 80:88, 80:88] = 1
    empty = network.predict(frames * 0, verbose=0)
    first, second = network.predict(frames, verbose=0) - empty
    assert np.linalg.norm(first - second) > 0.1 * np.linalg.norm(first)


def test_costs_at_most_ten_million_operations_per_frame() -> None:
    network = build_tiny(64)
    operations = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            height, width = layer.output.shape[1:3]
            operations += 2 * height * width * int(np.prod(layer.kernel.shape))
    assert 5e6 < operations < 10e6


def test_feature_map_without_pooling() -> None:
    assert build_tiny(64, widths=(8, 16), pooling=None).output_shape == (None, 16, 16, 16)


@pytest.mark.parametrize(("size", "widths"), [(16, (4,) * 5), (32, ()), (32, (4, 0))])
def test_widths_that_do_not_fit_are_refused(size: int, widths: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="widths"):
        build_tiny(size, widths)
