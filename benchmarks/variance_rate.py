"""What choosing frames by movement costs beside choosing them evenly, per clip, on the same files in one run.

    python benchmarks/variance_rate.py [--root datasets/stick-actions] [--clips 20] [--output report.json]

Three tempos of 7, 17 and 25 frames at 112 pixels are assembled of each clip of a data set, in turn: `uniform`;
`first` (by variance rate, nothing known: the whole clip is decoded once for it); `memory` (known in this process);
`disk` (known from an earlier run). The index of each file is known. The clips are copied first, so that the data set
stays as it is. One process; a ratio is the median over clips and rounds of the quotient of neighbours in time.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sentences import leave

from keras_actrec import files
from keras_actrec.data import motion, motion_store
from keras_actrec.data.assemble import Key, assemble
from keras_actrec.data.manifest import Clip, read_csv
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import Augmentation, View

WAYS = ("uniform", "first", "memory", "disk")


def views(selection: str) -> list[View]:
    names = enumerate((7, 17, 25), start=1)
    return [View(f"tempo{n}", frames=t, selection=selection, augmentation=Augmentation()) for n, t in names]


def copies(root: Path, count: int, folder: Path) -> list[Clip]:
    """Copy training clips that lie evenly over the manifest."""
    clips = [clip for clip in read_csv(root / "manifest.csv", 1) if clip.split == "train"]
    chosen = clips[:: max(1, len(clips) // count)][:count]
    for clip in chosen:
        (folder / clip.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / clip.path, folder / clip.path)
    return chosen


def forget_disk(file: Path) -> None:
    """Empty what is kept on disk."""
    if file.exists():
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DELETE FROM motion")


def once(clip: Clip, source: VideoSource, key: Key) -> list[float]:
    """Return the seconds of each way."""
    seconds = []
    for way in WAYS:
        if way in ("first", "disk"):
            motion.forget()
        wanted = views("uniform" if way == "uniform" else "variance_rate")
        start = time.perf_counter()
        assemble(clip, wanted, source, key)
        seconds.append(time.perf_counter() - start)
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("datasets/stick-actions"))
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        clips, source = copies(args.root, args.clips, Path(temporary)), VideoSource(temporary)
        for number in range(args.rounds + 1):
            forget_disk(motion_store.file_in(Path(temporary)))
            measured = [once(clip, source, Key(0, number, i)) for i, clip in enumerate(clips)]
            rows += measured if number else []  # the first round makes the files' indices known
    report = {}
    for way, seconds in zip(WAYS, zip(*rows, strict=True), strict=True):
        ratio = statistics.median(mine / row[0] for mine, row in zip(seconds, rows, strict=True))
        report[way] = {"ms": round(1000 * statistics.median(seconds), 2), "to_uniform": round(ratio, 3)}
        print(f"{way}: {report[way]['ms']:.1f} ms a clip, {ratio:.2f} times uniform")
    if args.output:
        files.write_json(args.output, report)
    return 0


if __name__ == "__main__":
    leave(main)
