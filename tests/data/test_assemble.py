"""From one clip to its views: draws that stay as they were, tempos, cameras, and the cut towards the person."""

import dataclasses
import hashlib
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numbered import CLASSES, STRONG, FakeSource, clips
from trees import document

from keras_actrec.data import assemble, augment, boxes, motion, person_cut, tailor
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.prepared import PreparedSource, prepare
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import Augmentation, Tailor, View
from keras_actrec.errors import UnreadableVideoError, UserError

KEY = assemble.Key(3, 1, 2)
OLD_SELECTIONS = ("uniform", "random_run", "several_runs", "shadow", "step", "dense")


def chosen(view: View, clip: Clip, source: object, key: assemble.Key = KEY) -> list[int]:
    """The frames that a view of a `FakeSource` took, from its red channel."""
    (frames,) = assemble.assemble(clip, [view], source, key)
    return (frames[:, 0, 0, 0] // 10).tolist()


class Moving(FakeSource):
    """Frames of one colour each, brighter by so much from one to the next; red tells the number, green is the rest."""

    def __init__(self, steps: list[int], **options: int) -> None:
        super().__init__(len(steps) + 1, **options)
        self.steps = steps

    def read(self, clip: Clip, indices: np.ndarray, size: object = None, modality: str = "rgb") -> np.ndarray:
        height, width = size if isinstance(size, tuple) else (self.info.height, self.info.width)
        numbers = np.asarray(indices)
        frames = np.zeros((len(numbers), height, width, 1 if modality == "depth" else 3), np.uint8)
        frames[..., 0] = 10 * numbers[:, None, None]
        if modality == "rgb" and isinstance(size, tuple):  # as motion reads: there only the steps count
            frames[..., 0] = 0
            frames[..., 1] = np.concatenate([[0], np.cumsum(self.steps)])[numbers][:, None, None]
        return frames


def test_choices_are_what_they_were() -> None:
    """Recorded before frames could be chosen by movement: runs of that time can be gone on with."""
    found = hashlib.sha256()
    for selection in OLD_SELECTIONS:
        for options in ({}, {"clips": 3}, {"order": "shuffled", "modality": "difference"}, {"instances": 3}):
            view = View("tempo1", **{"frames": 4, "size": 16, "augmentation": STRONG, **options})
            view = dataclasses.replace(view, selection=selection, stride=2, runs=2)
            depth = dataclasses.replace(view, name="depth", modality="depth")
            for index, clip in enumerate(clips(3)):
                key = assemble.Key(3, 1, index, index if view.instances > 1 else 0)
                source = FakeSource()
                assemble.assemble(clip, [view, depth], source, key)
                assemble.assemble_evaluation(clip, [view], source, key)
                found.update(repr(source.reads).encode())
    assert found.hexdigest() == "fcafc1a8dc66434e12d323448cc7edfade2e81b5462f27c33a199d945b9d70d1"


# Movement and tempos


def test_frames_are_chosen_where_the_clip_moves() -> None:
    source = Moving([0, 0, 0, 9, 9, 9, 9, 0, 0, 0])
    view = View(selection="variance_rate", frames=4, size=16, augmentation=Augmentation())
    for index in range(20):
        assert chosen(view, clips(1)[0], source, assemble.Key(0, 0, index)) == [3, 4, 5, 6]
    (frames,) = assemble.assemble_evaluation(clips(1)[0], [view], source, KEY)
    assert (frames[0, :, 0, 0, 0] // 10).tolist() == [3, 4, 5, 6]


def test_validation_takes_the_frames_of_evaluation() -> None:
    source, clip = Moving([1, 7, 2, 9, 1, 3, 0, 4, 4, 8, 1]), clips(1)[0]
    view = View(selection="variance_rate", frames=4, size=16)
    expected = assemble.frames_of(clip, view, source).tolist()
    assert chosen(view, clip, source) == expected
    evaluated = dataclasses.replace(view, clips=3)
    (frames,) = assemble.assemble_evaluation(clip, [evaluated], source, KEY)
    numbers = [assemble.frames_of(clip, evaluated, source, number).tolist() for number in range(3)]
    assert (frames[:, :, 0, 0, 0] // 10).tolist() == numbers and numbers[1] == expected


def test_tempos_are_drawn_apart_and_other_views_together() -> None:
    source = Moving([3] * 24)
    plain = View(selection="variance_rate", frames=6, size=16, augmentation=Augmentation())
    names = ("tempo1", "tempo2", "tempo3", "rgb", "depth")
    drawn = {name: [] for name in names}
    for index in range(300):
        views = [dataclasses.replace(plain, name=name) for name in names]
        views[4] = dataclasses.replace(views[4], modality="depth")
        for name, frames in zip(
            names, assemble.assemble(clips(1)[0], views, source, assemble.Key(0, 0, index)), strict=True
        ):
            drawn[name].append(tuple(frames[:, 0, 0, 0] // 10))
    assert drawn["rgb"] == drawn["depth"]
    for one, two in (("tempo1", "tempo2"), ("tempo2", "tempo3"), ("tempo1", "tempo3"), ("tempo1", "rgb")):
        shared = [len(set(a) & set(b)) for a, b in zip(drawn[one], drawn[two], strict=True)]
        assert abs(np.mean(shared) - 6 * 6 / 24) < 0.25  # as many in common as independent draws have
    again = assemble.assemble(clips(1)[0], [dataclasses.replace(plain, name="tempo2")], source, assemble.Key(0, 0, 7))
    assert tuple(again[0][:, 0, 0, 0] // 10) == drawn["tempo2"][7]  # whatever other tempos there are


def test_movement_is_looked_at_once_for_all_tempos(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = motion.differences
    monkeypatch.setattr(motion, "differences", lambda *args: calls.append(1) or real(*args))
    views = [View(f"tempo{n}", selection="variance_rate", frames=n, size=16) for n in (1, 2, 3)]
    source = Moving([1, 2, 3, 4])
    for epoch in range(3):
        assemble.assemble(clips(1)[0], views, source, assemble.Key(0, epoch, 0))
    assert len(calls) == 1


# The cut towards the person. Pictures are stored without loss, so that every pixel can be computed by hand.

HEIGHT, WIDTH, FRAMES = 40, 60, 9
PLAIN = Tailor(enhance=1.5, decay=0.8, ring_px=3, margin=0.0, smooth_frames=1)
BOX = np.array([[20 + n, 12, 28 + n, 26] for n in range(FRAMES)], float)
"""A person 8 px wide and 14 px high, who walks 8 px to the right."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("person")
    rng = np.random.default_rng(0)
    for name, channels in (("rgb", 3), ("depth", 1)):
        (folder / name).mkdir()
        for n in range(FRAMES):
            picture = rng.integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)
            cv2.imwrite(str(folder / name / f"{n:03d}.png"), picture)
    document(folder / "boxes.json", {"height": HEIGHT, "width": WIDTH, "boxes": BOX.tolist()})
    document(folder / "nobody.json", {"height": HEIGHT, "width": WIDTH, "boxes": [None] * FRAMES})
    document(folder / "short.json", {"height": HEIGHT, "width": WIDTH, "boxes": BOX[:4].tolist()})
    return folder


CLIP = Clip("rgb", "walk", "train", depth="depth", boxes="boxes.json")


def by_hand(frame: np.ndarray, box: np.ndarray, wish: Tailor, ring: float) -> np.ndarray:
    """Eq. (7) and (8), pixel by pixel; `box` in pixels of this frame."""
    left, top, right, bottom = box
    result = np.empty(frame.shape, np.uint8)
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            away = max(left - (x + 0.5), x + 0.5 - right, top - (y + 0.5), y + 0.5 - bottom)
            factor = wish.enhance if away <= 0 else wish.decay ** math.ceil(away / ring)
            result[y, x] = np.clip(np.rint(frame[y, x].astype(float) * factor), 0, 255)
    return result


# Around all boxes, 20 to 36 and 12 to 26, in a square of 16 px: one row more above and below.
X0, Y0, SIDE = 20, 11, 16


@pytest.mark.parametrize("stretch", [{}, {"start_frame": 0, "end_frame": 9}])
@pytest.mark.parametrize("evaluation", [False, True])
def test_every_pixel_is_that_of_equations_7_and_8(root: Path, stretch: dict[str, int], evaluation: bool) -> None:
    clip, source = dataclasses.replace(CLIP, **stretch), VideoSource(root)
    view = View(frames=4, size=SIDE, tailor=PLAIN)
    work = assemble.assemble_evaluation if evaluation else assemble.assemble
    (found,) = work(clip, [view], source, KEY)
    numbers = assemble.frames_of(clip, view, source)
    frames = source.read(clip, numbers)
    for result, frame, box in zip(found[0] if evaluation else found, frames, BOX[numbers], strict=True):
        cut = frame[Y0 : Y0 + SIDE, X0 : X0 + SIDE]
        expected = by_hand(cut, box - [X0, Y0, X0, Y0], PLAIN, ring=3)
        assert np.abs(result.astype(int) - expected).max() <= 1  # halves are rounded either way
        assert (result == expected).mean() > 0.97


def test_boxes_are_those_of_the_stretch(root: Path) -> None:
    """Boxes count the frames of the file; the cut is around those of the stretch alone."""
    clip = dataclasses.replace(CLIP, start_frame=5, end_frame=7)
    source = VideoSource(root)
    np.testing.assert_allclose(source.boxes(clip)[:, 0] * WIDTH, [25, 26])
    (found,) = assemble.assemble(clip, [View(frames=2, size=14, tailor=PLAIN)], source, KEY)
    frames = source.read(clip, [0, 1])
    # 25 to 34 and 12 to 26: 14 high and, made square, 14 wide, from 22.5 on: in whole pixels from 23 to 37.
    for result, frame, box in zip(found, frames, BOX[5:7], strict=True):
        expected = by_hand(frame[12:26, 23:37], box - [23, 12, 23, 12], PLAIN, ring=3)
        assert np.abs(result.astype(int) - expected).max() <= 1


def test_depth_is_cut_alike_and_not_made_brighter(root: Path) -> None:
    source = VideoSource(root)
    rgb = View("rgb", frames=4, size=SIDE, tailor=PLAIN)
    depth = dataclasses.replace(rgb, name="depth", modality="depth")
    both = assemble.assemble(CLIP, [rgb, depth], source, KEY)
    numbers = assemble.frames_of(CLIP, rgb, source)
    expected = source.read(CLIP, numbers, modality="depth")[:, Y0 : Y0 + SIDE, X0 : X0 + SIDE]
    np.testing.assert_array_equal(both[1], expected)
    (alone,) = assemble.assemble(CLIP, [rgb], source, KEY)
    np.testing.assert_array_equal(both[0], alone)


def test_rings_are_measured_in_pixels_of_the_networks_input(root: Path) -> None:
    """Half as large an input: shrunk first, rings of 3 px after; beside a large view: rings of 6 px, shrunk after."""
    source = VideoSource(root)
    small, large = View("small", frames=3, size=8, tailor=PLAIN), View("large", frames=3, size=SIDE, tailor=PLAIN)
    numbers = assemble.frames_of(CLIP, small, source)
    (alone,) = assemble.assemble(CLIP, [small], source, KEY)
    shrunk = source.read(CLIP, numbers, 20)
    shared, _ = assemble.assemble(CLIP, [small, large], source, KEY)
    whole = source.read(CLIP, numbers)
    for time, box in enumerate(BOX[numbers]):
        # Half of 11 to 27 is 5.5 to 13.5: in whole pixels 6 to 14.
        expected = by_hand(shrunk[time, 6:14, 10:18], box / 2 - [10, 6, 10, 6], PLAIN, ring=3)
        assert np.abs(alone[time].astype(int) - expected).max() <= 1
        cut = by_hand(whole[time, Y0 : Y0 + SIDE, X0 : X0 + SIDE], box - [X0, Y0, X0, Y0], PLAIN, ring=6)
        expected = cv2.resize(cut, (8, 8), interpolation=cv2.INTER_AREA)
        assert np.abs(shared[time].astype(int) - expected).max() <= 1


def test_frames_are_decoded_large_enough_for_the_cut(root: Path) -> None:
    class Watched(VideoSource):
        def read(self, clip: Clip, indices: object, size: object = None, modality: str = "rgb") -> np.ndarray:
            sizes.append(size)
            return super().read(clip, indices, size, modality)

    sizes: list[object] = []
    for size in (8, 12, SIDE, 64):
        assemble.assemble(CLIP, [View(frames=3, size=size, tailor=PLAIN)], Watched(root), KEY)
    assert sizes == [20, 30, None, None]  # the cut is 16 of 40 px high; never larger than the original


def test_the_cut_is_augmented_as_if_it_were_the_frame(root: Path) -> None:
    source = VideoSource(root)
    plain = View(frames=4, size=SIDE, tailor=PLAIN)
    (still,) = assemble.assemble(CLIP, [dataclasses.replace(plain, augmentation=Augmentation())], source, KEY)
    (turned,) = assemble.assemble(CLIP, [dataclasses.replace(plain, augmentation=Augmentation(flip=1.0))], source, KEY)
    np.testing.assert_array_equal(turned, still[:, :, ::-1])
    (moved,) = assemble.assemble(CLIP, [dataclasses.replace(plain, augmentation=Augmentation(shift=0.3))], source, KEY)
    outcome = augment.draw(Augmentation(shift=0.3), KEY.generator(1), SIDE, SIDE)
    np.testing.assert_array_equal(moved, augment.apply(still, outcome, SIDE))
    assert (moved != still).any()


def test_boxes_follow_the_order_of_the_frames(root: Path) -> None:
    source, view = VideoSource(root), View(frames=5, size=SIDE, tailor=PLAIN)
    (natural,) = assemble.assemble(CLIP, [view], source, KEY)
    (reverse,) = assemble.assemble(CLIP, [dataclasses.replace(view, order="reversed")], source, KEY)
    np.testing.assert_array_equal(reverse, natural[::-1])


def test_all_views_and_frames_of_a_clip_are_cut_alike(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Movement stays movement: with nothing made brighter, every tempo shows the same part of its frames."""
    wish = dataclasses.replace(PLAIN, enhance=1.0, decay=1.0)
    source = VideoSource(root)
    views = [
        View(f"tempo{n}", frames=n, size=SIDE, tailor=wish, selection="variance_rate", augmentation=Augmentation())
        for n in (2, 4, 7)
    ]
    everything = source.read(CLIP, np.arange(FRAMES))[:, Y0 : Y0 + SIDE, X0 : X0 + SIDE]
    read, times = source.boxes, []
    monkeypatch.setattr(VideoSource, "boxes", lambda self, clip: times.append(1) or read(clip))
    stacks = assemble.assemble(CLIP, views, source, KEY)
    assert len(times) == 1  # the box file is read once for all of them
    for frames in stacks:
        for frame in frames:
            assert (frame == everything).all(axis=(1, 2, 3)).sum() == 1


def test_without_a_cut_the_whole_frame_is_painted(root: Path) -> None:
    source, wish = VideoSource(root), dataclasses.replace(PLAIN, crop=False)
    (found,) = assemble.assemble(CLIP, [View(frames=2, size=HEIGHT, tailor=wish)], source, KEY)
    numbers = assemble.frames_of(CLIP, View(frames=2), source)
    for result, frame, box in zip(found, source.read(CLIP, numbers), BOX[numbers], strict=True):
        expected = by_hand(frame, box, wish, ring=3)[:, 10:50]
        assert np.abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("file", [None, "nobody.json"])
def test_where_nobody_is_known_the_clip_stays_as_it_is(root: Path, file: str | None) -> None:
    clip, source = dataclasses.replace(CLIP, boxes=file), VideoSource(root)
    view = View(frames=4, size=SIDE, augmentation=STRONG)
    expected = assemble.assemble(clip, [view], source, KEY)
    found = assemble.assemble(clip, [dataclasses.replace(view, tailor=PLAIN)], source, KEY)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("file, reason", [("none.json", "missing file"), ("short.json", "4 boxes for 9 frames")])
def test_a_bad_box_file_makes_an_unreadable_clip(root: Path, file: str, reason: str) -> None:
    clip = dataclasses.replace(CLIP, boxes=file)
    with pytest.raises(UnreadableVideoError, match=f"box file: {reason}"):
        assemble.assemble(clip, [View(frames=4, size=SIDE, tailor=PLAIN)], VideoSource(root), KEY)
    assemble.assemble(clip, [View(frames=4, size=SIDE)], VideoSource(root), KEY)  # nobody asks for it


def test_sizes_of_cuts_at_any_scale() -> None:
    """At every size of the frame the cut shows the same part, is within the frame, and has at least one pixel."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        across, down = rng.uniform(0.1, 1, 2)
        cut = person_cut.PersonCut(
            np.zeros((1, 4)), (rng.uniform(0, 1 - across), rng.uniform(0, 1 - down), across, down)
        )
        height, width = rng.integers(1, 200, 2)
        frames = np.zeros((2, height, width, 3), np.uint8)
        found = cut.cut(frames).shape
        assert found[1:3] == cut.size(height, width) and min(found) >= 1
        assert abs(found[1] - down * height) <= 1 and abs(found[2] - across * width) <= 1
        short = cut.short_side(height, width, 20)
        assert min(down * height, across * width) * short / min(height, width) > 18 or min(cut.size(height, width)) < 10


# From a prepared cache


def test_a_prepared_cache_gives_the_same_cut(root: Path, tmp_path: Path) -> None:
    smooth = tmp_path / "set"
    (smooth / "v").mkdir(parents=True)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    for n in range(FRAMES):
        waves = np.stack([np.sin(columns / 9 + n / 5), np.cos(rows / 8), np.sin((rows + columns) / 11)], axis=-1)
        cv2.imwrite(str(smooth / "v" / f"{n:03d}.png"), (waves * 90 + 128).astype(np.uint8))
    boxes.write(smooth / "b.json", BOX, HEIGHT, WIDTH)
    whole = Clip("v", "a", "train", boxes="b.json")
    part = dataclasses.replace(whole, start_frame=2, end_frame=8)
    manifest = Manifest.from_clips("m", smooth, 1, [whole, part])
    cache = prepare(manifest, VideoSource(smooth), tmp_path / "cache", short_side=HEIGHT, quality=98, workers=1)
    halves = prepare(manifest, VideoSource(smooth), tmp_path / "half", short_side=HEIGHT, frame_step=2, workers=1)
    view = View(frames=3, size=SIDE, tailor=PLAIN)
    for clip in (whole, part):
        (expected,) = assemble.assemble(clip, [view], VideoSource(smooth), KEY)
        (found,) = assemble.assemble(clip, [view], PreparedSource(cache.address, smooth), KEY)
        assert np.abs(found.astype(int) - expected).mean() < 3
        np.testing.assert_array_equal(cache.boxes(clip), VideoSource(smooth).boxes(clip))
        np.testing.assert_array_equal(halves.boxes(clip), VideoSource(smooth).boxes(clip)[::2])
    blind = PreparedSource(cache.address)
    with pytest.raises(UserError, match=r"holds no person boxes.*open the cache with the data set's root"):
        assemble.assemble(whole, [view], blind, KEY)
    assemble.assemble(whole, [dataclasses.replace(view, tailor=None)], blind, KEY)
    with pytest.raises(UnreadableVideoError, match="box file: missing file"):
        PreparedSource(cache.address, tmp_path).boxes(whole)


# Cameras


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cameras: 12 frames of 24 x 32, 8 of 30 x 20, 5 of 24 x 24; grey tells camera and frame."""
    folder = tmp_path_factory.mktemp("cameras")
    for camera, (count, size) in enumerate(((12, (24, 32)), (8, (30, 20)), (5, (24, 24)))):
        (folder / f"c{camera}").mkdir()
        for n in range(count):
            cv2.imwrite(str(folder / f"c{camera}" / f"{n:03d}.png"), np.full((*size, 3), 80 * camera + 5 * n, np.uint8))
    document(folder / "boxes.json", {"height": 24, "width": 32, "boxes": [[2, 2, 9, 20]] * 12})
    return folder


MANY = Clip("c0", "jump", "train", cameras="c1;c2", boxes="boxes.json")


def test_each_tempo_from_its_own_camera(cameras: Path) -> None:
    views = [View(f"tempo{n + 1}", frames=4, size=16, camera=n, selection="uniform") for n in range(3)]
    found = assemble.assemble(MANY, views, VideoSource(cameras), KEY)
    numbers = [[1, 4, 7, 10], [1, 3, 5, 7], [0, 1, 3, 4]]
    for camera, frames in enumerate(found):
        assert frames.shape == (4, 16, 16, 3)
        assert frames[:, 8, 8, 0].tolist() == [80 * camera + 5 * n for n in numbers[camera]]
        assert assemble.frames_of(MANY, views[camera], VideoSource(cameras)).tolist() == numbers[camera]


def test_each_camera_has_its_own_movement(cameras: Path, tmp_path: Path) -> None:
    for camera, moves in enumerate((range(2, 6), range(7, 11))):
        (tmp_path / f"c{camera}").mkdir()
        for n in range(14):
            value = 15 * sum(move < n for move in moves) + 20
            cv2.imwrite(str(tmp_path / f"c{camera}" / f"{n:03d}.png"), np.full((20, 20, 3), value, np.uint8))
    clip = Clip("c0", "jump", "train", cameras="c1")
    views = [View(f"tempo{n + 1}", frames=4, camera=n, size=16, selection="variance_rate") for n in range(2)]
    found = [assemble.frames_of(clip, view, VideoSource(tmp_path)).tolist() for view in views]
    assert found == [[2, 3, 4, 5], [7, 8, 9, 10]]
    drawn = [dataclasses.replace(view, augmentation=Augmentation()) for view in views]
    frames = assemble.assemble(clip, drawn, VideoSource(tmp_path), KEY)
    assert [part[:, 0, 0, 0].tolist() for part in frames] == [[20, 35, 50, 65]] * 2


def test_boxes_are_those_of_the_first_camera(cameras: Path) -> None:
    source = VideoSource(cameras)
    for camera in range(3):
        plain = View(frames=2, size=16, camera=camera)
        (expected,) = assemble.assemble(MANY, [plain], source, KEY)
        (found,) = assemble.assemble(MANY, [dataclasses.replace(plain, tailor=PLAIN)], source, KEY)
        assert (found == expected).all() == (camera > 0)


def test_what_a_camera_cannot_give(cameras: Path) -> None:
    source, view = VideoSource(cameras), View(frames=2, size=16, camera=1)
    with pytest.raises(UnreadableVideoError, match=r"c0: has 1 camera, camera 1 was asked for \(counted from 0\)"):
        assemble.assemble(Clip("c0", "jump", "train"), [view], source, KEY)
    with pytest.raises(UnreadableVideoError, match="has 3 cameras, camera 3 was asked for"):
        assemble.assemble(MANY, [dataclasses.replace(view, camera=3)], source, KEY)
    with pytest.raises(UnreadableVideoError, match="nothing: camera 1: missing file"):
        assemble.assemble(dataclasses.replace(MANY, cameras="nothing"), [view], source, KEY)
    with pytest.raises(UserError, match="depth is camera 0's alone"):
        assemble.assemble(MANY, [dataclasses.replace(view, modality="depth")], source, KEY)


def test_a_clip_without_the_camera_is_quarantined(cameras: Path) -> None:
    pytest.importorskip("tensorflow")
    from keras_actrec.data.pipeline import Loader

    rows = [MANY, Clip("c1", "run", "train"), Clip("c2", "sit", "train", cameras="gone.mp4")]
    views = [View("tempo1", frames=2, size=16), View("tempo2", frames=3, size=16, camera=1)]
    options = {"batch_size": 2, "seed": 0, "shuffle": False}
    quarantine = Quarantine()
    loader = Loader(rows, CLASSES, views, VideoSource(cameras), quarantine=quarantine, **options)
    ((inputs, _),) = loader.dataset().as_numpy_iterator()
    assert inputs["tempo1"].shape == (1, 2, 16, 16, 3) and inputs["tempo2"].shape == (1, 3, 16, 16, 3)
    assert quarantine.reasons() == {
        "c1": "has 1 camera, camera 1 was asked for (counted from 0)",
        "c2": "camera 1: missing file",
    }


def test_the_cut_is_that_of_the_smoothed_boxes(root: Path) -> None:
    source = VideoSource(root)
    found = person_cut.find(CLIP, Tailor(), source, source.probe(CLIP))
    expected = tailor.smooth(source.boxes(CLIP), 5)
    np.testing.assert_array_equal(found.boxes, expected)
    assert found.region == tailor.region(expected, 0.15, WIDTH / HEIGHT)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_videos(root: Path, frames: int) -> None:
    """One frame has no movement, and its cut is around its own box."""
    clip = dataclasses.replace(CLIP, start_frame=4, end_frame=4 + frames)
    view = View(frames=3, size=SIDE, selection="variance_rate", tailor=PLAIN, augmentation=Augmentation())
    source = VideoSource(root)
    for views in ([view], [view, dataclasses.replace(view, name="d", modality="difference")]):
        found = assemble.assemble(clip, views, source, KEY)
        assert found[0].shape == (3, SIDE, SIDE, 3)
        assert len(np.unique(found[0].reshape(3, -1), axis=0)) == frames
    (found,) = assemble.assemble_evaluation(clip, [dataclasses.replace(view, clips=2)], source, KEY)
    assert found.shape == (2, 3, SIDE, SIDE, 3)
