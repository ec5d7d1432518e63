"""What the API tells, as its description (OpenAPI) has it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str | list[dict[str, Any]]
    """A sentence; of a wrong parameter, a list of what is wrong with which."""


class Likely(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class Stretch(BaseModel):
    """A segment of the timeline; "unknown" where no class is likely enough."""

    label: str
    start_sec: float
    end_sec: float
    confidence: float


class Unreadable(BaseModel):
    """A window that could not be decoded."""

    start_sec: float
    end_sec: float
    reason: str


class VideoFacts(BaseModel):
    """What is known of a video."""

    duration_sec: float
    frames: int
    fps: float
    width: int
    height: int


class Spent(BaseModel):
    """Seconds that were spent."""

    upload: float
    answer: float


class Told(BaseModel):
    """What a video shows."""

    model: str
    label: str
    confidence: float
    top: list[Likely]
    video: VideoFacts
    windows: int
    timeline: list[Stretch]
    unreadable: list[Unreadable]
    seconds: Spent


class ModelFacts(BaseModel):
    """A model that can be asked."""

    name: str
    architecture: str
    classes: list[str]
    window_sec: float
    hop_sec: float
    timeline_from_sec: float
    explains: bool


class Offered(BaseModel):
    """An example clip."""

    name: str
    label: str | None
    address: str


class Health(BaseModel):
    """Whether requests are taken."""

    status: str
    version: str
    under_way: int
    places: int
    models: list[str] | None = None
    """Left out where the server wants a token, which this route does not."""
