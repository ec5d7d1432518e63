"""Videos per second from file to answer, as a service sees them: one video after the other, nothing known beforehand.

The parts are timed apart:

- `sampling`: where the video moves (MS3D, Eq. 1), with the decoding that it takes; 0 for views that do not ask,
- `decoding`: reading the frames that the views take,
- `cutting`: from decoded frames to the network's pictures, with the tailor strategy where the views wish it,
- `network`: to floats, the forward pass, and the mean of the probabilities of clips and crops.

Before each video what this process remembers of files is forgotten, and what is kept on disk of how much they move is
passed over. The file system's own memory cannot be emptied, so files may be read from there. Person boxes are read
from their files: finding people is not part of it.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_actrec.data import assemble, decode, motion, pipeline
from keras_actrec.data.decode import Size, VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import FrameSource, Modality
from keras_actrec.data.views import View
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.evaluation.predict import arrange, prepare_for_inference, softmax

PARTS = ("sampling", "decoding", "cutting", "network")
Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Velocity:
    """What was timed.

    Attributes:
        videos_per_sec: batch size over the median time of a batch.
        median_sec, fastest_sec, slowest_sec: time of a batch, from files to answers.
        parts_sec: part -> its median time of a batch.
        shares: part -> its share of all the time.
        batch_size: videos that go through the network together; 1: each is answered before the next one is opened.
        videos: how many were timed.
        unreadable: how many of those that were given could not be read, and were left out.
    """

    videos_per_sec: float
    median_sec: float
    fastest_sec: float
    slowest_sec: float
    parts_sec: Mapping[str, float]
    shares: Mapping[str, float]
    batch_size: int
    videos: int
    unreadable: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return {**dataclasses.asdict(self), "parts_sec": dict(self.parts_sec), "shares": dict(self.shares)}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a batch of videos gave.

    Attributes:
        probabilities: float64 (B, K), mean over clips and crops; of several heads, by name.
        seconds: part -> time.
    """

    probabilities: np.ndarray | dict[str, np.ndarray]
    seconds: Mapping[str, float]

    @property
    def total_sec(self) -> float:
        """From files to answers."""
        return sum(self.seconds.values())


def measure(
    network: Any,
    views: Sequence[View],
    source: FrameSource,
    clips: Sequence[Clip],
    *,
    batch_size: int = 1,
    warm_up: int = 1,
    limit_sec: float = 60.0,
    clock: Clock = time.perf_counter,
) -> Velocity:
    """Time a network on videos, batch after batch.

    Args:
        network: functional Keras model that gives logits.
        views: what it takes of a video, as in evaluation.
        source: gives the frames. A `VideoSource` with `threads=None` decodes one long video as fast as it can.
        clips: the videos; those that do not fill a batch at the end are left out.
        batch_size: videos that go through the network together.
        warm_up: batches before the timed ones, of the first videos; at least 1: the first pass traces the network.
        limit_sec: no further batch is begun after so many seconds, and at least one is timed.
        clock: gives seconds.

    Raises:
        UserError: fewer videos than a batch can be read.
    """
    if batch_size < 1 or warm_up < 1:
        raise ValueError("batch_size and warm_up must be at least 1")
    readable = [clip for clip in clips if _opens(source, clip)]
    batches = [readable[i : i + batch_size] for i in range(0, len(readable) - batch_size + 1, batch_size)]
    service = Service(network, views, source, clock)
    for number in range(warm_up if batches else 0):
        _seconds(service, batches[number % len(batches)])
    begin, answers, damaged = clock(), [], 0
    for batch in batches:
        if answers and clock() - begin >= limit_sec:
            break
        seconds = _seconds(service, batch)
        if seconds is None:
            damaged += 1
        else:
            answers.append(seconds)
    unreadable = len(clips) - len(readable) + damaged
    if not answers:
        raise UserError(
            f"velocity: expected at least {batch_size} videos that can be read, {len(clips)} were given and "
            f"{unreadable} of them cannot; give more videos or a smaller batch."
        )
    return summarize(answers, batch_size, unreadable)


