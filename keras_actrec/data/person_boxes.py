"""Where the person boxes of a manifest's clips come from: its own box files, the YOLOv8 detector, or nowhere.

The detector's box files lie in the data set's root, in `boxes-yolov8/`, each named as its video with ".json" behind:
one row per frame of the whole video, whatever stretches of it are clips. A file that is there is taken as it is, so an
interrupted command goes on where it stopped; `detector.json` beside them says which weights made them, and
`unreadable.json` which videos could not be read: they are tried again when they have changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from keras_actrec import files
from keras_actrec.config import TailorConfig
from keras_actrec.data import boxes, person_detector
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.person_detector import PersonDetector
from keras_actrec.data.prepared import PreparedSource
from keras_actrec.data.source import FrameSource, VideoSource
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.locking import Lock

FOLDER = boxes.DETECTED
RECEIPT, UNREADABLE = "detector.json", "unreadable.json"
LOCK = ".lock"
FRAMES = 32
"""Frames of a clip that are in memory at a time."""
MANIFEST, YOLOV8, WHOLE_FRAME = ORIGINS = ("manifest", "yolov8", "whole frame")
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)

Progress = Callable[[int, int], None]


def attach(
    manifest: Manifest, wish: TailorConfig, source: FrameSource, progress: Progress | None = None
) -> tuple[Manifest, dict[str, int]]:
    """Give every clip the box file that a configuration wants; the detector makes those that are missing.

    With `boxes`: "manifest" the clips keep their own files. "yolov8": all get the detector's. "none": they lose theirs.
    "auto": a clip keeps its own file if that exists; else it gets the detector's, if weights are given. A clip without
    a file is seen as a whole frame, and so is one whose video the detector could not read.

    Args:
        manifest: the clips. The result has another hash where their box files changed.
        wish: `boxes` and `weights` count.
        source: gives the frames.
        progress: called with (videos done, videos in all) while boxes are made.

    Returns:
        The manifest, and how many of its clips have their boxes from where: a count for each of `ORIGINS`.

    Raises:
        UserError: yolov8 without weights, weights that cannot be had, box files made by other weights, or a root that
            cannot be written to.
    """
    if wish.boxes == "yolov8" and wish.weights is None:
        raise UserError(
            "data.tailor.boxes: yolov8 wants the detector's weights; set data.tailor.weights to its preset folder, or "
            "to the name of a preset that KerasCV downloads, such as yolo_v8_m_pascalvoc."
        )
    wanted = [clip for clip in manifest.clips if _wants_detector(clip, wish, manifest.root)]
    unreadable = make(manifest.root, wanted, wish.weights, source, progress) if wanted else {}
    asked = set(wanted)
    rows = []
    for clip in manifest.clips:
        made = None if file_of(clip) in unreadable else file_of(clip)
        file = made if clip in asked else _own_file(clip, wish, manifest.root)
        rows.append(clip if file == clip.boxes else dataclasses.replace(clip, boxes=file))
    counts = dict.fromkeys(ORIGINS, 0)
    for clip in rows:
        counts[origin(clip)] += 1
    return dataclasses.replace(manifest, clips=tuple(rows)), counts


def make(
    root: str | Path, clips: Sequence[Clip], weights: str, source: FrameSource, progress: Progress | None = None
) -> dict[str, str]:
    """Make the detector's box files of clips, unless they are there.

    Several processes may do so at a time: one makes the files, the others wait for it.

    Args:
        root: of the data set.
        clips: whose videos are looked at, each as a whole.
        weights: of the detector (see `PersonDetector.open`).
        source: gives the frames; in place of a prepared cache, which may leave some out, the videos themselves.
        progress: called with (videos done, videos in all).

    Returns:
        Box file -> reason, for videos that could not be read and therefore have none.

    Raises:
        UserError: see `attach`.
    """
    root = Path(root)
    todo = {file_of(clip): clip for clip in clips}
    identity = _identity(weights)
    _check_receipt(root / FOLDER, identity, weights, any((root / file).is_file() for file in todo))
    unreadable = _known_unreadable(root, todo)
    if not _missing(root, todo, unreadable):
        return unreadable
    detector = PersonDetector.open(weights)
    videos = VideoSource(root) if isinstance(source, PreparedSource) else source
    lock = Lock(root / FOLDER / LOCK)
    with _writing(root / FOLDER):
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        lock.acquire(math.inf)
    try:
        _check_receipt(root / FOLDER, identity, weights, False)
        with _writing(root / FOLDER):
            files.write_json(root / FOLDER / RECEIPT, identity | {"name": Path(weights).name})
        unreadable = _known_unreadable(root, todo)
        return unreadable | _make(root, _missing(root, todo, unreadable), detector, videos, progress)
    finally:
        lock.release()


def find(clip: Clip, detector: PersonDetector, source: FrameSource) -> tuple[np.ndarray, int, int]:
    """Return the boxes of all frames of a clip's video, float64 (n, 4) in pixels, and height and width of the frames.

    Raises:
        UnreadableVideoError: with the reason.
    """
    clip = dataclasses.replace(clip, start_sec=None, end_sec=None, start_frame=None, end_frame=None)
    count = source.probe(clip).frames
    if count < 1:
        raise UnreadableVideoError(clip.path, "no frames")
    rows: list[np.ndarray] = []
    last, height, width = None, 0, 0
    for start in range(0, count, FRAMES):
        frames = source.read(clip, np.arange(start, min(start + FRAMES, count)))
        height, width = frames.shape[1:3]
        rows.append(detector.detect(frames, last))
        seen = rows[-1][~np.isnan(rows[-1]).any(axis=1)]
        last = seen[-1] if len(seen) else last
    return np.concatenate(rows), height, width


def file_of(clip: Clip) -> str:
    """Return where the detector's box file of a clip's video lies, relative to the data set's root."""
    parts = ["__" if part == ".." else part for part in PurePosixPath(clip.path).parts if part != "/"]
    return f"{'/'.join([FOLDER, *parts])}.json"


