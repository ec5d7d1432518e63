"""Exports of runs side by side: difference to the original, size, and how long a clip takes; for docs/export.md.

    python benchmarks/export.py RUN... [--write]     # --write puts the table into docs/export.md

Each run is exported in every format, also LiteRT in 8 bit, and compared on all its test clips (`--clips`). Then the
original and all exports run on the same clips in turn, round by round, each with the threads that its runtime takes by
itself; a ratio is the median over rounds of the quotient within a round. Batches of one clip.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentences import leave

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "export.md"
BEGIN, END = "<!-- python benchmarks/export.py --write: begin -->", "<!-- end -->"
FORMATS = (("saved_model", False), ("onnx", False), ("litert", False), ("litert", True))
CALIBRATION_CLIPS = 100
HEAD = ("network", "format", "largest difference of a probability", "top-1", "size", "time of a clip")


def rows_of(path: Path, clips: int, rounds: int) -> list[tuple[str, ...]]:
    """Export a run in every format and return the table's rows."""
    from keras_actrec.serving import export, export_clips, export_folder, export_run

    run = export_run.open_run(path)
    test, train = export_clips.read(run, "test", clips), export_clips.read(run, "train", CALIBRATION_CLIPS)
    runners: dict[str, Callable[..., Any]] = {"original": export.original(run)}
    facts = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, int8 in FORMATS:
            wish = export_folder.Wish(name, train if int8 else None, test)
            facts[wish.folder] = export_folder.write(run, wish, Path(folder))
            runners[wish.folder], _ = export_folder.open_export(Path(folder) / wish.folder, name)
        ratios = measure(runners, list(test.batches(1))[:16], rounds)
    size = (path / "model.keras").stat().st_size / 1e6
    before = next(iter(facts.values()))["comparison"]["correct"]["original"]
    rows = [(run.config.model.name, "original", "", percent(before), f"{size:.2f} MB", "1")]
    for name, found in facts.items():
        compared = found["comparison"]
        difference = f"{compared['probability']:.1e}"
        after = percent(compared["correct"]["export"])
        rows.append(("", f"`{name}`", difference, after, f"{found['bytes'] / 1e6:.2f} MB", f"{ratios[name]:.2f}"))
    return rows


def percent(correct: dict[str, float]) -> str:
    return ", ".join(f"{100 * share:.1f} %" for share in correct.values())


def measure(runners: dict[str, Callable[..., Any]], batches: list[Any], rounds: int) -> dict[str, float]:
    """Return name -> time of a clip as a ratio to the original's."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for runner in runners.values():
        runner(batches[0])
    names = list(runners)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            begin = time.perf_counter()
            for batch in batches:
                runners[name](batch)
            times[name].append(time.perf_counter() - begin)
    first = times["original"]
    return {
        name: statistics.median(np.divide(spent, first).tolist()) for name, spent in times.items() if name != "original"
    }


def table(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def write(text: str) -> None:
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--clips", type=int, default=0, help="test clips to compare on; 0: all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = parse(argv)
    text = table([row for path in args.runs for row in rows_of(path, args.clips, args.rounds)])
    print(text)
    if args.write:
        write(text)
    return 0


if __name__ == "__main__":
    leave(main)
