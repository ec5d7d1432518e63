"""The tailor strategy against Eq. (7) and (8) of MS3D: numbers by hand, and an oracle of loops."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_actrec.data import tailor
from keras_actrec.data.views import Tailor

NAN = [np.nan] * 4
WHOLE = [0.0, 0.0, 1.0, 1.0]


def grey(value: int, height: int = 1, width: int = 20, channels: int = 1, count: int = 1) -> np.ndarray:
    return np.full((count, height, width, channels), value, np.uint8)


def noise(count: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def by_hand(frames: np.ndarray, boxes: np.ndarray, wish: Tailor, scale: float = 1.0) -> np.ndarray:
    """Eq. (7) and (8), pixel by pixel, before rounding."""
    result = np.empty(frames.shape)
    count, height, width, channels = frames.shape
    for t in range(count):
        x0, y0, x1, y1 = boxes[t] * [width, height, width, height]
        for y in range(height):
            for x in range(width):
                beside = max(x0 - (x + 0.5), (x + 0.5) - x1, y0 - (y + 0.5), (y + 0.5) - y1)
                d = 0
                while beside > d * wish.ring_px * scale:
                    d += 1
                factor = wish.enhance if d == 0 else wish.decay**d
                for c in range(channels):
                    result[t, y, x, c] = min(255.0, frames[t, y, x, c] * factor)
    return result


def assert_rounded(result: np.ndarray, exact: np.ndarray) -> None:
    """Half a grey level may go either way, since factors are of single precision."""
    assert result.dtype == np.uint8
    assert result.shape == exact.shape
    assert (np.abs(result - exact) <= 0.5 + 1e-4).all()


class TestEquations:
    def test_7_within_the_box(self) -> None:
        """100 * 1.2 = 120, 101 * 1.2 = 121.2, 104 * 1.2 = 124.8; 213 * 1.2 = 255.6 and 255 * 1.2 = 306 saturate."""
        frames = np.array([0, 1, 3, 100, 101, 104, 212, 213, 255], np.uint8).reshape(1, 1, 9, 1)
        result = tailor.apply(frames, [WHOLE], Tailor(enhance=1.2))
        assert result.ravel().tolist() == [0, 1, 4, 120, 121, 125, 254, 255, 255]

    def test_8_rings_of_five_pixels(self) -> None:
        """100 * 0.9 = 90, 100 * 0.81 = 81, 100 * 0.729 = 72.9, 100 * 0.6561 = 65.61; the box is columns 4 and 5."""
        result = tailor.apply(grey(100), [[0.2, 0, 0.3, 1]], Tailor(enhance=1.2, decay=0.9, ring_px=5))
        assert result.ravel().tolist() == [90] * 4 + [120] * 2 + [90] * 5 + [81] * 5 + [73] * 4
        result = tailor.apply(grey(100), [[0, 0, 0.05, 1]], Tailor(enhance=1.2, decay=0.9, ring_px=5))
        assert result.ravel().tolist() == [120] + [90] * 5 + [81] * 5 + [73] * 5 + [66] * 4

    def test_rings_are_rectangles_around_the_box(self) -> None:
        """A box of one pixel in 7 x 7: rings of one pixel, 200 -> 100 -> 50 -> 25, corners like sides."""
        box = [3 / 7, 3 / 7, 4 / 7, 4 / 7]
        result = tailor.apply(grey(200, 7, 7), [box], Tailor(enhance=1.0, decay=0.5, ring_px=1))[0, ..., 0]
        expected = [
            [25, 25, 25, 25, 25, 25, 25],
            [25, 50, 50, 50, 50, 50, 25],
            [25, 50, 100, 100, 100, 50, 25],
            [25, 50, 100, 200, 100, 50, 25],
            [25, 50, 100, 100, 100, 50, 25],
            [25, 50, 50, 50, 50, 50, 25],
            [25, 25, 25, 25, 25, 25, 25],
        ]
        assert result.tolist() == expected

    def test_a_pixel_belongs_to_the_box_when_its_centre_does(self) -> None:
        wish = Tailor(enhance=2.0, decay=0.5, ring_px=1)
        for left, right, inside in [(3.5, 5.5, [3, 4, 5]), (3.51, 5.49, [4]), (3.1, 4.9, [3, 4]), (3.6, 4.4, [])]:
            result = tailor.apply(grey(100, 1, 10), [[left / 10, 0, right / 10, 1]], wish).ravel()
            assert np.flatnonzero(result == 200).tolist() == inside

    def test_rings_are_measured_in_pixels_of_the_input(self) -> None:
        """Frames of twice the input's size have rings twice as wide, and look alike once they are made smaller."""
        frames, box, wish = noise(2, 24, 32, 3), [[0.25, 0.25, 0.5, 0.75]] * 2, Tailor(ring_px=3)
        large = frames.repeat(2, axis=1).repeat(2, axis=2)
        result = tailor.apply(large, box, wish, scale=2.0)
        np.testing.assert_array_equal(result[:, ::2, ::2], tailor.apply(frames, box, wish))
        assert not np.array_equal(tailor.apply(large, box, wish, scale=1.0), result)


