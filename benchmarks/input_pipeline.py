"""How fast clips come off the disk: our reading against four usual ways, on the same files in one run.

    python benchmarks/input_pipeline.py [--check] [--output report.json]

Four cells: 4 and 16 frames, spread evenly over a video, of short-GOP MPEG-4 AVIs and of long-GOP H.264 MP4s (240 x
320, 5 to 10 seconds, written by this script). In each the contestants are

- `seek`: one OpenCV seek per frame, what the released swarm code does (a),
- `opencv`: OpenCV in order, other frames grabbed without conversion, up to the last wanted one (b),
- `pyav`: PyAV in order, converting wanted frames only, up to the last wanted; best of no threads and frame threads (c),
- `decord`: `VideoReader(...).get_batch`, best of num_threads 1 and 0; when resizing also with its own scaler (d),
- `ours`: `read_frames` that sees each file for the first time (its cache of indices is emptied before every clip),
- `again`: the same as in the second epoch, with the file's index known,
- `cache`: the prepared cache (JPEG frames in TFRecords), where frames are resized.

All give the same RGB frames (checked before the clock starts). One process; rounds are interleaved, so that a busy
machine slows all alike; a ratio is the median over rounds of the quotient within a round. `bar` is the best of (a)-(d):
ours is to be at or above it in every cell, the cache at 10 times `seek` or more. CPU time per clip stands beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from keras_actrec import files
from keras_actrec.data import decode
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.sampling import select
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import View

HEIGHT, WIDTH, FPS = 240, 320, 25
KINDS = {"short-GOP avi": (".avi", "mpeg4", 12, 800_000), "long-GOP mp4": (".mp4", "libx264", 250, 0)}
BAR = ("seek", "opencv", "pyav", "decord")
Size = int | None
Contestant = Callable[[Path, np.ndarray, Size], np.ndarray]


def scene(frames: int, seed: int) -> Iterator[np.ndarray]:
    """A camera that wanders over a texture, an object that moves across it, and sensor noise."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (2 * HEIGHT, 2 * WIDTH, 3), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    thing = cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (80, 80), interpolation=cv2.INTER_CUBIC)
    for t in range(frames):
        x, y = int(WIDTH / 2 * (1 + np.sin(t / 40 + seed))), int(HEIGHT / 2 * (1 + np.cos(t / 55)))
        picture = texture[y : y + HEIGHT, x : x + WIDTH].astype(np.int16)
        a, b = int((WIDTH - 80) * (1 + np.sin(t / 15)) / 2), int((HEIGHT - 80) * (1 + np.cos(t / 11)) / 2)
        picture[b : b + 80, a : a + 80] = thing
        yield np.clip(picture + rng.integers(-4, 5, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)


def write_video(path: Path, codec: str, gop: int, bit_rate: int, frames: int, seed: int) -> None:
    with files.publish(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = gop
        if bit_rate:
            stream.bit_rate = bit_rate
        for picture in scene(frames, seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_videos(folder: Path, count: int) -> dict[str, list[Path]]:
    videos = {}
    for kind, (suffix, *options) in KINDS.items():
        lengths = np.linspace(5 * FPS, 10 * FPS, count).astype(int)
        videos[kind] = [folder / f"{i:03d}{suffix}" for i in range(count)]
        for seed, (path, frames) in enumerate(zip(videos[kind], lengths.tolist(), strict=True)):
            if not path.exists():
                write_video(path, *options, frames, seed)
    return videos


def opencv_seek(path: Path, indices: np.ndarray, size: Size) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    for i in indices.tolist():
        capture.set(cv2.CAP_PROP_POS_FRAMES, i)
        frames.append(decode.resize(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB), size))
    capture.release()
    return np.stack(frames)


def opencv_in_order(path: Path, indices: np.ndarray, size: Size) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames, wanted = [], set(indices.tolist())
    for i in range(max(wanted) + 1):
        capture.grab()
        if i in wanted:
            frames.append(decode.resize(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB), size))
    capture.release()
    return np.stack(frames)


def pyav_in_order(path: Path, indices: np.ndarray, size: Size, threads: bool) -> np.ndarray:
    frames, wanted = [], set(indices.tolist())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO" if threads else "NONE"
        for i, frame in enumerate(container.decode(stream)):
            if i in wanted:
                frames.append(decode.resize(frame.to_ndarray(format="rgb24", threads=1), size))
                if len(frames) == len(wanted):
                    break
    return np.stack(frames)


def decord_batch(path: Path, indices: np.ndarray, size: Size, threads: int, own_scaler: bool = False) -> np.ndarray:
    import decord

    shape = dict(zip(("height", "width"), decode.target_size(HEIGHT, WIDTH, size), strict=True)) if own_scaler else {}
    frames = decord.VideoReader(str(path), num_threads=threads, **shape).get_batch(indices).asnumpy()
    return frames if own_scaler else np.stack([decode.resize(frame, size) for frame in frames])


def ours_first(path: Path, indices: np.ndarray, size: Size) -> np.ndarray:
    decode.forget_indices()
    return decode.read_frames(path, indices, size)


def contestants(size: Size) -> dict[str, list[Contestant]]:
    """Name -> its settings, the fastest of which counts."""
    found: dict[str, list[Contestant]] = {
        "seek": [opencv_seek],
        "opencv": [opencv_in_order],
        "pyav": [lambda *job: pyav_in_order(*job, False), lambda *job: pyav_in_order(*job, True)],
        "decord": [lambda *job: decord_batch(*job, 1), lambda *job: decord_batch(*job, 0)],
        "ours": [ours_first],
        "again": [decode.read_frames],
    }
    if size:
        found["decord"] += [lambda *job: decord_batch(*job, 1, True), lambda *job: decord_batch(*job, 0, True)]
    try:
        import decord  # noqa: F401
    except ImportError:
        print("decord is not installed: its column is left out", file=sys.stderr)
        del found["decord"]
    return found


def prepared(videos: Sequence[Path], folder: Path, size: int) -> Contestant:
    from keras_actrec.data.prepared import PreparedSource, prepare

    clips = {path: Clip(path.name, "any", "train") for path in videos}
    manifest = Manifest.from_clips("benchmark", videos[0].parent, 1, clips.values())
    prepare(manifest, VideoSource(videos[0].parent), folder, short_side=size)
    source = PreparedSource(folder)
    return lambda path, indices, _: source.read(clips[path], indices)


def check(jobs: list[tuple[Path, np.ndarray]], size: Size, runners: dict[str, list[Contestant]]) -> None:
    """All must give the same frames; JPEG and decord's scaler may differ a little."""
    for path, indices in jobs[:3]:
        expected = opencv_in_order(path, indices, size).astype(int)
        for name, settings in runners.items():
            for run in settings:
                difference = np.abs(run(path, indices, size) - expected).mean()
                if difference > 8:
                    raise SystemExit(f"{name} gives other frames of {path.name}: mean difference {difference:.1f}")


def measure(
    jobs: list[tuple[Path, np.ndarray]], size: Size, runners: dict[str, list[Contestant]], rounds: int
) -> dict[str, list[list[tuple[float, float]]]]:
    """Return name -> setting -> round -> (wall, CPU) seconds per clip."""
    times: dict[str, list[list[tuple[float, float]]]] = {name: [[] for _ in s] for name, s in runners.items()}
    order = [(name, i) for name, settings in runners.items() for i in range(len(settings))]
    for turn in range(rounds):
        for name, i in order[turn % len(order) :] + order[: turn % len(order)]:
            run = runners[name][i]
            wall, cpu = time.perf_counter(), time.process_time()
            for path, indices in jobs:
                run(path, indices, size)
            spent = (time.perf_counter() - wall) / len(jobs), (time.process_time() - cpu) / len(jobs)
            times[name][i].append(spent)
    return times


def summary(times: dict[str, list[list[tuple[float, float]]]]) -> dict[str, object]:
    """Medians of the best setting of each, and the ratios within rounds."""
    walls = {
        name: min(([w for w, _ in s] for s in settings), key=statistics.median) for name, settings in times.items()
    }
    cpus = {name: min(statistics.median(c for _, c in s) for s in settings) for name, settings in times.items()}
    best = min((name for name in BAR if name in walls), key=lambda name: statistics.median(walls[name]))

    def ratio(name: str, other: str) -> float:
        return round(statistics.median(b / a for a, b in zip(walls[name], walls[other], strict=True)), 3)

    result = {
        "clips_per_sec": {name: round(1 / statistics.median(wall), 1) for name, wall in walls.items()},
        "cpu_ms_per_clip": {name: round(1000 * cpu, 2) for name, cpu in cpus.items()},
        "best_other": best,
        "ours_to_bar": ratio("ours", best),
        "again_to_bar": ratio("again", best),
        "ours_to_bar_cpu": round(min(cpus[name] for name in BAR if name in cpus) / cpus["ours"], 3),
    }
    if "cache" in walls:
        result["cache_to_seek"] = ratio("cache", "seek")
    return result


def cells(args: argparse.Namespace, folder: Path, temporary: Path) -> Iterator[dict[str, object]]:
    videos = write_videos(folder, args.videos)
    caches = {kind: prepared(paths, temporary / f"cache{paths[0].suffix}", args.size) for kind, paths in videos.items()}
    for size in (None, args.size):
        for kind, paths in videos.items():
            for count in args.frames:
                view = View(frames=count)
                jobs = [(path, select(decode.probe(path).frames, view)) for path in paths]
                runners = contestants(size) | ({"cache": [caches[kind]]} if size else {})
                check(jobs, size, runners)
                yield {
                    "size": size,
                    "kind": kind,
                    "frames": count,
                    **summary(measure(jobs, size, runners, args.rounds)),
                }


def show(cell: dict[str, object]) -> None:
    rates, cpu = cell["clips_per_sec"], cell["cpu_ms_per_clip"]
    size = f"short side {cell['size']}" if cell["size"] else "full size"
    line = (
        f"{cell['kind']}, {cell['frames']} frames, {size}: ours {cell['ours_to_bar']:.2f} x bar ({cell['best_other']}),"
    )
    line += f" again {cell['again_to_bar']:.2f} x"
    if "cache_to_seek" in cell:
        line += f", cache {cell['cache_to_seek']:.1f} x seek"
    print(line)
    print("  clips/s     " + "".join(f"{name:>9} {rate:>8.1f}" for name, rate in rates.items()))
    print("  CPU ms/clip " + "".join(f"{name:>9} {ms:>8.2f}" for name, ms in cpu.items()), flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20, help="files per kind")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--size", type=int, default=112, help="shorter side of the resized frames and of the cache")
    parser.add_argument("--folder", type=Path, help="keep the videos here and use them again")
    parser.add_argument("--output", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--check", action="store_true", help="fail when ours is below the bar or the cache below 10 x")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    with tempfile.TemporaryDirectory() as temporary:
        found = []
        for cell in cells(args, args.folder or Path(temporary), Path(temporary)):
            show(cell)
            found.append(cell)
    if args.output:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "av": av.__version__, "opencv": cv2.__version__}
        files.write_json(args.output, {"cells": found, "machine": machine})
        print(json.dumps({"output": str(args.output)}))
    slow = [c for c in found if c["ours_to_bar"] < 1 or c.get("cache_to_seek", 10) < 10]
    print(f"{len(found) - len(slow)} of {len(found)} cells at or above the bar")
    return 1 if args.check and slow else 0


if __name__ == "__main__":
    sys.exit(main())
