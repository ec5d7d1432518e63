"""The person of each frame, found by KerasCV's YOLOv8 detector (MS3D's "bounding box of yolo").

A detector is a KerasCV preset: a folder that KerasCV's `save_to_preset` wrote, or the name of one that KerasCV
downloads. Which of its outputs means a person is known from the number of its classes (Pascal VOC 20, COCO 80, or one
class alone), or from a file `classes.txt` in the folder: one name a line, one of them "person".

Frames are shrunk to fit the detector's square input, lie at its upper left and leave the rest black, as in KerasCV's
own training. The network's outputs are decoded here, with NumPy: what KerasCV adds behind the network, boxes and their
suppression, wants to know the preset's box format and draws on TensorFlow. The network itself runs on any backend of
Keras, though `import keras_cv` wants TensorFlow installed.

Of several people in a frame the one with the largest confidence x area x (1 + overlap with the box before) is taken:
who is filmed is nearer than passers-by, and stays the same from frame to frame unless another one counts twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec import files
from keras_actrec.data import decode
from keras_actrec.errors import UserError, did_you_mean

CONFIDENCE = 0.25
"""Least confidence of a person."""
OVERLAP = 0.5
"""Boxes that overlap more than this (intersection over union) are of the same person."""
SIZE = 640
"""Height and width of the input of a detector that leaves them open, in pixels: what the presets were trained with."""
PERSON_OF = {1: 0, 20: 14, 80: 0}
"""Number of classes -> the one that is a person: any single class, Pascal VOC, COCO."""
STRIDES = (8, 16, 32)
CLASSES = "classes.txt"
BATCH = 16
_BINS = 16
_SAID = 160
"""Most characters of another library's error that are quoted."""
_LIMIT = 300
"""Most boxes of a frame that are looked at, the most confident ones."""


@dataclasses.dataclass(frozen=True)
class PersonDetector:
    """Finds people with a YOLOv8 network.

    Attributes:
        network: Keras model from frames, float32 (B, S, S, 3) in 0..255, to distances (B, A, 64) and confidences
            (B, A, classes) of A places.
        person: which class is a person.
        size: height and width S of the network's input, in pixels.
        confidence: least confidence of a person.
    """

    network: Any
    person: int
    size: int
    confidence: float = CONFIDENCE

    @classmethod
    def open(cls, weights: str | os.PathLike[str], person: int | None = None) -> PersonDetector:
        """Open a preset.

        Args:
            weights: preset folder, or the name of a preset that KerasCV downloads.
            person: which class is a person; None: see the top of this file.

        Raises:
            UserError: KerasCV is missing, the preset is unknown or no detector, or it cannot be had.
        """
        detector = _detector(str(weights))
        return cls(_raw(detector), _person(str(weights), detector, person), _input_size(detector))

    def detect(self, frames: np.ndarray, last: np.ndarray | None = None) -> np.ndarray:
        """Return a box of the person for each frame.

        Args:
            frames: uint8 (T, H, W, 3), RGB, in the order of time.
            last: box (4,) of the person in the frame before these, if there was one.

        Returns:
            float64 (T, 4): left, top, right, bottom in pixels of the frames; NaN where nobody is seen.
        """
        boxes = np.full((len(frames), 4), np.nan)
        for start in range(0, len(frames), BATCH):
            for offset, (people, confidences) in enumerate(self._people(frames[start : start + BATCH])):
                chosen = choose(people, confidences, last)
                if chosen is not None:
                    boxes[start + offset] = last = people[chosen]
        return boxes

    def _people(self, frames: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the people of each frame: boxes (P, 4) in its pixels, and confidences (P,)."""
        count, (height, width) = len(frames), frames.shape[1:3]
        inputs = np.stack([letterbox(frame, self.size) for frame in frames]).astype(np.float32)
        padded = np.concatenate([inputs, np.repeat(inputs[-1:], BATCH - count, axis=0)])  # one size: traced once
        distances, scores = (np.asarray(part) for part in _on_host(self.network.predict_on_batch(padded)))
        boxes = from_letterbox(decode_boxes(distances[:count], self.size), height, width, self.size)
        return [suppress(*pair, self.confidence) for pair in zip(boxes, scores[:count, :, self.person], strict=True)]


def digest(weights: str | os.PathLike[str]) -> str:
    """Return what tells weights apart: a digest of a folder's files, or the name of a preset that is downloaded."""
    folder = Path(weights)
    if not folder.is_dir():
        return str(weights)
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.name in ("config.json", CLASSES) or _weights(path)):
        total.update(f"{path.name} {files.sha256(path)}\n".encode())
    return total.hexdigest()


