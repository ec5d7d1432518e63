"""Renders the data set: in several processes, from where it was interrupted, each file whole or absent."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras_actrec
from keras_actrec import files
from keras_actrec.config import StickActions
from keras_actrec.data.manifest import write_csv
from keras_actrec.data.synthetic import receipt
from keras_actrec.data.synthetic.plan import Shot, manifest_folds, plan
from keras_actrec.data.synthetic.receipt import Receipt
from keras_actrec.data.synthetic.worker import is_complete, render_shot
from keras_actrec.errors import UserError

Progress = Callable[[int, int], None]
"""Called with the number of clips that are there and that there are to be, after every few clips."""

MANIFEST = "manifest.csv"
TRUTH = "unlabelled_labels.csv"
_SHOTS_PER_ORDER = 4
_SMALLEST_SHARE = 24
_LOCK_TIMEOUT_SEC = 3600.0


def ensure(
    root: str | os.PathLike[str], settings: StickActions, progress: Progress | None = None, workers: int | None = None
) -> Path:
    """Render the data set unless it is there, and return its root.

    A folder that was rendered in part is completed; one that holds anything else is refused and left alone. Two
    processes that want the same folder take turns. The files depend on the settings alone, not on `workers`.

    Args:
        root: folder; made when it does not exist.
        settings: clips per class, difficulty and seed.
        progress: called with (clips there, clips in all).
        workers: processes; None: one per core.

    Raises:
        UserError: the folder holds another rendering or other files, or the settings are too small for three folds.
    """
    root = Path(root)
    if _is_done(root, receipt.read(root, settings)):
        return root
    shots = plan(settings)
    root.mkdir(parents=True, exist_ok=True)
    with _turn(root):
        if not _is_done(root, receipt.read(root, settings)):
            Receipt(settings).write(root)
            _sweep(root)
            _render(root, settings, shots, progress, workers or _cores())
            _finish(root, settings, shots)
    return root


def _is_done(root: Path, found: Receipt | None) -> bool:
    manifest = root / MANIFEST
    complete = found is not None and found.complete and manifest.is_file()
    return complete and files.sha256(manifest) == found.manifest_sha256


def _render(root: Path, settings: StickActions, shots: Sequence[Shot], progress: Progress | None, workers: int) -> None:
    missing = [shot for shot in shots if not all(is_complete(root, output) for output in shot.outputs)]
    total, lost = _clips(shots), _clips(missing)
    done = total - lost
    batches = [missing[start : start + _SHOTS_PER_ORDER] for start in range(0, len(missing), _SHOTS_PER_ORDER)]
    workers = min(workers, -(-len(missing) // _SMALLEST_SHARE))
    rendered = _by_processes(root, settings, batches, workers) if workers > 1 else _here(root, settings, batches)
    with contextlib.closing(rendered):
        for batch in rendered:
            done += _clips(batch)
            if progress is not None:
                progress(done, total)


def _clips(shots: Sequence[Shot]) -> int:
    return sum(len(shot.outputs) for shot in shots)


def _here(root: Path, settings: StickActions, batches: Sequence[Sequence[Shot]]) -> Iterator[Sequence[Shot]]:
    for batch in batches:
        for shot in batch:
            render_shot(root, settings, shot)
        yield batch


def _by_processes(
    root: Path, settings: StickActions, batches: Sequence[Sequence[Shot]], workers: int
) -> Iterator[Sequence[Shot]]:
    """Keep worker processes busy, each served by a thread; yield batches as they are finished.

    Workers are programs of their own rather than forks or spawned copies: a fork of a process that runs TensorFlow is
    not safe, and a spawned copy would import the caller's main module, and TensorFlow with it, once per worker.
    """
    orders: queue.SimpleQueue = queue.SimpleQueue()
    answers: queue.SimpleQueue = queue.SimpleQueue()
    for batch in batches:
        orders.put(batch)
    header = {"root": str(root.resolve()), "settings": settings.model_dump(mode="json")}
    processes: list[subprocess.Popen] = []
    try:
        for _ in range(workers):
            processes.append(_start())
            threading.Thread(target=_serve, args=(processes[-1], header, orders, answers), daemon=True).start()
        for _ in batches:
            answer = answers.get()
            if isinstance(answer, Exception):
                raise answer
            yield answer
    finally:
        for process in processes:
            _stop(process)


def _start() -> subprocess.Popen:
    """Start a worker; it finds this very package, wherever the caller's came from."""
    package = str(Path(keras_actrec.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "keras_actrec.data.synthetic"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )


def _serve(process: subprocess.Popen, header: dict, orders: queue.SimpleQueue, answers: queue.SimpleQueue) -> None:
    """Hand batches to one worker until none is left; an answer is the batch, or the error that ended the worker."""
    try:
        _send(process, header)
        while True:
            batch = orders.get_nowait()
            _send(process, [shot.index for shot in batch])
            if process.stdout.readline().strip() != "done":
                raise OSError("no answer; its own message stands above")
            answers.put(batch)
    except queue.Empty:
        return
    except (OSError, ValueError) as error:
        answers.put(RuntimeError(f"a process that renders {receipt.GENERATOR} ended early: {error}"))


def _send(process: subprocess.Popen, order: object) -> None:
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()


def _stop(process: subprocess.Popen) -> None:
    """End a worker; one that is idle ends by itself when its input is closed."""
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=30)
    process.stdout.close()


def _finish(root: Path, settings: StickActions, shots: Sequence[Shot]) -> None:
    """Write manifest, split lists and hidden labels; the receipt last."""
    folds = manifest_folds(settings, shots)
    write_csv(root / MANIFEST, folds)
    _write_truth(root, shots)
    labels = sorted({clip.label for clip in folds[0] if clip.split in ("train", "test")})
    lists = root / "lists"
    files.write_text(lists / "classInd.txt", "".join(f"{index} {name}\n" for index, name in enumerate(labels, 1)))
    for number, clips in enumerate(folds, start=1):
        for split in ("train", "test"):
            rows = [(clip.path.removeprefix("videos/"), clip.label) for clip in clips if clip.split == split]
            lines = [f"{path} {labels.index(label) + 1}" if split == "train" else path for path, label in rows]
            files.write_text(lists / f"{split}list{number:02d}.txt", "\n".join(lines) + "\n")
    counts = dict(sorted(Counter(clip.split for clip in folds[0]).items()))
    Receipt(settings, True, files.sha256(root / MANIFEST), counts).write(root)


def _write_truth(root: Path, shots: Sequence[Shot]) -> None:
    """Write what the unlabelled clips show, to measure pseudo-labels against; training must not read it."""
    hidden = [output for shot in shots if shot.part == "unlabelled" for output in shot.outputs]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label"])
    writer.writerows(sorted((output.path, output.label) for output in hidden))
    files.write_text(root / TRUTH, text.getvalue())


def _sweep(root: Path) -> None:
    """Remove the temporary files of a rendering that was killed; the caller holds the lock, so they are nobody's."""
    for leftover in root.glob("**/.*-????????.*"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Hold the folder's lock; the operating system frees it when its holder dies."""
    import fcntl

    deadline = time.monotonic() + _LOCK_TIMEOUT_SEC
    with (root / receipt.LOCK).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{root} has been locked by another rendering for {_LOCK_TIMEOUT_SEC / 60:.0f} minutes; "
                        "end that process and try again."
                    ) from None
                time.sleep(0.2)
        yield


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
