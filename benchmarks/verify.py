"""How fast `verify --deep` goes through a data set, beside decoding it in parallel and nothing else.

    python benchmarks/verify.py [--clips 1000 --rounds 3] [--root datasets/stick-actions] [--check]

The clips are those of input_pipeline.py (240 x 320, 5 to 10 s, short-GOP MPEG-4 AVIs and long-GOP H.264 MP4s), each a
link to one of a few files, all of one split; or those of the data set at `--root`.

- `plain`: as many processes as `verify` has workers, each of which opens a file with PyAV, decodes every frame in one
  thread, drops it, and takes the next.
- `verify`: the whole of `verify --deep` on the same clips: guarded workers, index, strict decoding, digests, perceptual
  hashes, the search for duplicates, results and receipt written.

Both start their processes within the measured time, and take turns. The ratio is the median over rounds of quotients
within a round: plain seconds by verify's, of wall-clock time and of processor time. On a busy machine the former says
little, as the system shares cores out by sessions, of which each guarded worker is one. `--check` fails when the
smaller of both is below 0.9.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
from input_pipeline import write_videos
from sentences import leave

from keras_actrec.data.manifest import Clip, Manifest, read_csv
from keras_actrec.data.threads import default_workers
from keras_actrec.data.verification import receipt
from keras_actrec.data.verification.verifying import Settings
from keras_actrec.training.verify_command import verify

BAR = 0.9
VIDEOS = 10
"""Different files per kind."""
Times = tuple[float, float]


def decode(path: str) -> int:
    """Decode every frame of a file and return their number."""
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def data_set(root: Path, count: int) -> Manifest:
    clips = read_csv(root / "manifest.csv", 1)
    return Manifest.from_clips("benchmark", root, 1, clips[:: max(1, len(clips) // count)][:count])


def written(folder: Path, count: int) -> Manifest:
    kinds = write_videos(folder, VIDEOS).values()
    sources = [path for paths in kinds for path in paths]
    names = [f"clip{number:05d}{sources[number % len(sources)].suffix}" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).hardlink_to(sources[number % len(sources)])
    return Manifest.from_clips("benchmark", folder, 1, [Clip(name, "any", "train") for name in names])


def plain(manifest: Manifest, workers: int) -> int:
    paths = [str(manifest.root / clip.path) for clip in manifest.clips]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        frames = sum(pool.imap_unordered(decode, paths, chunksize=4))
        pool.close()
        pool.join()  # their processor time counts when they have ended
    return frames


def verified(manifest: Manifest, workers: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(deep=True, wanted=("rgb",), workers=workers)
        found = verify(manifest, settings, Path(folder) / "verified.jsonl")
        receipt.write(Path(folder), manifest, found)
    return found["decodable"]


def timed(action: Callable[[], int]) -> Times:
    """Return wall-clock and processor seconds, those of ended children included."""
    wall, before = time.perf_counter(), os.times()
    action()
    after = os.times()
    return time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])


def measure(manifest: Manifest, workers: int, rounds: int) -> dict[str, list[Times]]:
    sides = {"plain": lambda: plain(manifest, workers), "verify": lambda: verified(manifest, workers)}
    times: dict[str, list[Times]] = {name: [] for name in sides}
    plain(manifest, workers)  # so that both find the files in memory
    for turn in range(rounds):
        for name in sorted(sides, reverse=turn % 2 == 1):
            times[name].append(timed(sides[name]))
    return times


def ratio(times: dict[str, list[Times]], kind: int) -> float:
    quotients = [p[kind] / v[kind] for p, v in zip(times["plain"], times["verify"], strict=True)]
    return statistics.median(quotients)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder with a manifest.csv")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        manifest = data_set(args.root, args.clips) if args.root else written(Path(folder), args.clips)
        times = measure(manifest, args.workers, args.rounds)
    print(f"{len(manifest.clips)} clips, {args.workers} workers, {args.rounds} rounds")
    for name, rows in times.items():
        walls = ", ".join(f"{wall:.1f}" for wall, _ in rows)
        print(f"{name:>7}: {walls} s; processor time {', '.join(f'{cpu:.1f}' for _, cpu in rows)} s")
    wall, cpu = ratio(times, 0), ratio(times, 1)
    print(f"verify --deep has {wall:.2f} of the speed of plain decoding ({cpu:.2f} by processor time)")
    return int(args.check and min(wall, cpu) < BAR)


if __name__ == "__main__":
    leave(main)
