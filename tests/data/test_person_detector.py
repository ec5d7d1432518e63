import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_actrec.data import person_detector
from keras_actrec.data.person_detector import BATCH, PersonDetector, choose, decode_boxes, letterbox, suppress
from keras_actrec.errors import UserError

SIZE = 64
PLACES = sum((SIZE // stride) ** 2 for stride in person_detector.STRIDES)


def save(folder: Path, classes: int = 1, form: str = "xyxy", size: int | None = SIZE) -> Path:
    """Save the smallest detector as KerasCV saves its presets."""
    from keras_cv.models import YOLOV8Backbone, YOLOV8Detector
    from keras_cv.src.utils.preset_utils import save_to_preset

    backbone = YOLOV8Backbone(
        stackwise_channels=[8, 8, 8, 8],
        stackwise_depth=[1, 1, 1, 1],
        include_rescaling=True,
        input_shape=(size, size, 3),
    )
    detector = YOLOV8Detector(num_classes=classes, bounding_box_format=form, backbone=backbone, fpn_depth=1)
    save_to_preset(detector, str(folder))
    return folder


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("detector"), classes=20, form="center_xywh")


class Network:
    """Sees in each frame the people of a list: place, confidence, and spans of the box in strides.

    With several lists, the grey value of a frame tells which one.
    """

    def __init__(self, *people: list[tuple[int, float, tuple[int, int, int, int]]]) -> None:
        self.people, self.seen = people, []

    def predict_on_batch(self, inputs: np.ndarray) -> list[np.ndarray]:
        self.seen.append(inputs)
        distances, scores = np.zeros((len(inputs), PLACES, 64), np.float32), np.zeros((len(inputs), PLACES, 2))
        for row, frame in enumerate(inputs):
            for place, confidence, spans in self.people[int(frame[0, 0, 0]) % len(self.people)]:
                for side, span in enumerate(spans):
                    distances[row, place, side * 16 + span] = 100.0  # a distribution with all its weight there
                scores[row, place, 1] = confidence
        return [distances, scores]


def test_decoding_is_kerascvs_own() -> None:
    """The oracle is KerasCV's decoder, which the package does not use."""
    from keras_cv.src.models.object_detection.yolo_v8 import yolo_v8_detector as theirs

    logits = np.random.default_rng(0).normal(size=(2, PLACES, 64)).astype(np.float32) * 3
    anchors, strides = theirs.get_anchors(image_shape=(SIZE, SIZE, 3))
    spans = theirs.decode_regression_to_boxes(logits)
    expected = np.asarray(theirs.dist2bbox(spans, anchors)) * np.asarray(strides)[:, None]
    np.testing.assert_allclose(decode_boxes(logits, SIZE), expected, atol=1e-3)


def test_a_box_by_hand() -> None:
    """Place 9 of the 8 x 8 grid of stride 8 is in row 1, column 1: centre (12, 12). Distances 1, 0, 2, 3 strides."""
    logits = np.zeros((1, PLACES, 64))
    for side, span in enumerate((1, 0, 2, 3)):
        logits[0, 9, side * 16 + span] = 1000.0
    assert decode_boxes(logits, SIZE)[0, 9].tolist() == [4.0, 12.0, 28.0, 36.0]


def test_a_frame_in_the_square() -> None:
    frame = np.full((30, 60, 3), 200, np.uint8)
    square = letterbox(frame, 120)
    assert (square[:60] == 200).all()
    assert (square[60:] == 0).all()
    high = letterbox(np.full((50, 20, 3), 9, np.uint8), 25)
    assert (high[:, :10] == 9).all()
    assert (high[:, 10:] == 0).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(5, 400), st.integers(5, 400), st.sampled_from([32, 64, 128, 640]), st.randoms(use_true_random=False))
def test_there_and_back(height: int, width: int, size: int, random: object) -> None:
    """A box maps back to where it was, whatever the rounding of the square's inner size."""
    left, right = sorted((random.uniform(0, width), random.uniform(0, width)))
    top, bottom = sorted((random.uniform(0, height), random.uniform(0, height)))
    inner_height, inner_width = person_detector.inner_size(height, width, size)
    assert max(inner_height, inner_width) == size
    shrink = np.array([inner_width / width, inner_height / height] * 2)
    there = np.array([left, top, right, bottom]) * shrink
    back = person_detector.from_letterbox(there, height, width, size)
    np.testing.assert_allclose(back, [left, top, right, bottom], atol=1e-9)


