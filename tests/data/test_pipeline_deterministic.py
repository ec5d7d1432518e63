"""The loader where TensorFlow was asked for determinism: it still decodes in parallel and ahead, and gives the bytes.

Determinism cannot be taken back, so a process of its own tells what it saw.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from numbered import PLAIN, STRONG, FakeSource, clips, digest, epoch_of, loader

from keras_actrec.data.manifest import Clip
from keras_actrec.data.views import View

TOGETHER, PATIENCE_SEC, EXIT_CODE = 3, 60, 5


class MeetingSource(FakeSource):
    """A read ends once so many are in progress at the same time; it raises if they do not meet."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = threading.Barrier(TOGETHER, timeout=PATIENCE_SEC)

    def read(self, clip: Clip, indices: np.ndarray, size: object = None, modality: str = "rgb") -> np.ndarray:
        self.barrier.wait()
        return super().read(clip, indices, size, modality)


class CountedSource(FakeSource):
    """Tells when so many reads have begun."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.wanted, self.reached = wanted, threading.Event()

    def read(self, clip: Clip, indices: np.ndarray, size: object = None, modality: str = "rgb") -> np.ndarray:
        frames = super().read(clip, indices, size, modality)
        if len(self.reads) >= self.wanted:
            self.reached.set()
        return frames


def bytes_of_epochs(workers: int) -> list[list[str]]:
    """Return hashes of the batches of epochs 2 and 0, for all that draws: frames, changes, shuffling, MixUp, rounds."""
    view = View(frames=4, size=16, selection="random_run", augmentation=STRONG)
    made = [
        loader(views=(view,), workers=workers, source=FakeSource(slow=True), **options)
        for options in ({}, {"mixup": 0.4}, {"examples": 18})
    ]
    return [
        [hashlib.sha256(batch).hexdigest() for batch in digest(epoch_of(one, epoch))]
        for one in made
        for epoch in (2, 0)
    ]


def met(evaluation: bool) -> int:
    """Return how many clips were read, each while two others were."""
    one = loader(clips(12), MeetingSource(), views=(PLAIN,), workers=TOGETHER)
    data = one.evaluation_dataset() if evaluation else one.dataset()
    return sum(len(last) for _, last in data.as_numpy_iterator())


def made_ahead() -> bool:
    """Return whether, after the first batch of two clips was taken, whole batches are made that nobody asked for.

    Two threads that only kept themselves busy would have read four clips: two that were taken and two that wait.
    """
    source = CountedSource(7)
    iterator = iter(loader(clips(90), source, batch_size=2, workers=2).dataset())
    next(iterator)
    return source.reached.wait(PATIENCE_SEC)


def tell(out: str) -> None:
    """Write down what is seen with determinism, and end in the middle of an epoch."""
    from keras_actrec.training import distribution

    distribution.make_deterministic()
    busy = FakeSource(slow=True)
    epoch_of(loader(source=busy, workers=4), 0)
    one = loader()
    epochs = [digest(list(one.dataset().as_numpy_iterator())) for epoch in (0, 1) if one.set_epoch(epoch) is None]
    seen = {
        "bytes": {workers: bytes_of_epochs(workers) for workers in (1, 4)},
        "met": {"training": met(False), "evaluation": met(True)},
        "ahead": made_ahead(),
        "most_inside": busy.most_inside,
        "epochs_differ": epochs[0] != epochs[1],
    }
    Path(out).write_text(json.dumps(seen))
    half = iter(loader(clips(200), FakeSource(slow=True), workers=8).dataset())
    next(half)
    sys.exit(EXIT_CODE)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("deterministic") / "seen.json"
    program = f"import test_pipeline_deterministic as here; here.tell({str(out)!r})"
    folders = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["KERAS_BACKEND"] = "tensorflow"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == EXIT_CODE, done.stderr[-3000:]
    return json.loads(out.read_text())


def test_clips_are_decoded_side_by_side(seen: dict) -> None:
    assert seen["met"] == {"training": 12, "evaluation": 12}
    assert seen["most_inside"] > 1


def test_batches_are_made_ahead(seen: dict) -> None:
    assert seen["ahead"]


def test_the_bytes_are_those_without_determinism_for_any_number_of_workers(seen: dict) -> None:
    expected = bytes_of_epochs(workers=2)
    assert seen["bytes"] == {"1": expected, "4": expected}
    assert all(expected[n] != expected[n + 1] for n in range(0, len(expected), 2))


def test_an_iterator_follows_the_epoch(seen: dict) -> None:
    assert seen["epochs_differ"]
