"""Evaluation with the real loader, decoder, models and quarantine, on video files written here."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_actrec import files
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import View
from keras_actrec.errors import UserError
from keras_actrec.evaluation import flops, metrics, probes, provenance, report, results, throughput, thumbnails
from keras_actrec.evaluation.predict import predict
from keras_actrec.models import build_model

CLASSES = ("falling", "rising")
FRAMES = 12


def write_video(path: Path, seed: int, rising: bool) -> None:
    """A video of key frames only, and the same frames backwards: a block that moves up or down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (48, 40))
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 255, (5, 6, 3), np.uint8), (48, 40))
    for step in range(FRAMES) if rising else reversed(range(FRAMES)):
        frame = scene.copy()
        top = 30 - 2 * step
        frame[top : top + 8, 10:30] = 255
        writer.write(frame)
    writer.release()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("videos")
    rows = []
    for seed in range(6):
        for label in CLASSES:
            path = f"{label}/{seed}.avi"
            write_video(root / path, seed, label == "rising")
            rows.append(Clip(path, label, ("train", "validation", "test")[seed % 3]))
    (root / "rising/bad.avi").write_bytes(b"")
    (root / "falling/text.avi").write_text("no video at all")
    rows += [Clip("rising/bad.avi", "rising", "test"), Clip("falling/text.avi", "falling", "test")]
    return Manifest.from_clips("blocks", root, 1, rows)


def make_loader(
    manifest: Manifest, views: tuple[View, ...], quarantine: Quarantine | None = None, split: str = "test"
) -> Loader:
    return Loader(
        manifest.split(split),
        manifest.classes,
        views,
        VideoSource(manifest.root),
        batch_size=3,
        seed=0,
        shuffle=False,
        quarantine=Quarantine() if quarantine is None else quarantine,
    )


def network(name: str, frames: int = 4) -> object:
    import keras

    keras.utils.set_random_seed(0)
    own = {"convnet_transformer": {"heads": 2, "dense_dim": 16}, "convnet_rnn": {"units": 8}}
    options = {"backbone": "tiny", "weights": "none", "head_units": 8, "widths": (4, 8), **own.get(name, {})}
    return build_model(name, 2, frames=frames, size=32, **options)


VIEWS = (View(frames=4, size=32, normalization="minus_one_one"),)


def test_unreadable_clips_lower_the_coverage_and_are_named(manifest: Manifest) -> None:
    quarantine = Quarantine()
    loader = make_loader(manifest, VIEWS, quarantine)
    predictions = predict(network("convnet_transformer"), loader)
    assert (len(predictions.labels), predictions.expected) == (4, 6)
    assert predictions.coverage == pytest.approx(4 / 6)
    lost = {clip.path for clip in results.unread(predictions, loader.clips)}
    assert lost == {"rising/bad.avi", "falling/text.avi"} == set(quarantine.reasons_for("test"))
    labels = [CLASSES[label] for label in predictions.labels]
    assert labels == [loader.clips[index].label for index in predictions.indices]