def test_painted_pixels_map_back() -> None:
    """Not only the formula: a white block in a frame of 90 x 160 lies in the square where it says."""
    frame = np.zeros((90, 160, 3), np.uint8)
    frame[20:70, 40:120] = 255
    square = letterbox(frame, 80)
    rows, columns = np.nonzero(square[..., 0] > 127)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert person_detector.from_letterbox(np.array(found), 90, 160, 80).tolist() == [40, 20, 120, 70]


def test_boxes_end_at_the_frame() -> None:
    outside = person_detector.from_letterbox(np.array([-5.0, -5.0, 90.0, 90.0]), 40, 80, 80)
    assert outside.tolist() == [0, 0, 80, 40]


def test_detecting_maps_to_the_frame() -> None:
    """Frames of 32 x 128 in a square of 64: what lies at 4, 12 there lies at 8, 24 here."""
    detector = PersonDetector(Network([(9, 0.9, (1, 0, 2, 1))]), person=1, size=SIZE)
    frames = np.full((BATCH + 3, 32, 128, 3), 50, np.uint8)
    boxes = detector.detect(frames)
    assert boxes.shape == (BATCH + 3, 4)
    assert (boxes == [8, 24, 56, 32]).all()  # 12 .. 20 of the square are 24 .. 40, the frame ends at 32
    assert [batch.shape for batch in detector.network.seen] == [(BATCH, SIZE, SIZE, 3)] * 2
    assert (detector.network.seen[0][:, :16] == 50).all()
    assert (detector.network.seen[0][:, 16:] == 0).all()


def test_nobody_is_nan() -> None:
    detector = PersonDetector(Network([(9, 0.24, (1, 1, 1, 1))]), person=1, size=SIZE)
    assert np.isnan(detector.detect(np.zeros((2, 64, 64, 3), np.uint8))).all()
    assert detector.detect(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 4)


def test_other_classes_are_not_people() -> None:
    detector = PersonDetector(Network([(9, 0.99, (1, 1, 1, 1))]), person=0, size=SIZE)
    assert np.isnan(detector.detect(np.zeros((1, 64, 64, 3), np.uint8))).all()


def test_suppression_keeps_one_box_per_person() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40], [5, 5, 5, 9], [0, 0, 4, 4]], float)
    kept, confidences = suppress(boxes, np.array([0.6, 0.8, 0.7, 0.99, 0.1]), 0.25)
    assert kept.tolist() == [[1, 0, 11, 10], [30, 30, 40, 40]]
    assert confidences.tolist() == [0.8, 0.7]


def test_the_overlap_by_hand() -> None:
    box = np.array([0.0, 0, 2, 2])
    others = np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [2, 2, 3, 3], [0, 0, 0, 0]])
    np.testing.assert_allclose(person_detector.overlaps(box, others), [1 / 7, 1, 0, 0])
    np.testing.assert_allclose(person_detector.overlaps(others, others), [1, 1, 1, 0])


def test_which_of_several_people() -> None:
    near, far = [0.0, 0, 10, 10], [20.0, 0, 28, 10]
    people = np.array([far, near])
    assert choose(people, np.array([0.9, 0.9]), None) == 1  # the larger
    assert choose(people, np.array([0.9, 0.6]), None) == 0  # 72 against 60
    assert choose(people, np.array([0.9, 0.9]), np.array(far)) == 0  # who was followed
    assert choose(people, np.array([0.2, 0.9]), np.array(far)) == 1  # unless the other counts twice
    assert choose(people, np.array([0.9, 0.9]), np.full(4, np.nan)) == 1
    assert choose(people[:0], np.zeros(0), np.array(far)) is None


def test_the_box_before_is_kept_over_batches_and_gaps() -> None:
    """Place 9 is a little larger than place 45, but who was followed before stays."""
    network = Network([(9, 0.9, (1, 1, 1, 1)), (45, 0.8, (1, 1, 1, 1))])
    detector = PersonDetector(network, person=1, size=SIZE)
    frames = np.zeros((BATCH + 1, SIZE, SIZE, 3), np.uint8)
    other = decode_boxes(network.predict_on_batch(frames[:1])[0], SIZE)[0, 45]
    assert (detector.detect(frames)[:, 0] == 4).all()
    assert (detector.detect(frames, other) == other).all()