class TestApply:
    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_the_same_as_by_hand(self, data: st.DataObject) -> None:
        channels, count = data.draw(st.sampled_from([1, 3])), data.draw(st.integers(0, 2))
        height, width = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 14))
        frames = noise(count, height, width, channels, data.draw(st.integers(0, 99)))
        side = st.integers(-32, 96).map(lambda number: number / 64)
        boxes = np.array([[data.draw(side) for _ in range(4)] for _ in range(count)]).reshape(count, 4)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
        wish = Tailor(
            enhance=data.draw(st.sampled_from([0.3, 1.0, 1.2, 40.0])),
            decay=data.draw(st.sampled_from([0.05, 0.5, 0.9, 1.0])),
            ring_px=data.draw(st.integers(1, 6)),
        )
        scale = data.draw(st.sampled_from([0.25, 1.0, 1.75]))
        before = frames.copy()
        result = tailor.apply(frames, boxes, wish, scale)
        assert_rounded(result, by_hand(frames, boxes, wish, scale))
        np.testing.assert_array_equal(frames, before)

    def test_every_value_is_rounded_and_none_wraps(self) -> None:
        frames = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
        for enhance in (0.01, 0.7, 1.1, 1.2, 1.5, 2.0, 3.0, 255.0, 1e6):
            result = tailor.apply(frames, [WHOLE], Tailor(enhance=enhance)).ravel()
            assert_rounded(result, np.minimum(np.arange(256) * enhance, 255))
            assert (np.diff(result.astype(int)) >= 0).all()

    def test_factors_of_one_change_nothing(self) -> None:
        frames = noise(3, 20, 30, 3)
        box = [[0.2, 0.3, 0.5, 0.6]] * 3
        np.testing.assert_array_equal(tailor.apply(frames, box, Tailor(enhance=1.0, decay=1.0)), frames)
        brighter = tailor.apply(frames, box, Tailor(enhance=1.5, decay=1.0))
        inside = np.zeros((20, 30), bool)
        inside[6:12, 6:15] = True
        np.testing.assert_array_equal(brighter[:, ~inside], frames[:, ~inside])
        assert (brighter[:, inside] >= frames[:, inside]).all()
        darker = tailor.apply(frames, box, Tailor(enhance=1.0, decay=0.5))
        np.testing.assert_array_equal(darker[:, inside], frames[:, inside])
        assert (darker[:, ~inside] <= frames[:, ~inside] / 2 + 0.5).all()

    def test_each_frame_has_its_own_box(self) -> None:
        boxes = np.array([[0.1, 0.1, 0.4, 0.9], [0.5, 0.2, 0.8, 0.6], WHOLE])
        frames = noise(3, 30, 40, 3)
        together = tailor.apply(frames, boxes, Tailor())
        alone = [tailor.apply(frames[i : i + 1], boxes[i : i + 1], Tailor())[0] for i in range(3)]
        np.testing.assert_array_equal(together, alone)
        assert not np.array_equal(together[0], tailor.apply(frames, boxes[::-1], Tailor())[0])

    def test_channels_are_treated_alike(self) -> None:
        frames, box = noise(2, 17, 23, 3), [[0.3, 0.2, 0.6, 0.7]] * 2
        result = tailor.apply(frames, box, Tailor())
        for channel in range(3):
            single = frames[..., channel : channel + 1]
            np.testing.assert_array_equal(tailor.apply(single, box, Tailor()), result[..., channel : channel + 1])

    def test_frames_need_not_lie_in_one_piece(self) -> None:
        frames, box = noise(4, 20, 30, 3), [[0.3, 0.2, 0.6, 0.7]] * 2
        cut = frames[::2, 3:17, 5:25]
        np.testing.assert_array_equal(tailor.apply(cut, box, Tailor()), tailor.apply(cut.copy(), box, Tailor()))

    def test_boxes_beside_the_frame(self) -> None:
        """A box that ends 5 pixels left of the frame: the first pixel lies 5.5 from it, in the second ring."""
        result = tailor.apply(grey(100), [[-0.5, 0, -0.25, 1]], Tailor())
        assert result.ravel().tolist() == [81] * 5 + [73] * 5 + [66] * 5 + [59] * 5

    @pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 0, 8, 3), (2, 8, 0, 1)])
    def test_empty_clips(self, shape: tuple[int, ...]) -> None:
        frames = np.zeros(shape, np.uint8)
        assert tailor.apply(frames, np.tile(WHOLE, (shape[0], 1)), Tailor()).shape == shape

    @pytest.mark.parametrize(
        "boxes", [[WHOLE], [WHOLE] * 3, [WHOLE, NAN], [WHOLE, [0, 0, np.inf, 1]], np.zeros((2, 3))]
    )
    def test_a_box_for_each_frame(self, boxes: object) -> None:
        with pytest.raises(ValueError, match="a finite box for each of 2 frames"):
            tailor.apply(noise(2, 4, 4, 3), boxes, Tailor())


