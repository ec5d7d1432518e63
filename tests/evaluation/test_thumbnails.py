import base64

import cv2
import numpy as np
import pytest

from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UnreadableVideoError
from keras_actrec.evaluation import thumbnails
from keras_actrec.evaluation.predict import Predictions

CLASSES = ("down", "up")


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_frames_stand_in_reading_order_with_their_colours() -> None:
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 250, 250]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (5, 40, 60, 3))
    picture = decoded(thumbnails.strip(frames, height=80))
    assert picture.shape == (2 * 80 + 3, 3 * 120 + 2 * 3, 3)
    for index, colour in enumerate(colours):
        row, column = divmod(index, 3)
        pixel = picture[row * 83 + 40, column * 123 + 60].astype(int)
        assert np.abs(pixel - colour).max() < 12
    assert picture[83 + 40, -60].min() > 240, "the empty place is white"


def test_depth_and_single_frames_and_odd_shapes() -> None:
    assert decoded(thumbnails.strip(np.full((1, 30, 20, 1), 128, np.uint8))).shape == (96, 64, 3)
    assert decoded(thumbnails.strip(np.zeros((9, 500, 3, 3), np.uint8))).shape[0] == 2 * 96 + 3


def test_thin_keeps_both_ends() -> None:
    assert thumbnails.thin(np.arange(16)).tolist() == [0, 3, 6, 9, 12, 15]
    assert thumbnails.thin(np.arange(4)).tolist() == [0, 1, 2, 3]


def predictions() -> Predictions:
    up = np.array([0.1, 0.4, 0.9, 0.6, 0.8, 0.3], np.float32)
    labels = np.array([0, 1, 0, 0, 1, 0])
    return Predictions(np.stack([1 - up, up], axis=1), labels, np.array([0, 2, 3, 4, 6, 7]), 8)


def test_the_surest_mistakes_come_first() -> None:
    assert thumbnails.choose(predictions(), right=2, wrong=2) == [2, 1, 0, 5]
    assert thumbnails.choose(predictions(), right=9, wrong=9) == [2, 1, 3, 0, 4, 5]
    assert thumbnails.choose(predictions(), right=0, wrong=0) == []


def test_examples_point_at_the_right_clips_and_leave_lost_ones_out() -> None:
    clips = [Clip(f"{index}.mp4", "up", "test") for index in range(8)]

    def read(clip: Clip) -> np.ndarray:
        if clip.path == "2.mp4":
            raise UnreadableVideoError(clip.path, "gone")
        return np.zeros((4, 20, 20, 3), np.uint8)

    found = thumbnails.examples(predictions(), clips, CLASSES, read)
    assert [example.path for example in found] == ["3.mp4", "4.mp4", "0.mp4", "6.mp4", "7.mp4"]
    first = found[0]
    assert (first.label, first.right) == ("down", False)
    assert first.answers == (("up", pytest.approx(0.9)), ("down", pytest.approx(0.1)))


def test_nothing_predicted_gives_no_examples() -> None:
    nothing = Predictions(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), 3)
    assert thumbnails.examples(nothing, [], CLASSES, lambda clip: np.zeros(0)) == ()
