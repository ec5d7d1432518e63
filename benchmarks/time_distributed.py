"""First and later training steps with Keras' TimeDistributed and with ours, each in a process of its own.

    python benchmarks/time_distributed.py [--backbone mobilenet_v2] [--frames 4] [--size 96]

Prints seconds and the ratio of Keras' layer to ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def main() -> None:
    """Measure both in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=8, help="later steps, of which the median is shown")
    parser.add_argument("--only", choices=["keras", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options)))
        return
    rows = {name: in_process(name) for name in ("keras", "ours")}
    print(f"{'TimeDistributed':<16} {'first step':>11} {'later step':>11}")
    for name, row in rows.items():
        print(f"{name:<16} {row['first']:>9.2f} s {row['later']:>9.3f} s")
    ratios = {kind: rows["keras"][kind] / rows["ours"][kind] for kind in ("first", "later")}
    print(f"{'keras / ours':<16} {ratios['first']:>10.1f}x {ratios['later']:>10.1f}x")


def in_process(name: str) -> dict[str, float]:
    """Measure one of them in a fresh process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Time the training steps of a small clip classifier."""
    import keras
    import numpy as np

    from keras_actrec import backbones
    from keras_actrec.layers import TimeDistributed

    wrapper = TimeDistributed if options.only == "ours" else keras.layers.TimeDistributed
    clip = keras.Input((options.frames, options.size, options.size, 3))
    features = wrapper(backbones.build_frame_backbone(options.backbone, options.size))(clip)
    logits = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling1D()(features))
    model = keras.Model(clip, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss=loss, jit_compile=False)
    clips = np.random.default_rng(0).random((4, *clip.shape[1:]), dtype=np.float32)
    times = []
    for _ in range(options.steps + 1):
        began = time.perf_counter()
        model.train_on_batch(clips, np.arange(4))
        times.append(time.perf_counter() - began)
    return {"first": times[0], "later": statistics.median(times[1:])}


if __name__ == "__main__":
    main()
