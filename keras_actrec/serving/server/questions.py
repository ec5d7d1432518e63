"""What a request may ask beside its upload, checked before the upload is received."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from keras_actrec.errors import UserError
from keras_actrec.serving.predictor import default_sliding
from keras_actrec.serving.server.models import Model
from keras_actrec.serving.server.refusals import RefusedError
from keras_actrec.serving.server.service import Asked

LEAST_SEC, MOST_SEC = 0.1, 3600.0

ModelName = Annotated[str | None, Query(max_length=200, description="Name of a model; default: the first.")]
Name = Annotated[
    str | None, Query(description="What the sender calls the file, its last 200 characters; only for --keep.")
]
Top = Annotated[int, Query(ge=1, le=100, description="How many of the likeliest classes are told.")]
Seconds = Annotated[float | None, Query(ge=LEAST_SEC, le=MOST_SEC, allow_inf_nan=False)]
Smooth = Annotated[
    float | None,
    Query(
        ge=0, le=MOST_SEC, allow_inf_nan=False, description="Seconds over which windows are averaged, to either side."
    ),
]
Moment = Annotated[float | None, Query(ge=0, le=86_400, allow_inf_nan=False)]
Whole = Annotated[bool, Query(description="One answer for the whole video, however long it is.")]


def asked(model: Model, top: int, window: float | None, hop: float | None, smooth: float | None, whole: bool) -> Asked:
    """Return how a video is to be answered.

    Raises:
        RefusedError: the lengths contradict each other.
    """
    if whole:
        return Asked(model, None, 0.0, top)
    try:
        cut = default_sliding(model.predictor, window, hop) if window or hop else model.sliding
    except UserError as error:
        raise RefusedError(422, str(error)) from None
    return Asked(model, cut, cut.window_sec / 2 if smooth is None else smooth, top)


def stretch(start_sec: float | None, end_sec: float | None) -> tuple[float, float] | None:
    """Return a stretch of a video; None: all of it.

    Raises:
        RefusedError: only one end is given, or the end is not after the start.
    """
    if start_sec is None and end_sec is None:
        return None
    if start_sec is None or end_sec is None or end_sec <= start_sec:
        raise RefusedError(422, "expected start_sec and a later end_sec, or neither.")
    return start_sec, end_sec
