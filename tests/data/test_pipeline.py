"""The input pipeline: same bytes for the same (seed, epoch, index), nothing replaced, one decode for all views."""

import collections
import dataclasses
import errno
import time
from pathlib import Path

import numpy as np
import pytest

from keras_actrec.data import assemble, augment, quarantine
from keras_actrec.data.manifest import Clip
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.views import Augmentation, View
from keras_actrec.errors import UnreadableVideoError, UserError

tf = pytest.importorskip("tensorflow")

from numbered import PLAIN, STRONG, FakeSource, clips, digest, epoch_of, loader  # noqa: E402

from keras_actrec.data.pipeline import normalize  # noqa: E402


def numbers(batches: list, name: str = "rgb") -> list[int]:
    """The clips' numbers, from the green channel of plain views."""
    return [int(np.median(clip[..., 1]).round()) for inputs, _ in batches for clip in inputs[name]]


def test_batches_have_the_declared_shapes() -> None:
    one = loader()
    inputs, labels = one.dataset().element_spec
    assert inputs["rgb"].shape.as_list() == [None, 4, 16, 16, 3] and inputs["rgb"].dtype == tf.float32
    assert labels.shape.as_list() == [None, 3] and labels.dtype == tf.float32
    batches = epoch_of(one, 0)
    assert [len(labels) for _, labels in batches] == [4, 4, 3] and one.steps == 3
    assert all((labels.sum(axis=1) == 1).all() for _, labels in batches)
    assert all(inputs["rgb"].min() >= 0 and inputs["rgb"].max() <= 1 for inputs, _ in batches)


def test_every_clip_once_with_its_own_label() -> None:
    batches = epoch_of(loader(views=(PLAIN,)), 5)
    order = numbers(batches)
    assert sorted(order) == list(range(11)) and order != sorted(order)
    labels = np.concatenate([labels for _, labels in batches]).argmax(axis=1)
    assert labels.tolist() == [number % 3 for number in order]


def test_without_shuffling_the_order_is_the_lists() -> None:
    assert numbers(epoch_of(loader(views=(PLAIN,), shuffle=False), 2)) == list(range(11))


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_bytes_depend_on_seed_and_epoch_alone(mixup: float) -> None:
    one, four = FakeSource(slow=True), FakeSource(slow=True)
    first = loader(source=one, workers=1, mixup=mixup)
    epochs = [digest(epoch_of(first, epoch)) for epoch in range(3)]
    second = loader(source=four, workers=4, mixup=mixup)
    assert digest(epoch_of(second, 2)) == epochs[2]
    assert digest(epoch_of(second, 0)) == epochs[0]
    assert one.most_inside == 1 and four.most_inside > 1
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert digest(epoch_of(loader(seed=4, mixup=mixup), 0)) != epochs[0]


def test_one_clips_bytes_do_not_depend_on_the_others() -> None:
    """A bad clip changes nothing for the rest but their batches."""
    whole = np.concatenate([inputs["rgb"] for inputs, _ in epoch_of(loader(shuffle=False), 1)])
    harmed = np.concatenate([inputs["rgb"] for inputs, _ in epoch_of(loader(clips(n4="empty"), shuffle=False), 1)])
    assert (np.delete(whole, 4, axis=0) == harmed).all()


def test_an_iterator_keeps_the_epoch_it_began_with() -> None:
    one = loader()
    expected = digest(epoch_of(one, 1))
    one.set_epoch(1)
    iterator = iter(one.dataset())
    found = [next(iterator)]
    one.set_epoch(7)
    found += list(iterator)
    assert digest([({"rgb": inputs["rgb"].numpy()}, labels.numpy()) for inputs, labels in found]) == expected


def test_one_dataset_follows_the_epochs() -> None:
    one = loader()
    data = one.dataset()
    for epoch in (0, 4, 0):
        one.set_epoch(epoch)
        assert digest(list(data.as_numpy_iterator())) == digest(epoch_of(loader(), epoch))


