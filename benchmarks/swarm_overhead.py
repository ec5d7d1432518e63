"""What a swarm costs: the wall time of its rounds over the epochs of the same runs, side by side without a swarm.

python benchmarks/swarm_overhead.py [--check] [--rounds 8] [--repeats 2] [key=value ...]

Takes turns, in one session: (a) a swarm of four particles on this machine's cores; (b) the very same four runs (each
particle's own config.yaml, the same share of the cores), started together with train.py. Prints the median wall time
of a round of (a) over the epoch of the slowest run of (b), the median of its epochs. The first epoch (graph tracing)
and the last one (others may have ended) do not count. --check exits with 1 above 1.10.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BAR = 1.10
CONFIG = ROOT / "configs" / "swarm" / "quickstart.yaml"
QUIET = ("evaluation.throughput=false", "evaluation.probes=false", "evaluation.baseline=false")


def run_swarm(output: Path, rounds: int, overrides: list[str]) -> tuple[Path, list[float]]:
    """Run a swarm; return its directory and the wall time of each round in seconds."""
    command = [sys.executable, "swarm_server.py", "--config", str(CONFIG), "--particles", "4"]
    options = [f"output={output}", f"training.epochs={rounds}", "swarm.port=0", *QUIET, *overrides]
    subprocess.run([*command, *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (swarm,) = (path.parent for path in output.glob("*/result.json"))
    return swarm, round_times(swarm)


def round_times(swarm: Path) -> list[float]:
    """Return the time between the ends of two rounds in a row: the last of the round's publications ends it."""
    ends: dict[int, datetime.datetime] = {}
    for run in swarm.glob("particles/particle-*/log.txt"):
        for line in run.read_text().splitlines():
            time, _, text = line.partition(" ")
            if text.startswith("epoch "):
                number = int(text.split()[1].partition("/")[0])
                end = datetime.datetime.fromisoformat(time)
                ends[number] = max(end, ends.get(number, end))
    return [(ends[number] - ends[number - 1]).total_seconds() for number in sorted(ends)[1:]]


def run_side_by_side(swarm: Path, output: Path) -> dict[str, list[float]]:
    """Run the particles' own configurations at the same time, without a swarm; return each one's epochs in seconds."""
    cores = str(max(1, len(os.sched_getaffinity(0)) // 4))
    share = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), cores)
    processes = []
    for config in sorted(swarm.glob("particles/particle-*/config.yaml")):
        command = [sys.executable, "train.py", "--config", str(config), f"output={output}"]
        processes.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, **share}, stdout=subprocess.DEVNULL))
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"a run without a swarm ended with {codes}")
    found = output.glob("particle-*/timing.json")
    return {path.parent.name[:10]: json.loads(path.read_text())["epochs_sec"] for path in found}


def main() -> int:
    """Measure, print, and compare with the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help=f"exit with 1 when the ratio is above {BAR}")
    parser.add_argument("--rounds", type=int, default=8, help="epochs of each run (default: 8)")
    parser.add_argument("--repeats", type=int, default=2, help="how often both are run (default: 2)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.root=PATH")
    options = parser.parse_args()

    ratios = []
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            swarm, rounds = run_swarm(Path(folder) / "swarm", options.rounds, options.overrides)
            alone = run_side_by_side(swarm, Path(folder) / "alone")
        together = statistics.median(rounds[1:-1])
        slowest = max(statistics.median(epochs[1:-1]) for epochs in alone.values())
        ratios.append(together / slowest)
        each = "  ".join(f"{name} {statistics.median(epochs[1:-1]):.2f} s" for name, epochs in sorted(alone.items()))
        print(f"repeat {repeat + 1}: round of the swarm {together:.2f} s; epochs side by side: {each}; ", end="")
        print(f"ratio {ratios[-1]:.3f}", flush=True)
    ratio = statistics.median(ratios)
    print(f"round of a swarm / slowest epoch without one: {ratio:.3f} (bar {BAR:.2f})")
    return int(options.check and ratio > BAR)


if __name__ == "__main__":
    sys.exit(main())