class TestSmooth:
    def test_by_hand(self) -> None:
        """Left edges 0, 3, 6, 3 over three frames: (0+3)/2, (0+3+6)/3, (3+6+3)/3, (6+3)/2."""
        boxes = np.array([[0, 0, 1, 1], [0.3, 0, 1, 1], [0.6, 0, 1, 1], [0.3, 0, 1, 1]])
        found = tailor.smooth(boxes, 3)
        np.testing.assert_allclose(found[:, 0], [0.15, 0.3, 0.4, 0.45], atol=1e-15)
        np.testing.assert_array_equal(found[:, 1:], boxes[:, 1:])

    def test_an_even_window_reaches_one_frame_further_back(self) -> None:
        boxes = np.array([[side, 0, 1, 1] for side in (0.1, 0.3, 0.7, 0.5)])
        np.testing.assert_allclose(tailor.smooth(boxes, 2)[:, 0], [0.1, 0.2, 0.5, 0.6], atol=1e-15)

    def test_gaps(self) -> None:
        """Without averaging: 0.2 until it is first seen, a line from 0.2 to 0.6 over the gap, 0.6 to the end."""
        lefts = [None, None, 0.2, None, None, None, 0.6, None]
        boxes = np.array([NAN if left is None else [left, 0, 1, 1] for left in lefts])
        expected = [0.2, 0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6]
        np.testing.assert_allclose(tailor.smooth(boxes, 1)[:, 0], expected, atol=1e-15)

    def test_who_is_not_seen_is_not_averaged(self) -> None:
        boxes = np.array([[0.2, 0, 1, 1], NAN, [0.4, 0, 1, 1], NAN, NAN, NAN, [0.9, 0, 1, 1]])
        expected = [0.3, 0.3, 0.3, 0.45, 0.6, 0.75, 0.9]
        np.testing.assert_allclose(tailor.smooth(boxes, 5)[:, 0], expected, atol=1e-15)

    def test_one_frame_changes_nothing(self) -> None:
        boxes = np.random.default_rng(0).random((9, 4))
        np.testing.assert_array_equal(tailor.smooth(boxes, 1), boxes)

    @pytest.mark.parametrize("frames", [19, 20, 50, 10**9])
    def test_a_wide_window_is_the_mean_of_all(self, frames: int) -> None:
        boxes = np.random.default_rng(0).random((10, 4))
        np.testing.assert_allclose(tailor.smooth(boxes, frames), np.tile(boxes.mean(axis=0), (10, 1)), rtol=1e-12)

    @pytest.mark.parametrize("count", [0, 1, 7])
    def test_nobody_is_seen(self, count: int) -> None:
        found = tailor.smooth(np.full((count, 4), np.nan), 5)
        assert found.shape == (count, 4)
        assert (found == WHOLE).all()

    @settings(deadline=None)
    @given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
    def test_the_same_as_by_hand(self, count: int, frames: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        boxes = rng.random((count, 4))
        boxes[rng.random(count) < 0.4] = np.nan
        found = tailor.smooth(boxes, frames)
        assert np.isfinite(found).all()
        for time in np.flatnonzero(~np.isnan(boxes[:, 0])):
            window = boxes[max(0, time - frames // 2) : time + (frames - 1) // 2 + 1]
            np.testing.assert_allclose(found[time], np.nanmean(window, axis=0), atol=1e-12)

    def test_no_window(self) -> None:
        with pytest.raises(ValueError, match="at least 1 frame"):
            tailor.smooth(np.zeros((3, 4)), 0)


class TestRegion:
    def test_by_hand(self) -> None:
        """The union is 0.2 to 0.6 by 0.3 to 0.9; a tenth of 0.4 and of 0.6 is left on each side."""
        boxes = np.array([[0.2, 0.5, 0.5, 0.9], NAN, [0.4, 0.3, 0.6, 0.8]])
        np.testing.assert_allclose(tailor.region(boxes, 0.1), (0.16, 0.24, 0.48, 0.72), atol=1e-15)
        np.testing.assert_allclose(tailor.region(boxes, 0.0), (0.2, 0.3, 0.4, 0.6), atol=1e-15)

    def test_ends_at_the_frame(self) -> None:
        np.testing.assert_allclose(tailor.region(np.array([[0.0, 0.1, 0.5, 1.0]]), 0.2), (0, 0, 0.6, 1), atol=1e-15)
        np.testing.assert_allclose(tailor.region(np.array([[-1.0, -1, 3, 3]]), 0.2), WHOLE)

    def test_nobody_is_seen(self) -> None:
        for boxes in (np.full((3, 4), np.nan), np.empty((0, 4)), np.array([WHOLE])):
            assert tailor.region(boxes, 0.15) == (0.0, 0.0, 1.0, 1.0)

    @pytest.mark.parametrize(
        "box", [[0.5, 0.5, 0.5, 0.5], [0.0, 1.0, 0.0, 1.0], [0.99, 0.3, 1.0, 0.3], [1.2, 0, 1.5, 1]]
    )
    def test_never_too_small(self, box: list[float]) -> None:
        left, top, width, height = tailor.region(np.array([box]), 0.0)
        assert width >= tailor.SMALLEST_SHARE
        assert height >= tailor.SMALLEST_SHARE
        assert 0 <= left <= left + width <= 1 + 1e-12
        assert 0 <= top <= top + height <= 1 + 1e-12

    def test_square_where_the_frame_allows(self) -> None:
        """In 400 x 200 pixels a box of 40 x 120 becomes 120 x 120 around the same middle: 0.3 of the width."""
        boxes = np.array([[0.45, 0.2, 0.55, 0.8]])
        np.testing.assert_allclose(tailor.region(boxes, 0.0, aspect=2.0), (0.35, 0.2, 0.3, 0.6), atol=1e-15)
        at_the_edge = np.array([[0.0, 0.2, 0.1, 0.8]])
        np.testing.assert_allclose(tailor.region(at_the_edge, 0.0, aspect=2.0), (0.0, 0.2, 0.3, 0.6), atol=1e-15)
        too_wide = np.array([[0.1, 0.4, 0.9, 0.6]])  # 320 pixels, and the frame is 200 high
        np.testing.assert_allclose(tailor.region(too_wide, 0.0, aspect=2.0), (0.1, 0.0, 0.8, 1.0), atol=1e-15)

    @settings(deadline=None)
    @given(st.integers(0, 999), st.floats(0, 1), st.sampled_from([None, 0.5, 1.0, 16 / 9]))
    def test_holds_everybody_and_lies_within_the_frame(self, seed: int, margin: float, aspect: float | None) -> None:
        corners = np.sort(np.random.default_rng(seed).random((4, 2, 2)), axis=1)
        boxes = corners.reshape(4, 4)
        left, top, width, height = tailor.region(boxes, margin, aspect)
        assert min(left, top) >= 0
        assert max(left + width, top + height) <= 1 + 1e-12
        assert (boxes[:, :2] >= np.array([left, top]) - 1e-12).all()
        assert (boxes[:, 2:] <= np.array([left + width, top + height]) + 1e-12).all()
        if aspect is not None and max(width, height) < 1:
            assert math.isclose(width * aspect, height, rel_tol=1e-9)


def test_the_defaults_are_those_of_the_paper() -> None:
    assert {"ring_px": 5, "enhance": 1.2, "decay": 0.9}.items() <= dataclasses.asdict(Tailor()).items()