def test_who_is_followed_from_frame_to_frame() -> None:
    """Place 45 alone; nobody; both, where place 9 counts more but not twice as much; place 9 alone; both."""
    one, other = (9, 0.9, (1, 1, 1, 1)), (45, 0.8, (1, 1, 1, 1))
    network = Network([other], [], [one, other], [one])
    frames = np.stack([np.full((SIZE, SIZE, 3), grey, np.uint8) for grey in (0, 1, 2, 3, 2)])
    boxes = PersonDetector(network, person=1, size=SIZE).detect(frames)
    left_of_one, left_of_other = 4, 36  # columns 1 and 5 of stride 8, less one stride
    np.testing.assert_equal(boxes[:, 0], [left_of_other, np.nan, left_of_other, left_of_one, left_of_one])


def test_a_users_folder(preset: Path) -> None:
    detector = PersonDetector.open(preset)
    assert (detector.person, detector.size) == (14, SIZE)
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)
    boxes = detector.detect(frames)
    seen = boxes[~np.isnan(boxes).any(axis=1)]
    assert len(seen)  # untrained confidences are near one half
    assert ((seen >= 0) & (seen <= [60, 40, 60, 40])).all()


def test_the_network_is_the_presets(preset: Path) -> None:
    """Its weights are those that were saved: KerasCV's own call of the same preset gives the same numbers."""
    from keras_cv.models import YOLOV8Detector

    inputs = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    theirs = YOLOV8Detector.from_preset(str(preset))(inputs, training=False)
    boxes, classes = PersonDetector.open(preset).network.predict_on_batch(inputs)
    np.testing.assert_allclose(np.asarray(boxes), np.asarray(theirs["boxes"]), atol=1e-4)
    np.testing.assert_allclose(np.asarray(classes), np.asarray(theirs["classes"]), atol=1e-5)


def test_the_runs_precision_is_not_the_detectors(preset: Path) -> None:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = PersonDetector.open(preset).network
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}


def test_which_class_is_a_person(tmp_path: Path) -> None:
    folder = save(tmp_path, classes=3)
    with pytest.raises(UserError, match=r"3 classes.*classes\.txt"):
        PersonDetector.open(folder)
    assert PersonDetector.open(folder, person=2).person == 2
    before = person_detector.digest(folder)
    (folder / "classes.txt").write_text("car\nPerson\ndog\n")
    assert PersonDetector.open(folder).person == 1
    assert person_detector.digest(folder) != before
    (folder / "classes.txt").write_text("car\nperson\n")
    with pytest.raises(UserError, match="expected 3 class names"):
        PersonDetector.open(folder)


def test_an_open_input_is_as_large_as_the_presets_were_trained(tmp_path: Path) -> None:
    assert PersonDetector.open(save(tmp_path, size=None)).size == 640


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("yolo_v8_m_pascal", r"neither a folder nor a detector.*Did you mean 'yolo_v8_m_pascalvoc'"),
        ("yolo_v8_xs_backbone_coco", "a backbone without a detector; expected yolo_v8_m_pascalvoc"),
    ],
)
def test_unknown_names(weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PersonDetector.open(weights)


def test_a_preset_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_cv.src.utils import preset_utils

    def offline(*arguments: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(preset_utils.kagglehub, "model_download", offline)
    with pytest.raises(
        UserError, match=r"cannot be downloaded .*no route to host.*check the network.*keras/yolov8/keras"
    ):
        PersonDetector.open("yolo_v8_m_pascalvoc")


def test_folders_that_are_no_detectors(tmp_path: Path, preset: Path) -> None:
    with pytest.raises(UserError, match=r"there is no config\.json"):
        PersonDetector.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be opened as a YOLOv8 detector"):
        PersonDetector.open(tmp_path)
    (tmp_path / "config.json").write_bytes((preset / "config.json").read_bytes())
    whole = (preset / "model.weights.h5").read_bytes()
    (tmp_path / "model.weights.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be opened as a YOLOv8 detector"):
        PersonDetector.open(tmp_path)


def test_without_kerascv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_cv.models", None)
    with pytest.raises(UserError, match=r"install the extra keras_actrec\[augment\]"):
        PersonDetector.open("yolo_v8_m_pascalvoc")


def test_on_pytorch_it_finds_the_same(preset: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), np.uint8)
    script = (
        "import keras, numpy as np\n"
        "from keras_actrec.data.person_detector import PersonDetector\n"
        "frames = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), np.uint8)\n"
        f"print(keras.backend.backend(), *PersonDetector.open({str(preset)!r}).detect(frames).ravel())"
    )
    pytest.importorskip("torch")
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    backend, *numbers = done.stdout.splitlines()[-1].split()
    assert backend == "torch"
    ours = PersonDetector.open(preset).detect(frames).ravel()
    np.testing.assert_allclose([float(number) for number in numbers], ours, atol=0.05)
