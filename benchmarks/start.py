"""How long a command takes to begin: its imports, as `keras_actrec.lean_keras` leaves them and as Keras alone has them.

    python benchmarks/start.py [--rounds 5]

Processes that import what a training imports, in turn; medians of their processor seconds, and of the ratio in a round.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

WAYS = {
    "Keras alone": "import keras_actrec.training.experiment",
    "as a command": "from keras_actrec import cli; cli.begin(); import keras_actrec.training.experiment",
}


def seconds(script: str) -> float:
    """Return the processor seconds of a process that runs a script."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", script], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for script in WAYS.values():
        seconds(script)  # the files are in memory then
    rows = [{way: seconds(script) for way, script in WAYS.items()} for _ in range(rounds)]
    for way in WAYS:
        print(f"{way:>12}: {statistics.median(row[way] for row in rows):.2f} s of processor time")
    ratio = statistics.median(row["as a command"] / row["Keras alone"] for row in rows)
    print(f"as a command: {ratio:.2f} of Keras alone")


if __name__ == "__main__":
    main()