def test_bad_clips_are_dropped_counted_and_never_replaced() -> None:
    quarantine = Quarantine()
    one = loader(clips(n2="empty", n7="cut"), quarantine=quarantine, views=(PLAIN,))
    for epoch in range(2):
        assert sorted(numbers(epoch_of(one, epoch))) == [0, 1, 3, 4, 5, 6, 8, 9, 10]
        assert quarantine.count("train", epoch) == 2
    assert quarantine.reasons() == {
        "empty.avi": "empty file",
        "cut.avi": "truncated: 3 of 20 frames can be decoded",
    }
    assert one.failure is None
    (inputs, indices), *_ = loader(clips(3, n1="cut")).evaluation_dataset().as_numpy_iterator()
    assert indices.tolist() == [0, 2] and len(inputs["rgb"]) == 2


def test_all_bad_gives_an_empty_epoch() -> None:
    rows = [dataclasses.replace(clip, path=f"empty{n}.avi") for n, clip in enumerate(clips(5))]
    quarantine = Quarantine()
    assert epoch_of(loader(rows, quarantine=quarantine, mixup=0.2), 0) == []
    assert len(quarantine) == 5


def test_a_bad_depth_video_is_named_as_such() -> None:
    class NoDepth(FakeSource):
        def read(self, clip: Clip, indices: np.ndarray, size: object = None, modality: str = "rgb") -> np.ndarray:
            if modality == "depth":
                raise UnreadableVideoError(f"/data/{clip.depth}", "missing file")
            return super().read(clip, indices, size, modality)

    quarantine = Quarantine()
    views = (PLAIN, dataclasses.replace(PLAIN, name="depth", modality="depth"))
    assert epoch_of(loader(clips(2), NoDepth(), views=views, quarantine=quarantine), 0) == []
    assert set(quarantine.reasons().values()) == {"depth video: missing file"}


def test_a_defect_surfaces_with_the_clips_path() -> None:
    quarantine = Quarantine()
    one = loader(clips(n6="broken"), quarantine=quarantine)
    with pytest.raises(tf.errors.OpError, match=r"clip broken\.avi: ZeroDivisionError: a defect"):
        epoch_of(one, 0)
    assert isinstance(one.failure, ZeroDivisionError)
    assert len(quarantine) == 0


