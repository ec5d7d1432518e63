"""Fixtures of the tests of inspections: one MongoDB for the session, and videos as people have them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

CODECS = {".mp4": ("libx264", "yuv420p"), ".avi": ("mpeg4", "yuv420p"), ".mkv": ("ffv1", "gray")}


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The address of a MongoDB that is there for the session."""
    if importlib.util.find_spec("fiftyone") is None:
        pytest.skip("needs FiftyOne: pip install -c requirements.txt 'keras_actrec[fiftyone]'")
    from keras_actrec.data.fiftyone_sets import mongo

    with mongo.running() as uri:
        yield uri


@pytest.fixture(scope="session")
def fiftyone(address: str) -> Iterator[Any]:
    """FiftyOne, connected to it. The address stays out of the environment, which other tests share."""
    from keras_actrec.data.fiftyone_sets import connection

    connection.prepare()
    import fiftyone

    fiftyone.config.database_uri = address
    with connection.database(own=False) as connected:
        yield connected
        connection.disconnect()


@pytest.fixture(scope="session")
def film() -> Callable[..., Path]:
    """Write a video whose frame i is grey of the value 16 (i mod 16); times, in frames, may be uneven."""

    def write(path: Path, frames: int = 12, size: tuple[int, int] = (48, 64), times: list[int] | None = None) -> Path:
        codec, pixels = CODECS[path.suffix]
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=12)
            stream.height, stream.width, stream.pix_fmt = *size, pixels
            for number in range(frames):
                picture = np.full((*size, 3), 16 * (number % 16), np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                if times is not None:
                    from fractions import Fraction

                    frame.pts, frame.time_base = times[number], Fraction(1, 12)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write
