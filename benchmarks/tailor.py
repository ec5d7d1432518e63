"""What tailoring costs per clip, as a share of decoding that clip, on the same files in one run.

    python benchmarks/tailor.py [--check] [--output report.json]

The videos are those of input_pipeline.py (240 x 320, 5 to 10 seconds; short-GOP MPEG-4 AVIs and long-GOP H.264 MP4s),
each with a box file as `boxes` writes them. Frames lie evenly over a video: 16, or 49, which is what MS3D's three
tempos (7, 17 and 25) take together. Timed in turn, clip by clip:

- `decode`: `read_frames` at the shorter side that the network takes, with the file's index known,
- `boxes`: read the box file, average it over 5 frames, find the cut,
- `apply`: Eq. (7) and (8) on the decoded frames, whole,
- `numpy`: the same as three lines of NumPy, which must give the same grey levels,
- `plain`, `tailored`: the whole way from the file to the network's square, without and with tailoring. The cut is taken
  from frames that are decoded the larger for it.

One process, one thread of OpenCV; a ratio is the median over rounds of the quotient within a round. `--check` fails
when boxes and apply together cost more than a quarter of decoding in any cell.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from input_pipeline import HEIGHT, WIDTH, write_videos

from keras_actrec import files
from keras_actrec.data import boxes, decode, tailor
from keras_actrec.data.assemble import Key, assemble
from keras_actrec.data.manifest import Clip
from keras_actrec.data.sampling import select
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import Tailor, View

BAR = 0.25
PARTS = ("decode_ms", "boxes_ms", "apply_ms", "numpy_ms", "plain_ms", "tailored_ms")
WISH = Tailor()
Spent = tuple[float, ...]


def box_file(video: Path, seed: int) -> Path:
    """Write the boxes of somebody who walks to and fro, and is not seen in every tenth frame."""
    path, frames = video.with_suffix(".json"), decode.probe(video).frames
    rng = np.random.default_rng(seed)
    middle = WIDTH / 2 + 60 * np.sin(np.arange(frames) / 20 + seed)
    rows = np.stack([middle - 30, np.full(frames, 50.0), middle + 30, np.full(frames, 220.0)], axis=1)
    rows += rng.normal(scale=2, size=rows.shape)
    rows[::10] = np.nan
    boxes.write(path, rows, HEIGHT, WIDTH)
    return path


def in_numpy(frames: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Eq. (7) and (8) with a factor for each pixel of the clip."""
    (x0, y0, x1, y1), (height, width) = people.T[..., None], frames.shape[1:3]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    beside_x = np.maximum(np.maximum(x0 * width - x, x - x1 * width), 0)
    beside_y = np.maximum(np.maximum(y0 * height - y, y - y1 * height), 0)
    rings = np.ceil(np.maximum(beside_y[:, :, None], beside_x[:, None]) / WISH.ring_px)
    factors = np.where(rings == 0, WISH.enhance, WISH.decay**rings).astype(np.float32)[..., None]
    return np.minimum(np.rint(frames * factors), 255).astype(np.uint8)


def once(video: Path, box_path: Path, count: int, size: int) -> Spent:
    """Return the seconds of decoding, finding the boxes, changing the frames (twice), and of both whole ways."""
    clip, source = Clip(video.name, "any", "train", boxes=box_path.name), VideoSource(video.parent)
    view = View(frames=count, size=size)
    info = decode.probe(video)
    indices = select(info.frames, view)
    clock = [time.perf_counter()]
    frames = decode.read_frames(video, indices, size)
    clock.append(time.perf_counter())
    people = tailor.smooth(boxes.read(box_path, info.frames), WISH.smooth_frames)
    tailor.region(people, WISH.margin, WIDTH / HEIGHT)
    clock.append(time.perf_counter())
    changed = tailor.apply(frames, people[indices], WISH)
    clock.append(time.perf_counter())
    if not np.array_equal(changed, in_numpy(frames, people[indices])):
        raise SystemExit(f"NumPy gives other grey levels of {video.name}")
    clock.append(time.perf_counter())
    assemble(clip, [view], source, Key(0, 0, 0))
    clock.append(time.perf_counter())
    assemble(clip, [dataclasses.replace(view, tailor=WISH)], source, Key(0, 0, 0))
    clock.append(time.perf_counter())
    return tuple(np.diff(clock).tolist())


def cells(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, object]]:
    videos = write_videos(folder, args.videos)
    jobs = {kind: [(path, box_file(path, i)) for i, path in enumerate(paths)] for kind, paths in videos.items()}
    for size in args.sizes:
        for kind, pairs in jobs.items():
            for count in args.frames:
                once(*pairs[0], count, size)
                rounds = [
                    np.mean([once(*pair, count, size) for pair in pairs], axis=0).tolist() for _ in range(args.rounds)
                ]
                medians = [round(1000 * statistics.median(part), 2) for part in zip(*rounds, strict=True)]
                yield {
                    "size": size,
                    "kind": kind,
                    "frames": count,
                    **dict(zip(PARTS, medians, strict=True)),
                    "tailor_to_decode": round(statistics.median((b + a) / d for d, b, a, *_ in rounds), 3),
                    "numpy_to_apply": round(statistics.median(n / a for _, _, a, n, *_ in rounds), 2),
                    "tailored_to_plain": round(statistics.median(t / p for *_, p, t in rounds), 3),
                }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8, help="files per kind")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 49])
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224], help="shorter sides of the frames")
    parser.add_argument("--folder", type=Path, help="keep the videos here and use them again")
    parser.add_argument("--output", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--check", action="store_true", help=f"fail when tailoring costs over {BAR:g} of decoding")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    report = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for cell in cells(args, folder):
            report.append(cell)
            print(
                f"{cell['kind']}, {cell['frames']} frames, short side {cell['size']}: "
                f"decode {cell['decode_ms']:.1f} ms, boxes {cell['boxes_ms']:.2f} ms, apply {cell['apply_ms']:.2f} ms; "
                f"NumPy {cell['numpy_to_apply']:.1f} times that; together {cell['tailor_to_decode']:.1%} of decoding; "
                f"the whole way {cell['tailored_to_plain']:.2f} times",
                flush=True,
            )
    if args.output:
        files.write_json(args.output, report)
    if args.check and any(cell["tailor_to_decode"] > BAR for cell in report):
        print(f"tailoring costs more than {BAR:.0%} of decoding", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
