"""`predict` on a live source: a line for each window, as soon as it is over."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_actrec.data import assemble
from keras_actrec.data.decode import Size, VideoInfo, resize
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import Modality
from keras_actrec.errors import UserError
from keras_actrec.serving import live, predict_command
from keras_actrec.serving.live import Camera, Picture
from keras_actrec.serving.network import Scores, joined
from keras_actrec.serving.predictor import Predictor, default_sliding
from keras_actrec.serving.reading import Frames, Wish
from keras_actrec.serving.windows import Sliding

_REST_SEC = 0.02
_FULL = 0.98
"""Share of a window's length from which on it counts as full: frames come at steps."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """What the last seconds of a live source show.

    Attributes:
        label: the likeliest class, or "unknown".
        top: classes with their probabilities, likeliest first.
        latency_sec: from the arrival of the newest frame to the answer.
        dropped: frames that could not be decoded in time, since the beginning.
        skipped: windows that were left out because the one before took too long, since the beginning.
        window_sec: how long the frames that were looked at last.
    """

    label: str
    top: tuple[tuple[str, float], ...]
    latency_sec: float
    dropped: int
    skipped: int
    window_sec: float


def run(options: argparse.Namespace, opened: Callable[[], Predictor]) -> None:
    """Answer until the source ends, the time is over, or Ctrl-C."""
    line = live.open_line(options.camera)
    if options.out is not None:
        raise UserError("--camera prints its answers as they come; leave --out out, and send the output to a file.")
    predictor = opened()
    if any(network.trained.config.data.modalities != ("rgb",) for network in predictor.networks):
        raise UserError("a camera shows colours; these networks look at depth.")
    predictor.warm_up()
    cut = default_sliding(predictor, options.window, options.hop)
    smooth_sec = predict_command.smooth_sec(options, cut)
    form = _json_line if options.format == "jsonl" else _csv_line if options.format == "csv" else _text_line
    if options.format == "csv":
        predict_command.tell("time,label,confidence,latency_sec,dropped,skipped")
    views = [view for wish in predictor.wishes for view in wish.views]
    with Camera(line, views, cut.window_sec) as camera:
        for moment in moments(camera, predictor, cut, smooth_sec, options.seconds, options.top):
            predict_command.tell(form(moment))
        if camera.ended:
            predict_command.warn("the live source has ended")


def moments(
    camera: Camera,
    predictor: Predictor,
    cut: Sliding,
    smooth_sec: float = 0.0,
    seconds: float | None = None,
    top: int = 5,
) -> Iterator[Moment]:
    """Yield an answer for each window, of the newest frames at that time.

    Args:
        camera: being watched.
        predictor: answers.
        cut: lengths of windows and of the steps between them.
        smooth_sec: answers of so many seconds are averaged.
        seconds: stop after so many; None: never.
        top: how many classes are told.
    """
    begin, clock = time.monotonic(), _Clock(cut)
    recent: collections.deque[tuple[float, Scores]] = collections.deque()
    seen = answered = 0.0
    while seconds is None or time.monotonic() - begin < seconds:
        pictures, ended = camera.newest(seen), camera.ended
        seen = pictures[-1].seen_sec
        if ended and seen <= answered:
            return
        now = time.monotonic()
        if not (clock.is_due(now, pictures) or ended):
            clock.rest(now)
            continue
        skipped, answered = clock.next(now), seen
        recent.append((now, predictor.scores([_frames(pictures, wish) for wish in predictor.wishes])))
        while recent[0][0] < now - smooth_sec:
            recent.popleft()
        mean, span = _mean([one for _, one in recent]), seen - pictures[0].seen_sec
        yield _moment(predictor, mean, top, time.monotonic() - seen, camera.dropped, skipped, span)


class _Clock:
    """When windows are due: the first when one is full, then one each hop; those that are missed are left out."""

    def __init__(self, cut: Sliding) -> None:
        self._cut = cut
        self._first_sec: float | None = None
        self._due_sec: float | None = None
        self._skipped = 0

    def is_due(self, now: float, pictures: Sequence[Picture]) -> bool:
        """Whether a window is over."""
        self._first_sec = pictures[0].seen_sec if self._first_sec is None else self._first_sec
        if self._due_sec is not None:
            return now >= self._due_sec
        # Where decoding drops much, the frames that are kept span less than a window; time has passed all the same.
        return pictures[-1].seen_sec - self._first_sec >= _FULL * self._cut.window_sec - _step(pictures)

    def rest(self, now: float) -> None:
        """Sleep a little, no longer than until the next window."""
        if self._due_sec is not None:
            time.sleep(min(_REST_SEC, max(0.0, self._due_sec - now)))

    def next(self, now: float) -> int:
        """Settle when the next window is due; return how many have been left out so far."""
        due = now if self._due_sec is None else self._due_sec
        late = max(0, int((now - due) / self._cut.hop_sec))
        self._skipped += late
        self._due_sec = due + (late + 1) * self._cut.hop_sec
        return self._skipped


def _moment(
    predictor: Predictor, scores: Scores, top: int, latency_sec: float, dropped: int, skipped: int, span_sec: float
) -> Moment:
    (label,), row = predictor.rule.names(scores, predictor.classes), scores.probabilities[0]
    order = np.argsort(-row, kind="stable")[:top]
    likeliest = tuple((predictor.classes[index], float(row[index])) for index in order)
    return Moment(label, likeliest, latency_sec, dropped, skipped, span_sec)


def _mean(parts: Sequence[Scores]) -> Scores:
    whole = joined(parts)
    distances = None if whole.distances is None else whole.distances.mean(axis=0, keepdims=True)
    return Scores(whole.probabilities.mean(axis=0, keepdims=True), distances)


def _step(pictures: Sequence[Picture]) -> float:
    """Return the seconds between two frames."""
    return (pictures[-1].seen_sec - pictures[0].seen_sec) / max(1, len(pictures) - 1)


def _frames(pictures: Sequence[Picture], wish: Wish) -> Frames:
    one = wish.of_window()
    clip, key = Clip("live", None, "test"), assemble.Key(wish.seed, 0, 0)
    parts = assemble.assemble_evaluation(clip, one.views, _Shot(pictures), key)
    return {view.name: part[None] for view, part in zip(one.views, parts, strict=True)}


class _Shot:
    """Gives frames that are in memory already, as a `FrameSource`."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = pictures

    def probe(self, clip: Clip) -> VideoInfo:
        height, width = self._pictures[-1].pixels.shape[:2]
        rate = 1 / _step(self._pictures) if len(self._pictures) > 1 else 1.0
        return VideoInfo(len(self._pictures), rate, width, height, 0)

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        info = self.probe(clip)
        wanted = (info.height, info.width) if size is None else size
        chosen = [resize(self._pictures[index].pixels, wanted) for index in indices]
        return np.stack([resize(one, chosen[0].shape[:2]) for one in chosen])

    def boxes(self, clip: Clip) -> np.ndarray:
        return np.zeros((0, 4))


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")


def _text_line(moment: Moment) -> str:
    others = ", ".join(f"{name} {100 * value:.0f} %" for name, value in moment.top[:3] if name != moment.label)
    return (
        f"{_now()[11:23]}  {moment.label}  {100 * moment.top[0][1]:.1f} %  ({others})  "
        f"latency {moment.latency_sec:.2f} s, dropped {moment.dropped} frames, skipped {moment.skipped} windows"
    )


def _csv_line(moment: Moment) -> str:
    label = '"' + moment.label.replace('"', '""') + '"' if set(moment.label) & set(',"\n') else moment.label
    numbers = f"{moment.top[0][1]:.6f},{moment.latency_sec:.3f},{moment.dropped},{moment.skipped}"
    return f"{_now()},{label},{numbers}"


def _json_line(moment: Moment) -> str:
    told: dict[str, Any] = {"time": _now(), **dataclasses.asdict(moment)}
    told["top"] = [{"label": name, "probability": round(value, 6)} for name, value in moment.top]
    return json.dumps(told | {name: round(told[name], 3) for name in ("latency_sec", "window_sec")}, allow_nan=False)