def letterbox(frame: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 (S, S, 3): the frame (H, W, 3), its longer side S pixels, at the upper left; the rest is black."""
    square = np.zeros((size, size, 3), np.uint8)
    height, width = inner_size(*frame.shape[:2], size)
    square[:height, :width] = decode.resize(frame, (height, width))
    return square


def from_letterbox(boxes: np.ndarray, height: int, width: int, size: int) -> np.ndarray:
    """Map boxes (..., 4) from pixels of the square to pixels of the frame, H x W, and cut them at its edges."""
    inner_height, inner_width = inner_size(height, width, size)
    scale = np.array([width / inner_width, height / inner_height] * 2)
    return np.clip(np.asarray(boxes, np.float64) * scale, 0, [width, height, width, height])


def decode_boxes(distances: np.ndarray, size: int) -> np.ndarray:
    """Turn the network's distances into boxes.

    Each place has four distributions over 0..15 (left, top, right, bottom), whose means are distances from its centre
    in units of its stride.

    Args:
        distances: logits (B, A, 64) of the places of all strides, row by row.
        size: height and width of the network's input, in pixels.

    Returns:
        float64 (B, A, 4): left, top, right, bottom in pixels of the input.
    """
    logits = np.asarray(distances, np.float64).reshape(*distances.shape[:-1], 4, _BINS)
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    means = (shares / shares.sum(axis=-1, keepdims=True)) @ np.arange(_BINS)
    centres, strides = _places(size)
    spans = means * strides[:, None]
    return np.concatenate([centres - spans[..., :2], centres + spans[..., 2:]], axis=-1)


def suppress(boxes: np.ndarray, confidences: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Keep one box per person: the most confident of those that overlap more than `OVERLAP`.

    Args:
        boxes: (A, 4).
        confidences: (A,).
        least: confidence that a box must have.

    Returns:
        Boxes (P, 4) and confidences (P,), the most confident first.
    """
    order = np.argsort(-confidences, kind="stable")[:_LIMIT]
    order = order[(confidences[order] >= least) & (areas(boxes[order]) > 0)]
    kept = []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        order = order[overlaps(boxes[first], boxes[order]) <= OVERLAP]
    return boxes[kept], confidences[kept]


def choose(boxes: np.ndarray, confidences: np.ndarray, last: np.ndarray | None) -> int | None:
    """Return which of the people is meant (see the top of this file); None when there is none."""
    if not len(boxes):
        return None
    weights = confidences * areas(boxes)
    if last is not None and not np.isnan(last).any():
        weights = weights * (1 + overlaps(last, boxes))
    return int(np.argmax(weights))


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return intersection over union of a box (4,), or boxes (N, 4) row by row, with boxes (N, 4): float64 (N,)."""
    box, boxes = np.asarray(box, np.float64), np.asarray(boxes, np.float64)
    corner, opposite = np.maximum(box[..., :2], boxes[:, :2]), np.minimum(box[..., 2:], boxes[:, 2:])
    common = np.prod(np.maximum(opposite - corner, 0), axis=-1)
    union = areas(box) + areas(boxes) - common
    return np.divide(common, union, out=np.zeros(len(boxes)), where=union > 0)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Return the area of boxes (..., 4)."""
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)