def test_several_clips_and_crops_are_the_mean_of_single_ones(manifest: Manifest) -> None:
    model = network("single_frame")
    many = (dataclasses.replace(VIEWS[0], frames=4, selection="dense", clips=3, crops=3),)
    loader = make_loader(manifest, many)
    together = predict(model, loader, max_clips_per_pass=4)
    inputs, indices = next(iter(loader.evaluation_dataset()))
    views = np.asarray(inputs["rgb"])
    assert views.shape == (3, 9, 4, 32, 32, 3)
    logits = np.stack([model.predict_on_batch(views[:, view]) for view in range(9)], axis=1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    rows = np.searchsorted(together.indices, np.asarray(indices))
    np.testing.assert_allclose(together.probabilities[rows], shares.mean(axis=1), rtol=1e-4)


def test_the_probe_turns_the_clips_of_one_class_into_the_other(manifest: Manifest) -> None:
    """Each falling video is a rising one backwards, so reversed frames swap the answers of the two, exactly."""
    model = network("convnet_transformer")

    def ask(order: str) -> dict[str, np.ndarray]:
        loader = make_loader(manifest, probes.in_order(VIEWS, order))
        found = predict(model, loader)
        return {loader.clips[index].path: row for index, row in zip(found.indices, found.probabilities, strict=True)}

    natural, backwards, frozen = ask("natural"), ask("reversed"), ask("frozen")
    for seed in (2, 5):
        np.testing.assert_allclose(backwards[f"rising/{seed}.avi"], natural[f"falling/{seed}.avi"], rtol=1e-4)
        np.testing.assert_allclose(backwards[f"falling/{seed}.avi"], natural[f"rising/{seed}.avi"], rtol=1e-4)
        assert np.abs(natural[f"rising/{seed}.avi"] - backwards[f"rising/{seed}.avi"]).max() > 1e-5
        assert np.abs(natural[f"rising/{seed}.avi"] - frozen[f"rising/{seed}.avi"]).max() > 1e-5


def test_a_model_without_a_sense_of_time_does_not_notice_the_probe(manifest: Manifest) -> None:
    model = network("frame_average")
    plain = predict(model, make_loader(manifest, VIEWS))
    turned = predict(model, make_loader(manifest, probes.in_order(VIEWS, "reversed")))
    np.testing.assert_allclose(turned.probabilities, plain.probabilities, rtol=1e-4)


@pytest.mark.parametrize("name", ["convnet_transformer", "convnet_rnn", "single_frame", "frame_average"])
def test_every_model_is_counted_whole(name: str) -> None:
    counted = flops.count(network(name))
    assert counted.unknown == ()
    assert counted.total > 1e5
    # All but the head grows with the number of frames.
    if name in ("convnet_transformer", "convnet_rnn"):
        assert 1.8 < flops.count(network(name, frames=8)).total / counted.total < 2.2


def test_a_run_from_videos_to_report(manifest: Manifest, tmp_path: Path) -> None:
    model, quarantine = network("convnet_transformer"), Quarantine()
    provenance.write(tmp_path / "provenance.json", provenance.record(manifest))
    known = provenance.read(tmp_path / "provenance.json")
    clean = provenance.check(known, manifest, manifest.split("test"))
    with pytest.raises(UserError, match="4 in its train list"):
        provenance.check(known, manifest, manifest.split("train"))

    groups = metrics.name_pairs([CLASSES])
    test = predict(model, make_loader(manifest, VIEWS, quarantine))
    document = results.build(
        manifest,
        model="convnet_transformer",
        seed=0,
        params=model.count_params(),
        trainable_params=model.count_params(),
        flops=flops.count(model).total,
        validation=results.headline(predict(model, make_loader(manifest, VIEWS, split="validation"))),
        test=results.details(test, manifest.classes, groups=groups),
        temporal=probes.temporal_probe(model, lambda views: make_loader(manifest, views), VIEWS, groups=groups),
        quarantined=quarantine.entries,
        contamination=clean,
    )
    files.write_json(tmp_path / "metrics.json", document)
    assert document["quarantine"] == {"test": 2}
    assert document["temporal"]["frozen"]["coverage"] == pytest.approx(4 / 6)
    assert document["temporal"]["frozen"]["pairs"]["each"]["falling / rising"]["clips"] == 4

    read = thumbnails.reader(VideoSource(manifest.root), VIEWS[0])
    shown = thumbnails.examples(test, manifest.split("test"), manifest.classes, read)
    assert len(shown) == 4
    timed = throughput.measure(model, batch_size=2, passes=2)
    content = report.Content(
        document, "blocks", (), manifest.counts(), quarantine.entries, shown, timing=timed.to_json()
    )
    report.write(tmp_path / "report.html", content)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "rising/bad.avi" in page
    assert str(manifest.root) not in page
