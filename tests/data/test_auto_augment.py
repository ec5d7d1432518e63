"""AutoAugment: the policy, and operations that are Pillow's."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from keras_actrec.data import augment, auto_augment
from keras_actrec.data.auto_augment import Operation
from keras_actrec.data.views import Augmentation

EACH = (
    Operation("Posterize", 5.0),
    Operation("Solarize", 85.0),
    Operation("Invert"),
    Operation("AutoContrast"),
    Operation("Equalize"),
    Operation("Contrast", 1.8),
    Operation("Color", 0.6),
    Operation("Sharpness", 1.7),
    Operation("ShearX", 0.15),
    Operation("Rotate", -30.0),
)
COLOUR = EACH[:8]


def noise(frames: int = 3, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(20, 200, (frames, 24, 20, channels), np.uint8)


def smooth(height: int = 40, width: int = 56) -> np.ndarray:
    """One frame without edges: what interpolation rounds differs little."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (40 + 3 * columns, 30 + 4 * rows, 128 + 60 * np.sin(rows / 9) * np.cos(columns / 7))
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)[None]


def pixels(*values: int) -> np.ndarray:
    """A clip of one frame and one channel, in one row."""
    return np.array(values, np.uint8).reshape(1, 1, -1, 1)


def one(operation: Operation, frames: np.ndarray) -> np.ndarray:
    return auto_augment.apply(frames, (operation,))


def pillows(operation: Operation, frame: np.ndarray) -> np.ndarray:
    """What Pillow, the operations' reference, makes of one frame (H, W, 3)."""
    pytest.importorskip("PIL")
    from PIL import Image, ImageEnhance, ImageOps

    image, value = Image.fromarray(frame), operation.value
    linear = Image.Resampling.BILINEAR
    changed = {
        "Posterize": lambda: ImageOps.posterize(image, int(value)),
        "Solarize": lambda: ImageOps.solarize(image, value),
        "Invert": lambda: ImageOps.invert(image),
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Contrast": lambda: ImageEnhance.Contrast(image).enhance(value),
        "Color": lambda: ImageEnhance.Color(image).enhance(value),
        "Sharpness": lambda: ImageEnhance.Sharpness(image).enhance(value),
        "ShearX": lambda: image.transform(image.size, Image.Transform.AFFINE, (1, value, 0, 0, 1, 0), linear),
        "Rotate": lambda: image.rotate(value, linear),
    }[operation.name]()
    return np.asarray(changed)


