"""A process that leaves an iterator in the middle of an epoch still ends with its own exit code."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keras_actrec.data.quiesce import Workers

SCRIPT = """
import sys, time
import numpy as np
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.views import View

class Source:
    def probe(self, clip):
        return VideoInfo(12, 25.0, 16, 16, 0)
    def read(self, clip, indices, size=None, modality="rgb"):
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:  # holds the interpreter, as Python code does
            pass
        return np.zeros((len(indices), 16, 16, 3), np.uint8)

clips = [Clip(f"{n}.avi", "jump", "train") for n in range(2000)]
left = []
for workers in (2, 4, 8, 8):
    loader = Loader(clips, ("jump",), (View(frames=2, size=16),), Source(), batch_size=64, seed=0, shuffle=True,
                    quarantine=Quarantine(), workers=workers)
    left.append(iter(loader.dataset()))
    next(left[-1])
sys.exit(5)
"""


def test_closing_waits_for_what_is_in_progress_and_turns_the_rest_away() -> None:
    workers, inside, finished = Workers(), threading.Event(), []

    def work() -> None:
        with workers.call():
            inside.set()
            time.sleep(0.3)
            finished.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    workers.close()
    assert finished == [True]
    with pytest.raises(RuntimeError, match="ending"), workers.call():
        finished.append(False)
    assert finished == [True]
    thread.join()


def test_a_worker_that_raises_is_counted_out() -> None:
    workers = Workers()
    with pytest.raises(ZeroDivisionError), workers.call():
        raise ZeroDivisionError
    begun = time.monotonic()
    workers.close()
    assert time.monotonic() - begun < 5


def test_abandoned_iterators_leave_the_exit_code_alone(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    script = tmp_path / "leave.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 5, done.stderr[-2000:]
    assert "AutoGraph" not in done.stderr
