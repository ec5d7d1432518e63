"""A look at all videos of a data set: length, frame size, frame rate, and for some of them how much moves.

A file's index and first frame are read, for all clips; frames from all over the clip only for a sample: at most
`MOTION_CLIPS` clips of each class, those whose paths have the smallest digests, so that the same clips are taken again
and a new video changes little. What is damaged beyond the first frame of a clip that is not sampled shows in training,
or when frames are prepared. Bad files are named and never stop the survey.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.quarantine import reason_of
from keras_actrec.data.source import FrameSource
from keras_actrec.data.survey_facts import Facts, Key, key_of
from keras_actrec.errors import UnreadableVideoError

MOTION_CLIPS = 12
"""Most clips per class whose motion is measured."""
MOTION_PAIRS = 8
"""Pairs of adjacent frames per clip, evenly spread."""
MOTION_SIZE = 64
"""Height and width to which their frames are squashed, in pixels."""
SETTINGS = (MOTION_PAIRS, MOTION_SIZE)
"""What measured facts depend on."""


def sample(clips: Iterable[Clip], most: int) -> dict[str, list[Clip]]:
    """Return class name ("" without a label) -> at most `most` of its clips: those with the smallest digests."""
    classes = collections.defaultdict(dict)
    for clip in clips:
        classes[clip.label or ""][key_of(clip)] = clip
    return {name: sorted(members.values(), key=_digest)[:most] for name, members in sorted(classes.items())}


def survey(
    manifest: Manifest,
    source: FrameSource,
    known: Mapping[Key, Facts] | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    found: dict[Key, Facts] | None = None,
) -> dict[Key, Facts]:
    """Return the facts of all clips of a manifest, in its order.

    Args:
        manifest: the clips.
        source: gives their frames; used by several threads at a time.
        known: facts of an earlier survey; a clip that could be read is read again only when its file has changed.
        workers: threads.
        progress: called with (clips done, clips in all).
        found: is filled, so that an interrupted survey leaves what it has found.
    """
    found = {} if found is None else found
    moving = {key_of(clip) for members in sample(manifest.clips, MOTION_CLIPS).values() for clip in members}
    clips = list({key_of(clip): clip for clip in manifest.clips}.values())

    def work(clip: Clip) -> Facts:
        return look(clip, manifest.root, source, key_of(clip) in moving, (known or {}).get(key_of(clip)))

    for done, facts in enumerate(_in_threads(work, clips, workers), start=1):
        found[key_of(facts)] = facts
        if progress:
            progress(done, len(clips))
    return {key_of(clip): found[key_of(clip)] for clip in clips}


def look(clip: Clip, root: Path, source: FrameSource, moving: bool, known: Facts | None = None) -> Facts:
    """Return the facts of one clip; `known` ones of an unchanged file as they are."""
    try:
        status = (root / clip.path).stat()
        size_bytes, changed_ns = status.st_size, status.st_mtime_ns
    except OSError:
        size_bytes, changed_ns = -1, -1  # the reason comes from the reading
    if known and (known.size_bytes, known.changed_ns) == (size_bytes, changed_ns) and _suffices(known, moving):
        return known if moving else dataclasses.replace(known, motion=None)
    blank = Facts(clip.path, clip.start_sec, clip.end_sec, size_bytes, changed_ns)
    blank = dataclasses.replace(blank, start_frame=clip.start_frame, end_frame=clip.end_frame)
    try:
        return _read(clip, source, blank, moving)
    except UnreadableVideoError as error:
        return dataclasses.replace(blank, reason=reason_of(clip, error))
    except OSError as error:
        return dataclasses.replace(blank, reason=f"cannot be read: {error.strerror or error}")


def motion(clip: Clip, source: FrameSource, frames: int) -> float:
    """Return the mean absolute difference of adjacent frames of a clip, in grey values of 0..255.

    `MOTION_PAIRS` pairs (t, t + 1), evenly spread, at `MOTION_SIZE` x `MOTION_SIZE` pixels, over all pixels and
    colours. A clip of one frame does not move: 0.
    """
    if frames < 2:
        return 0.0
    pairs = min(MOTION_PAIRS, frames - 1)
    first = np.unique(np.floor((np.arange(pairs) + 0.5) * (frames - 1) / pairs).astype(np.int64))
    stack = source.read(clip, np.stack([first, first + 1], axis=1).reshape(-1), (MOTION_SIZE, MOTION_SIZE))
    stack = stack.astype(np.int16).reshape(len(first), 2, -1)
    return float(np.abs(stack[:, 1] - stack[:, 0]).mean())


def _suffices(known: Facts, moving: bool) -> bool:
    """Whether a clip need not be read again; one that could not be read is tried each time: the cause may be gone."""
    return known.reason is None and (known.motion is not None or not moving)


def _digest(clip: Clip) -> bytes:
    return hashlib.sha256(repr(key_of(clip)).encode()).digest()


def _read(clip: Clip, source: FrameSource, blank: Facts, moving: bool) -> Facts:
    info = source.probe(clip)
    if info.frames < 1:
        raise UnreadableVideoError(clip.path, "no frames")
    moved = motion(clip, source, info.frames) if moving else None
    return dataclasses.replace(
        blank, frames=info.frames, fps=info.fps, width=info.width, height=info.height, motion=moved
    )


def _in_threads(work: Callable[[Clip], Facts], clips: Sequence[Clip], workers: int) -> Iterator[Facts]:
    """Yield results as they come; an error or Ctrl-C drops what waits."""
    pool = futures.ThreadPoolExecutor(workers)
    try:
        for future in futures.as_completed([pool.submit(work, clip) for clip in clips]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