def origin(clip: Clip) -> str:
    """Return which of `ORIGINS` the boxes of a clip are of."""
    if clip.boxes is None:
        return WHOLE_FRAME
    return YOLOV8 if clip.boxes.startswith(f"{FOLDER}/") else MANIFEST


def _wants_detector(clip: Clip, wish: TailorConfig, root: Path) -> bool:
    if wish.boxes == "yolov8":
        return True
    own = origin(clip) == MANIFEST and (root / clip.boxes).is_file()
    return wish.boxes == "auto" and wish.weights is not None and not own


def _own_file(clip: Clip, wish: TailorConfig, root: Path) -> str | None:
    """Return the file that a clip keeps; a missing one is the manifest's mistake where the manifest's are wanted."""
    if clip.boxes is None or wish.boxes == "none":
        return None
    return clip.boxes if wish.boxes == "manifest" or (root / clip.boxes).is_file() else None


def _make(
    root: Path, todo: dict[str, Clip], detector: PersonDetector, source: FrameSource, progress: Progress | None
) -> dict[str, str]:
    unreadable = {}
    for done, (file, clip) in enumerate(todo.items(), start=1):
        try:
            found, height, width = find(clip, detector, source)
        except UnreadableVideoError as error:
            unreadable[file] = error.reason
            _note_unreadable(root, file, clip, error.reason)
        else:
            with _writing(root / FOLDER):
                boxes.write(root / file, found, height, width)
        if progress:
            progress(done, len(todo))
    return unreadable


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Name the folder where files cannot be made; a full disk is told as everywhere."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise UserError(
            f"person boxes cannot be written to {folder} ({error.strerror}); make it a folder that can be written to, "
            "or make the boxes elsewhere (python -m keras_actrec boxes) and copy them there, or set data.tailor.boxes "
            "to manifest or none."
        ) from error


def _missing(root: Path, todo: Mapping[str, Clip], unreadable: Mapping[str, str]) -> dict[str, Clip]:
    return {file: clip for file, clip in todo.items() if file not in unreadable and not (root / file).is_file()}


def _known_unreadable(root: Path, todo: Mapping[str, Clip]) -> dict[str, str]:
    """Return box file -> reason of the videos that could not be read before, and are as they were then."""
    noted = _noted(root)
    return {
        file: noted[file][1] for file, clip in todo.items() if file in noted and noted[file][0] == _state(root, clip)
    }


def _note_unreadable(root: Path, file: str, clip: Clip, reason: str) -> None:
    with _writing(root / FOLDER):
        files.write_json(root / FOLDER / UNREADABLE, _noted(root) | {file: [_state(root, clip), reason]})


def _noted(root: Path) -> dict[str, list[str]]:
    try:
        noted = files.read_json(root / FOLDER / UNREADABLE)
    except (OSError, ValueError):  # then they are tried again
        return {}
    return noted if isinstance(noted, dict) else {}


def _state(root: Path, clip: Clip) -> str:
    try:
        status = (root / clip.path).stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _identity(weights: str) -> dict[str, str | float]:
    """Return what the detector's answers depend on."""
    return {
        "weights": person_detector.digest(weights),
        "confidence": person_detector.CONFIDENCE,
        "overlap": person_detector.OVERLAP,
    }


def _check_receipt(folder: Path, identity: Mapping[str, str | float], weights: str, has_files: bool) -> None:
    """Refuse box files that other weights made, or nobody knows which."""
    try:
        found = files.read_json(folder / RECEIPT)
    except (FileNotFoundError, NotADirectoryError):
        if not has_files:
            return
        found = None
    except ValueError:
        found = None
    known = isinstance(found, dict)
    if not known or any(found.get(key) != value for key, value in identity.items()):
        made = f"by {found.get('name')} ({_short(found.get('weights'))})" if known else "by nobody knows which weights"
        raise UserError(
            f"the person boxes in {folder} were made {made}, asked for are those of {weights} "
            f"({_short(identity['weights'])}); give the weights that made them, or remove the folder so that they are "
            "made anew."
        )


def _short(digest: object) -> str:
    return str(digest)[:40]