def summarize(seconds: Sequence[Mapping[str, float]], batch_size: int, unreadable: int = 0) -> Velocity:
    """Return medians and shares of the parts of several batches."""
    totals = [sum(parts.values()) for parts in seconds]
    everything = sum(totals)
    return Velocity(
        videos_per_sec=batch_size / statistics.median(totals),
        median_sec=statistics.median(totals),
        fastest_sec=min(totals),
        slowest_sec=max(totals),
        parts_sec={name: statistics.median(parts[name] for parts in seconds) for name in PARTS},
        shares={name: sum(parts[name] for parts in seconds) / everything for name in PARTS},
        batch_size=batch_size,
        videos=batch_size * len(seconds),
        unreadable=unreadable,
    )


class Service:
    """Answers which action videos show, and says how long each part took.

    Args:
        network: functional Keras model that gives logits.
        views: what it takes of a video.
        source: gives the frames.
        clock: gives seconds.
    """

    def __init__(
        self, network: Any, views: Sequence[View], source: FrameSource, clock: Clock = time.perf_counter
    ) -> None:
        prepare_for_inference(network)
        self._network, self._views, self._source, self._clock = network, tuple(views), source, clock

    def answer(self, clips: Sequence[Clip]) -> Answer:
        """Look at a batch of videos.

        Raises:
            UnreadableVideoError: one of them cannot be read.
        """
        seconds = dict.fromkeys(PARTS, 0.0)
        pictures = [self._pictures(clip, seconds) for clip in clips]
        begin = self._clock()
        stacked = [np.stack(arrays) for arrays in zip(*pictures, strict=True)]
        probabilities = self._forward(stacked)
        seconds["network"] = self._clock() - begin
        return Answer(probabilities, seconds)

    def _pictures(self, clip: Clip, seconds: dict[str, float]) -> list[np.ndarray]:
        """Return what the network is shown of one video, for each view uint8 (V, T, S, S, C), and add up the times."""
        decode.forget_indices()
        source = _Timed(self._source, self._clock)  # `motion` knows nothing of a source that it has never seen
        begin = self._clock()
        for camera in sorted({view.camera for view in self._views if view.selection == "variance_rate"}):
            motion.rates(source, clip.seen_by(camera))  # is remembered for what follows
        sampled = self._clock()
        source.seconds = 0.0
        arrays = assemble.assemble_evaluation(clip, self._views, source, assemble.Key(0, 0, 0))
        seconds["sampling"] += sampled - begin
        seconds["decoding"] += source.seconds
        seconds["cutting"] += self._clock() - sampled - source.seconds
        return arrays

    def _forward(self, stacked: Sequence[np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        """Return the mean probabilities of arrays (B, V, T, S, S, C)."""
        videos, seen = stacked[0].shape[:2]
        inputs = {
            view.name: np.asarray(pipeline.normalize(array.reshape(-1, *array.shape[2:]), view))
            for view, array in zip(self._views, stacked, strict=True)
        }
        logits = self._network.predict_on_batch(arrange(self._network, inputs))
        if isinstance(logits, Mapping):
            return {name: _mean(part, videos, seen) for name, part in logits.items()}
        return _mean(logits, videos, seen)


class _Timed:
    """A source whose reading is timed; it names no place on disk for what videos move, so nothing is kept there."""

    def __init__(self, source: FrameSource, clock: Clock) -> None:
        self.seconds = 0.0
        self._source, self._clock = source, clock

    def probe(self, clip: Clip) -> VideoInfo:
        begin = self._clock()
        info = self._source.probe(clip)
        self.seconds += self._clock() - begin
        return info

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        begin = self._clock()
        frames = self._source.read(clip, indices, size, modality)
        self.seconds += self._clock() - begin
        return frames

    def boxes(self, clip: Clip) -> np.ndarray:
        return self._source.boxes(clip)  # part of cutting


def _seconds(service: Service, batch: Sequence[Clip]) -> Mapping[str, float] | None:
    """Return part -> time; None where a video turns out to be damaged farther on: its batch is left out."""
    try:
        return service.answer(batch).seconds
    except UnreadableVideoError:
        return None


def _mean(logits: Any, videos: int, seen: int) -> np.ndarray:
    return softmax(np.asarray(logits)).reshape(videos, seen, -1).mean(axis=1)


def _opens(source: FrameSource, clip: Clip) -> bool:
    try:
        return source.probe(clip).frames > 0
    except UnreadableVideoError:
        return False
