"""Tables of values: counted and looked up as NumPy does."""

import cv2
import numpy as np
import pytest

from keras_actrec.data.lookup_table import histograms, look_up


def clip(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(3, 7, 5, 3), (1, 1, 1, 1), (2, 6, 4, 1)])
def test_histograms_are_numpys(shape: tuple[int, ...]) -> None:
    frames = clip(shape)
    counts = histograms(frames)
    assert counts.shape == (256, shape[3]) and counts.dtype == np.int64
    for channel in range(shape[3]):
        assert (counts[:, channel] == np.bincount(frames[..., channel].ravel(), minlength=256)).all()


def test_histograms_of_views_that_are_not_contiguous() -> None:
    frames = clip((4, 9, 8, 3))[::2, ::-1, 1:]
    assert (histograms(frames)[:, 2] == np.bincount(frames[..., 2].ravel(), minlength=256)).all()


def test_counts_are_exact_beyond_what_float32_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 2^24 equal pixels, one more than a float32 tells from the next number."""
    seen = []
    count = cv2.calcHist
    monkeypatch.setattr(cv2, "calcHist", lambda images, *rest: seen.append(images[0].size) or count(images, *rest))
    frames = np.full((1, 2**12 + 1, 2**12, 1), 9, np.uint8)
    frames[0, 0, 0] = 10
    counts = histograms(frames)
    assert counts[9, 0] == 2**24 + 2**12 - 1 and counts[10, 0] == 1
    assert max(seen) <= 2**24


def test_one_table_for_all_channels_or_one_each() -> None:
    frames, table = clip((2, 5, 6, 3)), clip((256, 3))
    assert (look_up(frames, table[:, 0]) == table[:, 0][frames]).all()
    expected = np.stack([table[:, channel][frames[..., channel]] for channel in range(3)], axis=-1)
    assert (look_up(frames, table) == expected).all()
    single = frames[..., :1]
    assert (look_up(single, table[:, :1]) == table[:, 0][single]).all()
    assert look_up(single, table[:, 0]).shape == single.shape
