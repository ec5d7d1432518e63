"""How many copies of videos the perceptual hashes of `verify` find, and how many others they take for copies.

    python benchmarks/near_duplicates.py [--root datasets/stick-actions --clips 60] [--only encoded cropped]

Clips of the data set, drawn by a seed, are filmed anew by the program ffmpeg in each of the ways of `COPIES`, and
looked for among all clips: by their ends (the default of `verify`) and along their quarter-seconds (`--deep`). `others`
are found pairs of different groups, in which nobody has copied anything.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sentences import leave

from keras_actrec.data.guarded import Limits
from keras_actrec.data.manifest import Clip, read_csv
from keras_actrec.data.threads import default_workers
from keras_actrec.data.verification import checks, near

COPIES = {
    "encoded": ["-crf", "32"],
    "scaled": ["-vf", "scale=trunc(iw/4)*2:trunc(ih/4)*2", "-crf", "28"],
    "brighter": ["-vf", "eq=brightness=0.1:contrast=1.2"],
    "slower": ["-r", "15"],
    "cropped 3 %": ["-vf", "crop=trunc(iw*0.97/2)*2:trunc(ih*0.97/2)*2"],
    "cropped 5 %": ["-vf", "crop=trunc(iw*0.95/2)*2:trunc(ih*0.95/2)*2"],
    "cropped 10 %": ["-vf", "crop=trunc(iw*0.9/2)*2:trunc(ih*0.9/2)*2"],
    "without 0.3 s": ["-ss", "0.3"],
    "without 0.4 s": ["-ss", "0.4"],
    "mirrored": ["-vf", "hflip"],
}
Facts = dict[str, near.Hashes]


def facts(path: Path) -> Facts:
    return checks.video(str(path), Limits(), True, False, True, {})


def copied(job: tuple[Path, Path, list[str]]) -> Facts:
    source, target, options = job
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-c:v", "libx264", *options, str(target)]
    subprocess.run(command, check=True, timeout=600)
    return facts(target)


def found(copies: list[Facts], originals: list[Facts], truth: list[int], groups: list[str], kind: str) -> str:
    search = near.by_ends if kind == "ends" else near.by_steps
    pairs = search([one[kind] for one in copies], [one[kind] for one in originals])
    own = sum(pair.second == truth[pair.first] for pair in pairs)
    others = sum(groups[pair.second] != groups[truth[pair.first]] for pair in pairs)
    return f"{own:>4} of {len(copies)}, {others} others"


def measure(root: Path, clips: Sequence[Clip], drawn: list[int], wanted: Sequence[str]) -> None:
    groups = [clip.group for clip in clips]
    with concurrent.futures.ProcessPoolExecutor(default_workers()) as pool, tempfile.TemporaryDirectory() as folder:
        originals = list(pool.map(facts, [root / clip.path for clip in clips], chunksize=16))
        for name in wanted:
            jobs = [(root / clips[i].path, Path(folder) / f"{i}.mp4", COPIES[name]) for i in drawn]
            copies = list(pool.map(copied, jobs))
            told = (found(copies, originals, drawn, groups, kind) for kind in ("ends", "steps"))
            print(f"{name:>14}  default {next(told)}   --deep {next(told)}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("datasets/stick-actions"), help="folder with a manifest.csv")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(COPIES), default=list(COPIES), metavar="COPY")
    args = parser.parse_args(argv)
    clips = read_csv(args.root / "manifest.csv", 1)
    if args.clips > len(clips):
        parser.error(f"--clips {args.clips} are more than the {len(clips)} of {args.root}")
    drawn = np.random.default_rng(args.seed).choice(len(clips), args.clips, replace=False).tolist()
    measure(args.root, clips, drawn, args.only)
    return 0


if __name__ == "__main__":
    leave(main)
