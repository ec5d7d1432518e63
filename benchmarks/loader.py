"""How fast the training's input pipeline gives batches, with and without determinism, beside how it would be otherwise.

    python benchmarks/loader.py [--wait-ms 100 --workers 8] [--check] [--output report.json]

The videos are those of input_pipeline.py (240 x 320, short-GOP MPEG-4 AVIs and long-GOP H.264 MP4s), read as
`data.pipeline.Loader` reads them for training: random frames, cut and changed, in batches. Determinism cannot be taken
back within a process, so there is one process with it and one without. All contestants take their turns, one at a time,
in each round:

- `plain`, `deterministic`: the loader as it is, with a worker per core, without and with
  `training.deterministic` (TensorFlow's `enable_op_determinism`),
- `plain, state`, `deterministic, state`: the loader whose Python functions are not declared free of state,
- `deterministic, one`: a single worker.

`read` is an epoch that does nothing with its batches; `train` waits after each batch for as long as `plain` needs to
read one, as for a step on an accelerator. Ratios are medians over rounds of quotients within a round. `waiting` is how
much longer `train` takes than its steps alone. With `--wait-ms` each read first waits for so long, as for a distant
disk: then workers, not cores, set the pace, and a busy machine disturbs less. `--check` fails when `deterministic`
needs more than 1.15 times as long as `plain`.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from input_pipeline import write_videos

from keras_actrec import files
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.data.threads import default_workers
from keras_actrec.data.views import Augmentation, View

BAR = 1.15
CHANGES = Augmentation(zoom=0.1, rotation_deg=8, shift=0.2, flip=0.5)
Seconds = dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A way to read.

    Attributes:
        deterministic: ask TensorFlow for determinism.
        workers: of the loader.
        state: leave it to TensorFlow's default that Python functions have state.
    """

    deterministic: bool
    workers: int
    state: bool = False


class DistantSource(VideoSource):
    """Videos on a disk that takes its time."""

    def __init__(self, root: Path, wait_sec: float) -> None:
        super().__init__(root)
        self._wait_sec = wait_sec

    def read(self, *wish: object) -> np.ndarray:
        """Wait, then read (see `VideoSource`)."""
        time.sleep(self._wait_sec)
        return super().read(*wish)


def contestants(workers: int) -> dict[str, Contestant]:
    return {
        "plain": Contestant(False, workers),
        "deterministic": Contestant(True, workers),
        "deterministic, one": Contestant(True, 1),
        "plain, state": Contestant(False, workers, state=True),
        "deterministic, state": Contestant(True, workers, state=True),
    }


def serve(pipe: Connection, team: dict[str, Contestant], paths: list[Path], args: argparse.Namespace) -> None:
    """In a process of its own: for each (name, step's seconds) that comes, give back the seconds of an epoch.

    None ends it. All contestants of a team agree on determinism.
    """
    import tensorflow as tf

    if any(contestant.deterministic for contestant in team.values()):
        tf.config.experimental.enable_op_determinism()
    data = {name: dataset(contestant, paths, args) for name, contestant in team.items()}
    for epoch in data.values():
        list(epoch)  # the files' indices, and TensorFlow's start
    pipe.send(None)
    while (wish := pipe.recv()) is not None:
        name, step = wish
        begun = time.perf_counter()
        for _ in data[name]:
            time.sleep(step)
        pipe.send(time.perf_counter() - begun)


def dataset(contestant: Contestant, paths: list[Path], args: argparse.Namespace) -> Iterable:
    import tensorflow as tf

    from keras_actrec.data import pipeline
    from keras_actrec.data.quarantine import Quarantine

    loader = pipeline.Loader(
        [Clip(path.name, "any", "train") for path in paths],
        ["any"],
        [View(frames=args.frames, size=args.size, selection="random_run", augmentation=CHANGES)],
        DistantSource(paths[0].parent, args.wait_ms / 1000),
        batch_size=args.batch,
        seed=0,
        shuffle=True,
        quarantine=Quarantine(),
        workers=contestant.workers,
        examples=args.batch * args.steps,
    )
    ours = pipeline._call
    if contestant.state:
        pipeline._call = tf.numpy_function
    made = loader.dataset()
    pipeline._call = ours
    return made


def measure(pipes: dict[str, Connection], args: argparse.Namespace) -> tuple[Seconds, Seconds, float]:
    """Return seconds of each round's epoch, read only and with steps, and the seconds of a step."""

    def epoch(name: str, step: float) -> float:
        pipes[name].send((name, step))
        return pipes[name].recv()

    step = statistics.median(epoch("plain", 0) for _ in range(3)) / args.steps
    read: Seconds = {name: [] for name in pipes}
    train: Seconds = {name: [] for name in pipes}
    names = list(pipes)
    for turn in range(args.rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            read[name].append(epoch(name, 0))
            train[name].append(epoch(name, step))
    return read, train, step


def ratio(times: Seconds, name: str, other: str) -> float:
    return round(statistics.median(a / b for a, b in zip(times[name], times[other], strict=True)), 3)


def run(args: argparse.Namespace, paths: list[Path]) -> dict[str, object]:
    context = multiprocessing.get_context("spawn")
    everybody, pipes, processes = contestants(args.workers), {}, []
    for deterministic in (False, True):
        team = {name: one for name, one in everybody.items() if one.deterministic == deterministic}
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, team, paths, args), daemon=True))
        processes[-1].start()
        theirs.close()  # so that the end of the process is seen
        ours.recv()
        pipes |= dict.fromkeys(team, ours)
    read, train, step = measure(pipes, args)
    for pipe, process in zip(dict.fromkeys(pipes.values()), processes, strict=True):
        pipe.send(None)
        process.join()
    steps = step * args.steps
    return {
        "workers": args.workers,
        "step_sec": round(step, 4),
        "clips_per_sec": {n: round(args.batch * args.steps / statistics.median(t), 1) for n, t in read.items()},
        "read_to_plain": {name: ratio(read, name, "plain") for name in read},
        "train_to_plain": {name: ratio(train, name, "plain") for name in train},
        "waiting": {name: round(statistics.median(times) / steps - 1, 3) for name, times in train.items()},
    }


def show(report: dict[str, object]) -> None:
    print(f"{report['workers']} workers; a step is {1000 * report['step_sec']:.0f} ms")
    print(f"{'':>22}{'clips/s':>10}{'read':>8}{'train':>8}{'waiting':>9}")
    for name, rate in report["clips_per_sec"].items():
        read, train, waiting = (report[key][name] for key in ("read_to_plain", "train_to_plain", "waiting"))
        print(f"{name:>22}{rate:>10.1f}{read:>8.2f}{train:>8.2f}{waiting:>9.0%}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8, help="files per kind")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12, help="batches per epoch")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--wait-ms", type=float, default=0, help="each read waits for so long, as for a distant disk")
    parser.add_argument("--folder", type=Path, help="keep the videos here and use them again")
    parser.add_argument("--output", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--check", action="store_true", help=f"fail when determinism costs more than {BAR:g} times")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = run(args, [path for paths in write_videos(folder, args.videos).values() for path in paths])
    show(report)
    if args.output:
        files.write_json(args.output, {**report, "machine": {"cores": os.cpu_count(), "load": os.getloadavg()}})
    slow = max(report["read_to_plain"]["deterministic"], report["train_to_plain"]["deterministic"])
    if args.check and slow > BAR:
        print(f"with determinism an epoch takes {slow:.2f} times as long", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
