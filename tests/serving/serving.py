"""The application with a small model, for tests."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from keras_actrec.serving.batching import Batcher
from keras_actrec.serving.predictor import Predictor, default_sliding, open_predictor
from keras_actrec.serving.server import application
from keras_actrec.serving.server.bounds import Bounds
from keras_actrec.serving.server.models import Model, Models

OWN = {"X-Actrec": "test", "Content-Type": "application/octet-stream"}
BOUNDS = {"upload_bytes": 2_000_000, "video_sec": 60.0, "decode_bytes": 400_000_000, "decode_sec": 20.0}


@functools.cache
def predictor_of(run: Path) -> Predictor:
    """A predictor that is opened and traced once for all servers of a session."""
    predictor = open_predictor([run], most_clips=4)
    predictor.warm_up()
    return predictor


def model_of(run: Path, told: application.Counted) -> Model:
    """A model with a thread of its own."""
    predictor = predictor_of(run)
    batcher = Batcher(predictor, wait_sec=0.005, told=lambda rows, seconds: told(run.name, rows, seconds))
    return Model(run.name, predictor, batcher, default_sliding(predictor))


def application_of(*runs: Path, host: str = "127.0.0.1", bounds: dict[str, Any] | None = None, **more: Any) -> FastAPI:
    """The application over runs, with small bounds."""
    settings = {
        "models": lambda told: Models([model_of(run, told) for run in runs]),
        "token": None,
        "workers": 2,
        **more,
    }
    return application.create_app(
        settings.pop("models"), host=host, bounds=Bounds(**(BOUNDS | (bounds or {}))), **settings
    )