def _places(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (A, 2), x and y in pixels, of the places that the network looks at, and their strides (A,)."""
    centres, strides = [], []
    for stride in STRIDES:
        axis = np.arange(0, size, stride) + stride / 2
        y, x = np.meshgrid(axis, axis, indexing="ij")
        centres.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        strides.append(np.full(x.size, stride))
    return np.concatenate(centres), np.concatenate(strides)


def inner_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of a frame within the square."""
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _detector(weights: str) -> Any:
    """Return KerasCV's detector."""
    kind = _keras_cv_detector()
    folder = Path(weights)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{weights} holds no KerasCV preset: there is no config.json in it; expected a folder that "
                "KerasCV's `save_to_preset` wrote, or the name of a preset such as 'yolo_v8_m_pascalvoc'."
            )
    elif weights not in (detectors := set(kind.presets) - set(kind.backbone_presets)):
        if weights in kind.backbone_presets:
            raise UserError(
                f"the preset '{weights}' is a backbone without a detector; expected {', '.join(sorted(detectors))}, "
                "or the folder of a detector."
            )
        raise UserError(
            f"data.tailor.weights: there is neither a folder nor a detector of KerasCV named '{weights}'."
            f"{did_you_mean(weights, detectors)}"
        )
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # the run's precision is not the detector's
    try:
        return kind.from_preset(weights)
    except Exception as error:
        raise _not_opened(weights, folder.is_dir(), error) from error
    finally:
        keras.config.set_dtype_policy(policy)


def _not_opened(weights: str, local: bool, error: Exception) -> UserError:
    said = (str(error).strip().splitlines() or ["no reason given"])[0]
    reason = f"{type(error).__name__}: {said if len(said) <= _SAID else f'{said[:_SAID]}...'}"
    if local:
        return UserError(f"the preset in {weights} cannot be opened as a YOLOv8 detector ({reason}); save it again.")
    kaggle = _keras_cv_detector().presets[weights]["kaggle_handle"].removeprefix("kaggle://")
    return UserError(
        f"the preset '{weights}' cannot be downloaded ({reason}); check the network, or set data.tailor.weights to a "
        f"folder with the preset's files, which Kaggle has under {kaggle}."
    )


def _keras_cv_detector() -> Any:
    try:
        from keras_cv.models import YOLOV8Detector
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            "finding people (data.tailor.boxes: yolov8) needs KerasCV working with the installed TensorFlow, which it "
            f"does not ({type(error).__name__}: {reason}); install the extra keras_actrec[augment] with the pinned "
            "TensorFlow of requirements.txt, or set data.tailor.boxes to manifest or none."
        ) from error
    return YOLOV8Detector


def _raw(detector: Any) -> Any:
    """Return the network alone: KerasCV's own `predict` would decode and suppress."""
    import keras

    network = keras.Model(detector.input, [detector.get_layer(name).output for name in ("box", "class")])
    if keras.backend.backend() == "tensorflow":
        network.jit_compile = False  # on a CPU, XLA compiles for minutes
    return network


def _person(weights: str, detector: Any, person: int | None) -> int:
    names = Path(weights) / CLASSES
    if person is None and names.is_file():
        return _named(names, detector.num_classes)
    person = PERSON_OF.get(detector.num_classes) if person is None else person
    if person is None or not 0 <= person < detector.num_classes:
        raise UserError(
            f"the detector {weights} knows {detector.num_classes} classes, and which of them is a person is not known; "
            f"put a file {CLASSES} into its folder: one class name a line, one of them 'person'."
        )
    return person


def _named(path: Path, count: int) -> int:
    names = [line.strip().lower() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(names) != count or names.count("person") != 1:
        raise UserError(
            f"{path}: expected {count} class names, one a line, one of them 'person'; found {len(names)}, and 'person' "
            f"{names.count('person')} times."
        )
    return names.index("person")


def _input_size(detector: Any) -> int:
    height, width = detector.inputs[0].shape[1:3]
    if (height, width) == (None, None):
        return SIZE
    if height != width or height % STRIDES[-1]:
        raise UserError(f"the detector takes {height} x {width} pixels; expected a square, a multiple of 32 wide.")
    return height


def _on_host(outputs: Any) -> list[Any]:
    import keras

    return [keras.ops.convert_to_numpy(part) for part in outputs]


def _weights(path: Path) -> bool:
    return path.name.endswith((".h5", ".keras", ".safetensors"))