@pytest.mark.parametrize("rows", [clips(n6="empty"), clips(1, n0="empty")])
def test_a_quarantine_that_cannot_be_written_is_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Clip]
) -> None:
    """A full disk is told as such, and not as an error of TensorFlow's or as clips that cannot be read."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "quarantine.json")

    monkeypatch.setattr(quarantine.files, "write_json", full)
    one = loader(rows, quarantine=Quarantine(tmp_path / "quarantine.json"))
    with pytest.raises(tf.errors.OpError, match="No space left on device"):
        epoch_of(one, 0)
    assert isinstance(one.failure, OSError)
    assert one.failure.errno == errno.ENOSPC


def test_unlabelled_and_unknown_clips_have_no_label() -> None:
    rows = [
        Clip("clip01.avi", None, "unlabelled"),
        Clip("clip02.avi", "swim", "unknown"),
        Clip("clip03.avi", "sit", "train"),
    ]
    ((_, labels),) = epoch_of(loader(rows, shuffle=False), 0)
    assert labels.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_what_cannot_be_met_is_said() -> None:
    with pytest.raises(UserError, match="no clips"):
        loader([])
    with pytest.raises(UserError, match=r"'jumb' is none of the 3 classes\. Did you mean 'jump'"):
        loader([Clip("a.mp4", "jumb", "train")])
    with pytest.raises(UserError, match="different names"):
        loader(views=(PLAIN, PLAIN))
    with pytest.raises(UserError, match="3 crops want fit: crop"):
        loader(views=(View(crops=3, fit="pad"),))
    with pytest.raises(UserError, match="depth has one channel"):
        loader(views=(View(modality="depth", normalization="imagenet"),))
    with pytest.raises(UserError, match="batch size"):
        loader(batch_size=0)


def test_evaluation_gives_clips_times_crops_in_order() -> None:
    view = dataclasses.replace(PLAIN, clips=2, crops=3, frames=3, selection="dense", size=24)
    one = loader(views=(view,))
    data = one.evaluation_dataset()
    inputs, indices = data.element_spec
    assert inputs["rgb"].shape.as_list() == [None, 6, 3, 24, 24, 3]
    assert indices.dtype == tf.int32 and indices.shape.as_list() == [None]
    batches = list(data.as_numpy_iterator())
    assert np.concatenate([indices for _, indices in batches]).tolist() == list(range(11))
    assert [len(indices) for _, indices in batches] == [4, 4, 3]
    video = batches[0][0]["rgb"][2]
    noise = FakeSource().read(one.clips[2], np.arange(1))[0, ..., 2]
    for number in range(2):
        times = video[number * 3 : number * 3 + 3, :, 0, 0, 0]
        assert (times == times[0]).all() and (np.diff(times[0]) == 10).all()
        for crop, left in enumerate((0, 4, 8)):
            assert (video[number * 3 + crop, 0, ..., 2] == noise[:, left : left + 24]).all()
    assert video[0, 0, 0, 0, 0] < video[3, 0, 0, 0, 0]


def test_evaluation_is_not_random() -> None:
    view = View(frames=4, size=16, selection="random_run", augmentation=STRONG, order="shuffled")
    one, two = loader(views=(view,)), loader(views=(view,), workers=4)
    two.set_epoch(9)
    for (first, _), (second, _) in zip(one.evaluation_dataset(), two.evaluation_dataset(), strict=True):
        assert (first["rgb"].numpy() == second["rgb"].numpy()).all()


@pytest.mark.parametrize("order", ["natural", "shuffled", "reversed", "frozen"])
def test_temporal_probe(order: str) -> None:
    view = dataclasses.replace(PLAIN, order=order)
    plain = [inputs["rgb"] for inputs, _ in loader(views=(PLAIN,)).evaluation_dataset().as_numpy_iterator()]
    probed = [inputs["rgb"] for inputs, _ in loader(views=(view,)).evaluation_dataset().as_numpy_iterator()]
    sequences = set()
    for before, after in zip(np.concatenate(plain), np.concatenate(probed), strict=True):
        before, after = before[0, :, 0, 0, 0], after[0, :, 0, 0, 0]
        sequences.add(tuple(after))
        match order:
            case "natural":
                assert (after == before).all()
            case "reversed":
                assert (after == before[::-1]).all()
            case "frozen":
                assert (after == before[2]).all()
            case "shuffled":
                assert sorted(after) == sorted(before) and (after != before).any()
    assert len(sequences) > 1 if order == "shuffled" else len(sequences) == 1


def test_shuffling_is_never_the_identity_when_avoidable() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        assert assemble.reorder(np.array([3, 9]), "shuffled", rng).tolist() == [9, 3]
        assert assemble.reorder(np.array([3, 3, 3, 4]), "shuffled", rng).tolist() != [3, 3, 3, 4]
        assert assemble.reorder(np.array([5, 5, 5]), "shuffled", rng).tolist() == [5, 5, 5]
        assert assemble.reorder(np.array([5]), "shuffled", rng).tolist() == [5]


def test_rgb_and_depth_share_draw_and_frames() -> None:
    """Depth is the blue channel of the same video: the views must agree pixel by pixel."""
    spatial = dataclasses.replace(STRONG, brightness=0.0, hue=0.0)
    rgb = View("rgb", "rgb", 4, "random_run", size=16, augmentation=spatial, normalization="none")
    depth = dataclasses.replace(rgb, name="depth", modality="depth")
    source = FakeSource()
    for inputs, _ in epoch_of(loader(source=source, views=(rgb, depth)), 0):
        assert inputs["depth"].shape[1:] == (4, 16, 16, 1)
        assert (inputs["depth"][..., 0] == inputs["rgb"][..., 2]).all()
    coloured = dataclasses.replace(depth, augmentation=STRONG)
    for inputs, _ in epoch_of(loader(views=(rgb, coloured)), 0):
        assert (inputs["depth"][..., 0] == inputs["rgb"][..., 2]).all()


def test_one_decode_serves_all_views() -> None:
    views = (
        View("slow", frames=4, size=16, augmentation=STRONG),
        View("fast", frames=8, size=12, selection="dense"),
        View("change", "difference", frames=4, size=16),
        View("depth", "depth", frames=4, size=16),
    )
    source = FakeSource()
    inputs, _ = epoch_of(loader(clips(3), source=source, views=views), 0)[0]
    assert {name: value.shape[1:] for name, value in inputs.items()} == {
        "slow": (4, 16, 16, 3),
        "fast": (8, 12, 12, 3),
        "change": (4, 16, 16, 3),
        "depth": (4, 16, 16, 1),
    }
    counted = collections.Counter((path, modality) for path, _, _, modality in source.reads)
    assert set(counted.values()) == {1} and len(counted) == 6
    assert all(list(indices) == sorted(set(indices)) for _, indices, _, _ in source.reads)


def test_decoding_is_no_larger_than_needed() -> None:
    source = FakeSource(height=240, width=320)
    epoch_of(loader(clips(2), source=source, views=(View(frames=4, size=60),)), 0)
    assert {size for _, _, size, _ in source.reads} == {60}
    small = FakeSource(height=24, width=32)
    epoch_of(loader(clips(2), source=small, views=(View(frames=4, size=60),)), 0)
    assert {size for _, _, size, _ in small.reads} == {None}


def test_differences_are_of_adjacent_frames_of_the_clip() -> None:
    view = View("d", "difference", frames=4, size=24, selection="random_run", stride=3, normalization="none")
    plain = dataclasses.replace(view, name="rgb", modality="rgb")
    for inputs, _ in epoch_of(loader(views=(view, plain)), 0):
        moved, frames = inputs["d"], inputs["rgb"]
        assert (moved[:, :3] == frames[:, 1:] - frames[:, :3]).all()
        # The last difference goes one step on, as far as the video reaches: at most 19, 10 units of red a frame.
        last = frames[:, 3, 0, 0, 0]
        assert (moved[:, 3, 0, 0, 0] == np.minimum(last + 30, 190) - last).all()


@pytest.mark.parametrize("name", ["zero_one", "minus_one_one", "imagenet", "caffe", "none"])
def test_normalisation(name: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3), np.uint8)
    view = View(normalization=name)
    result = normalize(tf.constant(frames), view).numpy()
    assert result.dtype == np.float32
    imagenet = pytest.importorskip("keras").applications.imagenet_utils.preprocess_input
    modes = {"minus_one_one": "tf", "imagenet": "torch", "caffe": "caffe"}
    plain = frames.astype(np.float32)
    expected = {"zero_one": plain / 255, "none": plain}.get(name)
    if expected is None:
        expected = imagenet(plain.copy(), data_format="channels_last", mode=modes[name])
    assert np.abs(result - expected).max() < 1e-5
    moved = normalize(tf.constant(frames), dataclasses.replace(view, modality="difference")).numpy()
    assert np.abs(moved - np.diff(expected, axis=1)).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "pixel", "expected"),
    [
        # (x / 255 - mean) / std of RGB, worked by hand.
        ("kinetics", (0, 51, 255), (-1.89519, -0.87905, 2.87365)),
        ("slowfast", (0, 51, 255), (-2.0, -1.111111, 2.444444)),
        ("sports1m", (10, 20, 30), (-60.0, -78.0, -92.0)),
    ],
)
def test_normalisations_of_published_video_networks(name: str, pixel: object, expected: object) -> None:
    frames = np.full((1, 2, 4, 4, 3), pixel, np.uint8)
    result = normalize(tf.constant(frames), View(normalization=name)).numpy()
    assert np.abs(result - np.array(expected)).max() < 1e-4
    moved = normalize(tf.constant(frames), View(normalization=name, modality="difference")).numpy()
    assert moved.shape == (1, 1, 4, 4, 3) and not moved.any()
    with pytest.raises(UserError, match="no colour mean"):
        loader(views=(View(modality="depth", normalization=name),))


def test_mixup_mixes_inputs_and_labels_alike() -> None:
    plain, mixed = (epoch_of(loader(views=(PLAIN,), mixup=mixup), 1) for mixup in (0.0, 1.0))
    shares = []
    for (inputs, labels), (mixed_inputs, mixed_labels) in zip(plain, mixed, strict=True):
        assert np.allclose(mixed_labels.sum(axis=1), 1)
        found = None
        for partner in _permutations(len(labels)):
            change = inputs["rgb"] - inputs["rgb"][partner]
            size = (change**2).sum()
            if not size:
                continue
            share = ((mixed_inputs["rgb"] - inputs["rgb"][partner]) * change).sum() / size
            again = share * inputs["rgb"] + (1 - share) * inputs["rgb"][partner]
            if np.abs(again - mixed_inputs["rgb"]).max() < 1e-2:
                assert np.abs(share * labels + (1 - share) * labels[partner] - mixed_labels).max() < 1e-4
                found = share
        shares.append(found)
    assert sum(share is not None and 0 <= share <= 1 for share in shares) >= 2
    assert len({round(share, 4) for share in shares if share is not None}) > 1


def _permutations(size: int) -> list[list[int]]:
    import itertools

    return [list(order) for order in itertools.permutations(range(size))]


def test_mixup_shares_follow_the_beta_distribution() -> None:
    one = loader(mixup=0.4)
    drawn = [one._draw_mixup(0, number, 5) for number in range(400)]
    shares = np.array([share for share, _ in drawn])
    assert abs(shares.mean() - 0.5) < 0.08 and abs(shares.var() - 1 / (4 * 1.8)) < 0.03
    assert all(sorted(partner) == list(range(5)) for _, partner in drawn)


def test_randaugment_in_the_pipeline_is_reproducible() -> None:
    pytest.importorskip("keras_cv")
    view = View(frames=3, size=16, augmentation=Augmentation(rand_augment=2))
    runs = [digest(epoch_of(loader(views=(view,), workers=workers), 2)) for workers in (1, 4)]
    assert runs[0] == runs[1]
    assert runs[0] != digest(epoch_of(loader(views=(dataclasses.replace(view, augmentation=None),)), 2))


def test_randaugment_without_keras_cv_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_actrec.data import randaugment

    def refuse() -> None:
        raise UserError("install keras_actrec[augment]")

    monkeypatch.setattr(randaugment, "require", refuse)
    with pytest.raises(UserError, match="augment"):
        loader(views=(View(augmentation=Augmentation(rand_augment=1)),))


def test_plain_view_is_the_plain_fit() -> None:
    source = FakeSource()
    inputs, _ = epoch_of(loader(clips(1), source=source, views=(dataclasses.replace(PLAIN, size=24),)), 0)[0]
    frames = source.read(clips(1)[0], np.array(source.reads[0][1]))
    assert (inputs["rgb"][0] == augment.apply(frames, augment.IDENTITY, 24)).all()


def test_memory_stays_bounded() -> None:
    """No more than a few batches are made ahead of the reader."""
    source = FakeSource()
    iterator = iter(loader(clips(90), source=source, batch_size=2).dataset())
    next(iterator)
    time.sleep(0.5)
    assert len(source.reads) <= 20
