"""Peak memory of one training step of each full-size network, one clip, as it is and rematerialised.

    python benchmarks/train_memory.py [--networks rpe_stdt,ctn] [--limit-gb 24]

Each step runs in a process of its own: build at the paper's size, SGD with momentum, forward, backward, update; the
second of two steps, so that nothing is missed that the first one makes. Printed is the largest resident size of the
process, interpreter and libraries included. Exits with 1 when the smaller of the two is above the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CLASSES = 101
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "rpe_stdt": ("rpe_stdt", {}),
    "vivit": ("vivit", {}),
    "vivit_32": ("vivit", {"frames": 32}),
    "vivit_factorised": ("vivit", {"encoder": "factorised"}),
    "timesformer": ("timesformer", {}),
    "timesformer_s": ("timesformer", {"width": 384, "heads": 6}),
    "videomae": ("videomae", {}),
    "ctn": ("ctn", {}),
    "mfst_base": ("mfst", {"stages": 3}),
    "mfst_large": ("mfst", {}),
}
NEVER_REMATERIALISED = ("ctn",)
"""Networks that refuse it: their layers hold batch normalisations."""


def main() -> int:
    """Measure all and print a table; return 1 when one needs more than the limit."""
    parser = _parser()
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.rematerialize)
        return 0
    names = options.networks.split(",")
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        parser.error(f"--networks: unknown {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    print("| network | clip | parameters | peak | rematerialised | seconds per step | rematerialised |")
    print("|---|---|---|---|---|---|---|", flush=True)
    worst = 0.0
    for name in names:
        plain = measure(name, rematerialize=False)
        again = None if name in NEVER_REMATERIALISED else measure(name, rematerialize=True)
        worst = max(worst, plain["peak_gb"] if again is None else min(plain["peak_gb"], again["peak_gb"]))
        print(_row(name, plain, again), flush=True)
    return 1 if worst > options.limit_gb else 0


def measure(name: str, *, rematerialize: bool) -> dict[str, Any]:
    """Run two training steps in a process of their own."""
    command = [sys.executable, __file__, "--worker", name, *(["--rematerialize"] if rematerialize else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        return {"peak_gb": float("inf"), "seconds": float("nan"), "clip": "", "parameters": 0}
    return json.loads(done.stdout.splitlines()[-1])


def work(name: str, rematerialize: bool) -> None:
    """Build, train two steps, and print what it took."""
    import resource

    import keras
    import numpy as np

    from keras_actrec import models

    registered, extra = NETWORKS[name]
    model = models.build_model(registered, CLASSES, **extra, **({"rematerialize": True} if rematerialize else {}))
    model.compile(
        keras.optimizers.SGD(0.001, momentum=0.9),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    shape = model.inputs[0].shape[1:]
    clip, label = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32"), np.eye(CLASSES)[:1]
    for _ in range(2):
        began = time.perf_counter()
        model.train_on_batch({"rgb": clip}, label)
    found = {
        "seconds": time.perf_counter() - began,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "clip": "x".join(map(str, shape[:3])),
        "parameters": model.count_params(),
    }
    print(json.dumps(found))


def _row(name: str, plain: dict[str, Any], again: dict[str, Any] | None) -> str:
    def pair(key: str, unit: str) -> list[str]:
        return [f"{plain[key]:.1f} {unit}", "-" if again is None else f"{again[key]:.1f} {unit}"]

    facts = [f"`{name}`", plain["clip"], f"{plain['parameters'] / 1e6:.1f} M"]
    cells = [*facts, *pair("peak_gb", "GB"), *pair("seconds", "s")]
    return f"| {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", metavar="NAMES", default=",".join(NETWORKS), help="default: all of %(default)s")
    parser.add_argument("--limit-gb", type=float, default=24.0, help="default: %(default)s")
    parser.add_argument("--rematerialize", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
