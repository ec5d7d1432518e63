"""Augmentation: one draw per clip, one map per frame, depth aligned."""

import dataclasses

import cv2
import numpy as np
import pytest

from keras_actrec.data import augment
from keras_actrec.data.augment import IDENTITY, Draw
from keras_actrec.data.views import Augmentation

PAPER = Augmentation(zoom=0.1, rotation_deg=8, shift=0.2)
ALL = dataclasses.replace(PAPER, flip=0.5, resized_crop=0.3, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def noise(frames: int = 4, height: int = 48, width: int = 64, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (frames, height, width, channels), np.uint8)


def smooth(height: int = 96, width: int = 128) -> np.ndarray:
    """One frame whose red is the column and whose green is the row, so that any pixel tells where it came from."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 1.5 + 20, rows * 1.5 + 20, np.full_like(rows, 90)], axis=-1).astype(np.uint8)[None]


def draws(augmentation: Augmentation, count: int = 300) -> list[Draw]:
    return [augment.draw(augmentation, np.random.default_rng([1, n]), 48, 64) for n in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_equal_frames_stay_equal(seed: int) -> None:
    clip = np.repeat(noise(1), 5, axis=0)
    outcome = augment.draw(ALL, np.random.default_rng(seed), 48, 64)
    result = augment.apply(clip, outcome, 32)
    assert result.shape == (5, 32, 32, 3) and result.dtype == np.uint8
    assert (result == result[:1]).all()


def test_equal_states_give_equal_draws_and_unequal_ones_do_not() -> None:
    first, again = (augment.draw(ALL, np.random.default_rng(3), 48, 64) for _ in range(2))
    assert first == again and hash(first) == hash(again)
    assert first != augment.draw(ALL, np.random.default_rng(4), 48, 64)
    rng = np.random.default_rng(3)
    assert augment.draw(ALL, rng, 48, 64) != augment.draw(ALL, rng, 48, 64)


def test_draws_are_those_of_earlier_versions() -> None:
    """A new setting must not shift the random numbers of the others: runs are repeated across versions."""
    outcome = augment.draw(ALL, np.random.default_rng(3), 48, 64)
    region = (0.12413228742097772, 0.04538632680602249, 0.763270272887972, 0.7684562040467653)
    assert outcome == Draw(
        region=region,
        zoom_x=0.9795156854893251,
        zoom_y=1.0046407764598055,
        rotation_deg=1.4111624271286427,
        shift_x=-0.026510764164470624,
        shift_y=0.06243562593371832,
        flip=True,
        brightness=1.2185862444232352,
        contrast=1.0553937561927667,
        saturation=1.1050663832824585,
        hue=0.08054078086953867,
    )


def test_settings_of_nothing_draw_the_identity() -> None:
    assert augment.draw(None, np.random.default_rng(0), 48, 64) == IDENTITY
    assert all(outcome == IDENTITY for outcome in draws(Augmentation(), 50))


def test_identity_is_the_plain_fit() -> None:
    clip = noise()
    assert (augment.apply(clip, IDENTITY, 48) == clip[:, :, 8:56]).all()
    squashed = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in clip])
    assert (augment.apply(clip, IDENTITY, 32, "squash") == squashed).all()
    padded = augment.apply(clip, IDENTITY, 64, "pad")
    assert (padded[:, 8:56] == clip).all() and not padded[:, :8].any() and not padded[:, 56:].any()


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (37, 53), (1, 5)])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_any_frame_becomes_the_square(height: int, width: int, fit: str) -> None:
    for outcome in (IDENTITY, *draws(ALL, 5)):
        assert augment.apply(noise(2, height, width), outcome, 17, fit).shape == (2, 17, 17, 3)


def test_pad_keeps_a_white_frame_whole() -> None:
    padded = augment.apply(np.full((1, 37, 53, 3), 255, np.uint8), IDENTITY, 23, "pad")[0]
    inside = padded.min(axis=-1) == 255
    assert inside.any(axis=1).sum() == round(37 * 23 / 53) and inside.any(axis=0).sum() == 23


def test_three_crops_show_start_centre_and_end_of_the_longer_side() -> None:
    wide, tall = noise(2, 20, 60), noise(2, 60, 20)
    for place, position in ((0, 0.0), (20, 0.5), (40, 1.0)):
        assert (augment.apply(wide, IDENTITY, 20, position=position) == wide[:, :, place : place + 20]).all()
        assert (augment.apply(tall, IDENTITY, 20, position=position) == tall[:, place : place + 20]).all()


def test_the_map_is_keras_own() -> None:
    pytest.importorskip("scipy.ndimage")
    legacy = pytest.importorskip("keras.src.legacy.preprocessing.image")
    frame = cv2.GaussianBlur(noise(1, 64, 64)[0], (0, 0), 3)
    outcome = Draw(zoom_x=1.08, zoom_y=0.93, rotation_deg=7.0, shift_x=0.11, shift_y=-0.17)
    ours = augment.apply(frame[None], outcome, 64)[0]
    theirs = legacy.apply_affine_transform(
        frame.astype(np.float32),
        theta=7.0,
        tx=0.11 * 64,
        ty=-0.17 * 64,
        zx=1.08,
        zy=0.93,
        channel_axis=2,
        row_axis=0,
        col_axis=1,
        order=1,
    )
    assert np.abs(ours - theirs).max() < 3


@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        (Draw(flip=True), lambda x, y: (95 - x, y)),
        (Draw(flip_vertical=True), lambda x, y: (x, 95 - y)),
        (Draw(flip=True, flip_vertical=True), lambda x, y: (95 - x, 95 - y)),
        (Draw(rotation_deg=90, flip_vertical=True), lambda x, y: (y, x)),
        (Draw(shift_x=0.25), lambda x, y: (x + 24, y)),
        (Draw(shift_y=-0.25, flip=True), lambda x, y: (95 - x, y - 24)),
        (Draw(zoom_x=0.5, zoom_y=0.5), lambda x, y: (47.5 + (x - 47.5) / 2, 47.5 + (y - 47.5) / 2)),
        (Draw(rotation_deg=90), lambda x, y: (95 - y, x)),
    ],
)
def test_each_pixel_comes_from_where_the_draw_says(outcome: Draw, seen: object) -> None:
    result = augment.apply(smooth(), outcome, 96)[0].astype(float)
    for x, y in ((40, 50), (60, 30), (45, 70)):
        column, row = seen(x, y)
        # The square begins 16 pixels from the left edge of the 128 wide frame.
        assert abs(result[y, x, 0] - ((column + 16) * 1.5 + 20)) <= 2
        assert abs(result[y, x, 1] - (row * 1.5 + 20)) <= 2


def test_shrinking_warps_do_not_alias() -> None:
    stripes = np.zeros((1, 256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    result = augment.apply(stripes, Draw(rotation_deg=3), 32)
    assert result[:, 4:-4, 4:-4].std() < 12


def test_large_frames_shrink_to_the_same_picture_as_small_ones() -> None:
    big = cv2.resize(smooth()[0], (512, 384), interpolation=cv2.INTER_LINEAR)[None]
    for outcome in draws(PAPER, 5):
        small, large = augment.apply(smooth(), outcome, 96), augment.apply(big, outcome, 96)
        assert np.abs(small.astype(int) - large).max() <= 4


def test_bounds_and_spread_of_draws() -> None:
    found = draws(ALL)
    bounds = {
        "zoom_x": (0.9, 1.1),
        "zoom_y": (0.9, 1.1),
        "rotation_deg": (-8, 8),
        "shift_x": (-0.2, 0.2),
        "shift_y": (-0.2, 0.2),
        "brightness": (0.6, 1.4),
        "contrast": (0.6, 1.4),
        "saturation": (0.6, 1.4),
        "hue": (-0.1, 0.1),
    }
    for name, (low, high) in bounds.items():
        values = np.array([getattr(outcome, name) for outcome in found])
        assert values.min() >= low and values.max() <= high, name
        # A uniform distribution: mean and standard deviation within four standard errors.
        width = high - low
        assert abs(values.mean() - (low + high) / 2) < 4 * width / np.sqrt(12 * len(values)), name
        assert abs(values.std() - width / np.sqrt(12)) < 0.05 * width, name
    values = np.array([[outcome.zoom_x, outcome.zoom_y, outcome.shift_x, outcome.shift_y] for outcome in found])
    assert np.abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.25
    assert 0.35 < np.mean([outcome.flip for outcome in found]) < 0.65


def test_resized_crops_lie_within_the_frame_and_keep_area_and_ratio() -> None:
    settings = Augmentation(resized_crop=0.3)
    regions = np.array([outcome.region for outcome in draws(settings)])
    left, top, width, height = regions.T
    assert (regions >= 0).all() and (left + width <= 1 + 1e-9).all() and (top + height <= 1 + 1e-9).all()
    assert (width * height >= 0.3 - 1e-9).all() and (width * height).min() < 0.4
    ratio = width * 64 / (height * 48)
    assert ratio.min() >= 3 / 4 - 1e-9 and ratio.max() <= 4 / 3 + 1e-9


def test_resized_crop_of_an_extreme_frame_falls_back_to_the_centre() -> None:
    outcome = augment.draw(Augmentation(resized_crop=0.9), np.random.default_rng(0), 10, 1000)
    left, top, width, height = outcome.region
    assert (
        (top, height) == (0, 1) and width == pytest.approx(10 * 4 / 3 / 1000) and left == pytest.approx((1 - width) / 2)
    )


def test_depth_follows_in_space_but_not_in_colour() -> None:
    rgb = smooth()
    depth = rgb[..., :1]
    small = np.stack([cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA) for frame in depth])[..., None]
    for outcome in draws(ALL, 10):
        plain = dataclasses.replace(outcome, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0)
        seen = augment.apply(rgb, plain, 40)[..., :1].astype(int)
        assert np.abs(augment.apply(depth, outcome, 40, colour=False) - seen).max() <= 1
        # Half the resolution shows the same place.
        assert np.abs(augment.apply(small, outcome, 40, colour=False) - seen).mean() < 3
        assert (augment.apply(rgb, outcome, 40) != augment.apply(rgb, plain, 40)).any()


def test_views_agree_where_their_settings_agree() -> None:
    coloured, plain = (augment.draw(one, np.random.default_rng(5), 48, 64) for one in (ALL, PAPER))
    assert (coloured.zoom_x, coloured.rotation_deg, coloured.shift_y) == (
        plain.zoom_x,
        plain.rotation_deg,
        plain.shift_y,
    )


def test_colours_are_changed_as_named() -> None:
    clip = noise().astype(np.uint8) // 4 + 60
    grey = clip.astype(float) @ [0.299, 0.587, 0.114]
    darker = augment.apply(clip, Draw(brightness=0.5), 48)
    assert np.abs(darker - clip[:, :, 8:56] * 0.5).max() <= 0.51
    flat = augment.apply(clip, Draw(contrast=0.0), 64, "squash")
    assert np.abs(flat.astype(float) - grey.mean()).max() < 3
    drained = augment.apply(clip, Draw(saturation=0.0), 48)
    assert np.abs(drained - grey[:, :, 8:56, None]).max() <= 1
    red = np.full((1, 8, 8, 3), (200, 0, 0), np.uint8)
    assert (augment.apply(red, Draw(hue=1 / 3), 8)[0, 0, 0] >= (0, 190, 0)).all()
    assert np.abs(augment.apply(red, Draw(hue=1 / 3), 8)[0, 0, 0].astype(int) - (0, 200, 0)).max() <= 8
    assert np.abs(augment.apply(red, Draw(hue=-1 / 3), 8)[0, 0, 0].astype(int) - (0, 0, 200)).max() <= 8


def test_contrast_does_not_flicker() -> None:
    """A grey value means the same in each frame, though frames differ in brightness."""
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    clip[0], clip[1] = 40, 200
    clip[:, 0, 0] = 100
    result = augment.apply(clip, Draw(contrast=1.3), 8)
    assert (result[0, 0, 0] == result[1, 0, 0]).all()


def test_each_chance_is_met_and_changes_nothing_else() -> None:
    """Vertical flips and colours come by chance; the draws are else those of the settings without these chances."""
    rare = draws(dataclasses.replace(ALL, flip_vertical=0.2, colour=0.3), 2000)
    upside_down = np.array([outcome.flip_vertical for outcome in rare])
    coloured = np.array([outcome.brightness != 1 for outcome in rare])
    assert abs(upside_down.mean() - 0.2) < 0.04 and abs(coloured.mean() - 0.3) < 0.045
    assert abs(np.corrcoef(upside_down, coloured)[0, 1]) < 0.1
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    for outcome, before, changed in zip(rare, draws(ALL, 2000), coloured, strict=True):
        expected = before if changed else dataclasses.replace(before, **neutral)
        assert dataclasses.replace(outcome, flip_vertical=False) == expected


def test_the_papers_third_set_resizes_flips_and_recolours_the_whole_frame() -> None:
    """Nothing is cut off: up to flips and colours, a squashed frame is what it was."""
    jitter = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.2}
    third = Augmentation(flip=0.5, flip_vertical=0.5, colour=0.5, **jitter)
    clip = noise(1)
    plain = augment.apply(clip, IDENTITY, 32, "squash")
    kinds = set()
    for outcome in draws(third, 60):
        seen = augment.apply(clip, outcome, 32, "squash")[:, :: -1 if outcome.flip_vertical else 1]
        seen = seen[:, :, ::-1] if outcome.flip else seen
        recoloured = outcome.brightness != 1
        assert (seen == plain).all() != recoloured
        kinds.add((outcome.flip, outcome.flip_vertical, recoloured))
    assert len(kinds) == 8


def test_input_is_not_changed() -> None:
    clip = noise()
    copy = clip.copy()
    for outcome in (IDENTITY, Draw(flip=True), Draw(flip_vertical=True), *draws(ALL, 3)):
        augment.apply(clip, outcome, 48)[...] = 0
    assert (clip == copy).all()


def test_short_side_gives_each_output_pixel_its_own() -> None:
    assert augment.short_side(240, 320, IDENTITY, 112) == 112
    assert augment.short_side(240, 320, IDENTITY, 112, "squash") == 112
    assert augment.short_side(240, 320, IDENTITY, 112, "pad") == 84
    assert augment.short_side(240, 320, Draw(zoom_x=0.5), 112) == 224
    half = Draw(region=(0.1, 0.1, 0.375, 0.5))
    assert augment.short_side(240, 320, half, 112) == 224
