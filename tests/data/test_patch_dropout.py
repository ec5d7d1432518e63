"""Dropout of patches: how many, where, and the same ones everywhere."""

import numpy as np
import pytest

from keras_actrec.data import augment, patch_dropout
from keras_actrec.data.augment import Draw
from keras_actrec.data.views import Augmentation

DIAGONAL = ((True, False), (False, True))


def noise(frames: int, side: int, channels: int = 3) -> np.ndarray:
    """Values that are neither grey 128 nor 0."""
    return np.random.default_rng(3).integers(1, 128, (frames, side, side, channels), np.uint8)


@pytest.mark.parametrize(
    ("share", "grid", "count"), [(0.0, 8, 0), (0.2, 8, 13), (0.25, 4, 4), (1.0, 3, 9), (0.01, 4, 0), (0.5, 1, 0)]
)
def test_exactly_the_share_is_drawn(share: float, grid: int, count: int) -> None:
    for seed in range(5):
        patches = patch_dropout.draw(np.random.default_rng(seed), share, grid)
        assert sum(map(sum, patches)) == count
        assert not patches if not count else [len(row) for row in patches] == [grid] * grid


def test_each_patch_is_as_probable_as_any_other() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([patch_dropout.draw(rng, 0.25, 4) for _ in range(2000)])
    # Four standard errors of a share of 0.25 in 2000 draws.
    assert np.abs(drawn.mean(axis=0) - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 2000)


def test_patches_lie_where_the_grid_says_in_all_frames() -> None:
    clip = noise(3, 4)
    result = patch_dropout.apply(clip, DIAGONAL, 200)
    assert (result[:, :2, :2] == 200).all() and (result[:, 2:, 2:] == 200).all()
    assert (result[:, :2, 2:] == clip[:, :2, 2:]).all() and (result[:, 2:, :2] == clip[:, 2:, :2]).all()


def test_a_pixel_belongs_to_the_patch_of_its_centre() -> None:
    """Five pixels, two patches: the middle pixel's centre is on the line and belongs to the second."""
    blanked = patch_dropout.apply(noise(1, 5, 1), DIAGONAL, 0)[0, ..., 0] == 0
    first, second = np.array([1, 1, 0, 0, 0], bool), np.array([0, 0, 1, 1, 1], bool)
    assert (blanked == (np.outer(first, first) | np.outer(second, second))).all()


@pytest.mark.parametrize(("side", "grid"), [(7, 3), (112, 8), (30, 8), (3, 8), (1, 4)])
def test_patches_of_any_size_by_brute_force(side: int, grid: int) -> None:
    patches = patch_dropout.draw(np.random.default_rng(side), 0.5, grid)
    clip = noise(2, side)
    result = patch_dropout.apply(clip, patches, 0)
    for row in range(side):
        for column in range(side):
            down, across = int((row + 0.5) / side * grid), int((column + 0.5) / side * grid)
            expected = 0 if patches[down][across] else clip[:, row, column]
            assert (result[:, row, column] == expected).all()


def test_frames_that_are_not_square() -> None:
    clip = np.ones((2, 4, 8, 1), np.uint8)
    expected = np.kron(1 - np.array(DIAGONAL), np.ones((2, 4)))
    assert (patch_dropout.apply(clip, DIAGONAL, 0)[1, ..., 0] == expected).all()


def test_nothing_to_blank_changes_nothing_and_input_is_never_changed() -> None:
    clip = noise(2, 6)
    copy = clip.copy()
    assert patch_dropout.apply(clip, (), 0) is clip
    patch_dropout.apply(clip, DIAGONAL, 0)[...] = 7
    augment.apply(clip, Draw(patches=DIAGONAL), 6)[...] = 7
    assert (clip == copy).all()


def test_augmentation_blanks_colour_with_grey_and_depth_with_zero_in_the_same_places() -> None:
    settings = Augmentation(patch_dropout=0.2)
    outcome = augment.draw(settings, np.random.default_rng(1), 48, 48)
    assert outcome == augment.draw(settings, np.random.default_rng(1), 96, 96) and hash(outcome)
    colour = augment.apply(noise(3, 48), outcome, 48)
    depth = augment.apply(noise(5, 96, 1), outcome, 96, colour=False)
    grey, larger = (np.kron(np.array(outcome.patches), np.ones((pixels, pixels))) > 0 for pixels in (6, 12))
    assert grey.sum() == 13 * 6 * 6
    for share in (np.all, np.any):
        assert (share(colour == 128, axis=(0, 3)) == grey).all()
        assert (share(depth == 0, axis=(0, 3)) == larger).all()


def test_patches_come_last_and_shift_no_other_numbers() -> None:
    rest = Augmentation(zoom=0.1, flip=0.5, rotation_deg=8, brightness=0.4, hue=0.1, auto_augment=True)
    for seed in range(20):
        plain, patched = (
            augment.draw(settings, np.random.default_rng(seed), 48, 48)
            for settings in (rest, Augmentation(**{**vars(rest), "patch_dropout": 0.3, "patch_grid": 4}))
        )
        clip = noise(2, 48)
        expected = patch_dropout.apply(augment.apply(clip, plain, 40), patched.patches, 128)
        assert patched.patches and (augment.apply(clip, patched, 40) == expected).all()