@pytest.mark.parametrize("name", ["Posterize", "Solarize", "Invert", "Equalize"])
def test_tables_are_pillows_exactly(name: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        low, high = sorted(rng.integers(0, 257, 2))
        frame = rng.integers(low, max(high, low + 1), (rng.integers(1, 40), rng.integers(1, 40), 3), np.uint8)
        value = {"Posterize": rng.integers(4, 9), "Solarize": rng.integers(0, 10) * 255 / 9}.get(name, 0)
        operation = Operation(name, float(value))
        assert (one(operation, frame[None])[0] == pillows(operation, frame)).all()


@pytest.mark.parametrize("name", ["AutoContrast", "Contrast", "Color", "Sharpness"])
def test_computed_colours_are_pillows_up_to_rounding(name: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        low, high = sorted(rng.integers(0, 257, 2))
        frame = rng.integers(low, max(high, low + 1), (rng.integers(1, 40), rng.integers(1, 40), 3), np.uint8)
        operation = Operation(name, float(rng.uniform(0.1, 1.9)))
        # Pillow rounds down, and rounds the grey or blurred picture before it is blended.
        assert np.abs(one(operation, frame[None])[0].astype(int) - pillows(operation, frame)).max() <= 2


@pytest.mark.parametrize("name", ["ShearX", "Rotate"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_maps_are_pillows_away_from_the_border(name: str, sign: int) -> None:
    frame = smooth()
    operation = Operation(name, sign * {"ShearX": 0.2, "Rotate": 20.0}[name])
    ours, theirs = one(operation, frame)[0].astype(int), pillows(operation, frame[0])
    inside = pillows(operation, np.full_like(frame[0], 255)).min(axis=-1) == 255
    inside[1:-1, 1:-1] &= inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    inside[[0, -1]] = inside[:, [0, -1]] = False
    assert inside.mean() > 0.5
    assert np.abs(ours - theirs)[inside].max() <= 2
    assert (one(operation, frame) != frame).any()


def test_what_comes_from_outside_is_grey_or_nothing() -> None:
    white = np.full((2, 30, 30, 3), 255, np.uint8)
    for operation in EACH[8:]:
        assert set(np.unique(one(operation, white)[:, -1, -1])) == {128}
        depth = auto_augment.apply(white[..., :1], (operation,), colour=False)
        assert depth.shape == (2, 30, 30, 1) and set(np.unique(depth[:, -1, -1])) == {0}


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        (Operation("Posterize", 4.0), (0, 15, 16, 200, 255), (0, 0, 16, 192, 240)),
        (Operation("Posterize", 8.0), (0, 15, 16, 200, 255), (0, 15, 16, 200, 255)),
        (Operation("Solarize", 128.0), (0, 127, 128, 255), (0, 127, 127, 0)),
        (Operation("Solarize", 255.0), (0, 254, 255), (0, 254, 0)),
        (Operation("Invert"), (0, 100, 255), (255, 155, 0)),
        (Operation("AutoContrast"), (50, 60, 100, 150), (0, 25, 127, 255)),
        (Operation("AutoContrast"), (50, 50), (50, 50)),
        # 510 pixels of 10 and one each of 20 and 30: a step is 511 // 255 = 2.
        (Operation("Equalize"), (*[10] * 510, 20, 30), (*[0] * 510, 255, 255)),
        (Operation("Equalize"), (*[10] * 254, 20), (*[10] * 254, 20)),
    ],
)
def test_hand_computed_tables(operation: Operation, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    assert one(operation, pixels(*before)).ravel().tolist() == list(after)


def test_hand_computed_contrast_colour_and_sharpness() -> None:
    grey = np.array([100, 100, 100, 180], np.uint8).reshape(1, 2, 2, 1).repeat(3, axis=-1)  # mean 120
    assert one(Operation("Contrast", 1.5), grey)[0, ..., 0].ravel().tolist() == [90, 90, 90, 210]
    assert one(Operation("Contrast", 0.0), grey)[0, ..., 0].ravel().tolist() == [120] * 4
    red = np.full((1, 1, 1, 3), (200, 0, 0), np.uint8)  # luma 59.8
    assert one(Operation("Color", 0.0), red).ravel().tolist() == [60, 60, 60]
    assert one(Operation("Color", 0.5), red).ravel().tolist() == [130, 30, 30]
    dot = np.zeros((1, 3, 3, 3), np.uint8)
    dot[0, 1, 1] = 130  # the blurred dot: 130 x 5 / 13 = 50
    assert one(Operation("Sharpness", 0.0), dot)[0, ..., 0].tolist() == [[0, 0, 0], [0, 50, 0], [0, 0, 0]]
    assert one(Operation("Sharpness", 1.9), dot)[0, 1, 1].tolist() == [202] * 3  # 50 + 1.9 x 80


@pytest.mark.parametrize("operation", EACH, ids=lambda operation: operation.name)
def test_equal_frames_stay_equal_something_changes_and_the_input_does_not(operation: Operation) -> None:
    clip = np.repeat(noise(1), 4, axis=0)
    copy = clip.copy()
    result = one(operation, clip)
    assert result.shape == clip.shape and result.dtype == np.uint8
    assert (result == result[:1]).all() and (result != clip).any()
    result[...] = 0
    assert (clip == copy).all()


@pytest.mark.parametrize("operation", COLOUR[:7], ids=lambda operation: operation.name)
def test_equal_pixels_of_unequal_frames_stay_equal(operation: Operation) -> None:
    """No flicker: operations that look at statistics look at the whole clip."""
    clip = noise(2)
    clip[1] //= 3
    clip[:, 5, 5] = (90, 100, 110)
    result = one(operation, clip)
    assert (result[0, 5, 5] == result[1, 5, 5]).all()


def test_sharpness_does_not_mix_frames() -> None:
    clip = noise(3)
    alone = np.concatenate([one(Operation("Sharpness", 1.8), frame[None]) for frame in clip])
    assert (one(Operation("Sharpness", 1.8), clip) == alone).all()


def test_depth_takes_part_in_space_only() -> None:
    depth = noise(channels=1)
    for operation in EACH:
        result = auto_augment.apply(depth, (operation,), colour=False)
        assert (result != depth).any() == operation.spatial == (operation.name in ("ShearX", "Rotate"))


def test_the_policy_is_the_papers_table() -> None:
    """Counted in Table 9: how often each operation occurs, with which strengths, and sums of probabilities."""
    operations = [operation for pair in auto_augment._POLICY for operation in pair]
    assert len(auto_augment._POLICY) == 25 and len(operations) == 50
    assert Counter(name for name, _, _ in operations) == {
        "Equalize": 17,
        "Solarize": 7,
        "Color": 6,
        "Posterize": 5,
        "Rotate": 6,
        "Invert": 3,
        "AutoContrast": 2,
        "Contrast": 2,
        "ShearX": 1,
        "Sharpness": 1,
    }
    assert sum(probability for name, probability, _ in operations if name == "Equalize") == pytest.approx(11.2)
    assert sum(probability for name, probability, _ in operations if name != "Equalize") == pytest.approx(19.8)
    assert [strength for name, _, strength in operations if name == "Rotate"] == [9, 8, 3, 8, 9, 8]
    assert [strength for name, _, strength in operations if name == "Solarize"] == [5, 4, 3, 8, 7, 4, 5]
    assert [strength for name, _, strength in operations if name == "Posterize"] == [8, 7, 6, 5, 6]
    assert [strength for name, _, strength in operations if name == "Color"] == [0, 4, 2, 8, 0, 4]


def test_draws_have_the_policys_frequencies_strengths_and_signs() -> None:
    rng = np.random.default_rng(2)
    drawn = [auto_augment.draw(rng) for _ in range(5000)]
    found = Counter(operation.name for operations in drawn for operation in operations)
    expected: Counter[str] = Counter()
    for pair in auto_augment._POLICY:
        for name, probability, _ in pair:
            expected[name] += probability / 25 * 5000
    for name, count in expected.items():
        assert abs(found[name] - count) < 4 * np.sqrt(count), name
    angles = np.array([each.value for operations in drawn for each in operations if each.name == "Rotate"])
    assert {round(abs(angle), 6) for angle in angles} == {10.0, round(80 / 3, 6), 30.0}
    assert abs((angles > 0).mean() - 0.5) < 2 / np.sqrt(len(angles))
    values = {name: set() for name in found}
    for operations in drawn:
        for each in operations:
            values[each.name].add(round(each.value, 6))
    assert values["Posterize"] == {4.0, 5.0, 6.0} and values["Sharpness"] == {0.3, 1.7}
    assert values["Contrast"] == {0.2, 1.8} and values["ShearX"] == {-0.166667, 0.166667}
    assert values["Color"] == {1.0, 0.6, 1.4, 0.8, 1.2, 0.2, 1.8} and values["Invert"] == {0.0}
    assert values["Solarize"] == {round(255 * (1 - k / 9), 6) for k in (3, 4, 5, 7, 8)}
    assert max(map(len, drawn)) == 2 and () in drawn


def test_augmentation_carries_it_and_shifts_no_other_numbers() -> None:
    rest = Augmentation(zoom=0.1, flip=0.5, rotation_deg=8, brightness=0.4, hue=0.1, patch_dropout=0.2)
    on = dataclasses.replace(rest, auto_augment=True)
    clip, pairs = noise(), set()
    for seed in range(30):
        plain, drawn = (augment.draw(one, np.random.default_rng(seed), 24, 20) for one in (rest, on))
        assert drawn == augment.draw(on, np.random.default_rng(seed), 24, 20) and hash(drawn)
        assert dataclasses.replace(drawn, auto_operations=()) == plain
        pairs.add(drawn.auto_operations)
        before = augment.apply(clip, dataclasses.replace(drawn, auto_operations=(), patches=()), 20)
        bare = augment.apply(clip, dataclasses.replace(drawn, patches=()), 20)
        assert (bare == auto_augment.apply(before, drawn.auto_operations)).all()
    assert len(pairs) > 8
