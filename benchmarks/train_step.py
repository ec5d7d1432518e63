"""Seconds per training step of clip networks: Keras on TensorFlow, JAX and PyTorch beside the same networks in PyTorch.

    python benchmarks/train_step.py [--check] [--models c3d,i3d_resnet50,r3d_18] [--contenders tensorflow,torch,jax]
    python benchmarks/train_step.py --check --models timesformer_s,vivit --contenders tensorflow,keras-torch,torch
    python benchmarks/train_step.py --contenders jax,torch --precision bfloat16 --compile --batch 32     # on a GPU

Each contender runs in a process of its own, and they take turns, a step each, so that other load on the machine hits
all alike. A step is forward, backward and SGD with momentum on random clips that are in memory. Printed are the medians
and their ratio to PyTorch's; below 1 is faster. `--check` fails when the better Keras backend is slower than PyTorch.
`torch` is the network in PyTorch itself: those that the tests of import-weights compare logits with, for Transformers
Hugging Face's (package transformers). `keras-torch` is ours on Keras' PyTorch backend.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CLASSES = 101
SMALL = {"width": 384, "heads": 6}
# Name -> name in the registry, frames, size, options of ours, file of theirs, function in it.
NETWORKS: dict[str, tuple[str, int, int, dict[str, Any], str, str]] = {
    "c3d": ("c3d", 16, 112, {}, "reference_c3d", "c3d"),
    "i3d_resnet50": (
        "i3d_resnet50",
        8,
        224,
        {"weights": "none", "stride_on": "3x3"},
        "reference_pytorchvideo",
        "i3d_r50",
    ),
    "r3d_18": ("r3d_18", 16, 112, {}, "reference_torchvision", "r3d_18"),
    "r3d_50": ("r3d_50", 8, 224, {}, "reference_pytorchvideo", "slow_r50"),
    "r2plus1d_18": ("r2plus1d_18", 16, 112, {}, "reference_torchvision", "r2plus1d_18"),
    "timesformer_s": ("timesformer", 8, 224, SMALL, "transformers", "timesformer_s"),
    "vivit": ("vivit", 16, 224, {"activation": "gelu_tanh"}, "transformers", "vivit_b"),
}
TOLERANCE = 1.0


def main() -> int:
    """Measure and print a table; with --check return 1 when the better backend is slower than PyTorch."""
    options = _parser().parse_args()
    if options.worker:
        work(options)
        return 0
    contenders = options.contenders.split(",")
    print(
        f"{'network':<14} {'clip':>12} {'batch':>5}  " + "".join(f"{name:>14}" for name in contenders) + "   to torch"
    )
    slower = []
    for name in options.models.split(","):
        seconds = race(name, contenders, options)
        print(_row(name, seconds, options.batch), flush=True)
        ours = [value for contender, value in seconds.items() if contender != "torch"]
        if "torch" in seconds and ours and min(ours) > TOLERANCE * seconds["torch"]:
            slower.append(name)
    if slower:
        print(f"slower than PyTorch: {', '.join(slower)}")
    return 1 if options.check and slower else 0


def race(name: str, contenders: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Return the median seconds per step of each contender."""
    workers = {contender: _start(name, contender, options) for contender in contenders}
    try:
        for worker in workers.values():  # the first step traces and compiles
            _step(worker)
        times = {contender: [] for contender in contenders}
        for _ in range(options.steps):
            for contender, worker in workers.items():
                times[contender].append(_step(worker))
    finally:
        for worker in workers.values():
            worker.kill()
    return {contender: statistics.median(own) for contender, own in times.items()}


def work(options: argparse.Namespace) -> None:
    """Make a training step for each line that is read, and write how long it took."""
    step = _torch_step(options) if options.worker == "torch" else _keras_step(options)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        loss = step()
        print(json.dumps({"seconds": time.perf_counter() - began, "loss": loss}), flush=True)


def _keras_step(options: argparse.Namespace) -> Callable[[], float]:
    import keras
    import numpy as np

    from keras_actrec import models

    keras.config.set_dtype_policy("mixed_bfloat16" if options.precision == "bfloat16" else "float32")
    registered, frames, size, extra, *_ = NETWORKS[options.models]
    model = models.build_model(registered, CLASSES, frames=frames, size=size, **extra)
    model.compile(
        keras.optimizers.SGD(0.001, momentum=0.9),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() == "jax",
    )
    clips, labels = _batch(frames, size, options.batch)
    onehot = np.eye(CLASSES, dtype="float32")[labels]
    return lambda: float(model.train_on_batch({"rgb": clips}, onehot))


def _torch_step(options: argparse.Namespace) -> Callable[[], float]:
    import numpy as np
    import torch

    _, frames, size, _, module, function = NETWORKS[options.models]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    transformer = module == "transformers"
    network = HUGGING_FACE[function]() if transformer else getattr(_load(module), function)(CLASSES)
    network = network.to(device).train()
    forward = torch.compile(network) if options.compile else network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    clips, labels = _batch(frames, size, options.batch)
    # Hugging Face's networks take (B, T, C, H, W), the others (B, C, T, H, W).
    axes = (0, 1, 4, 2, 3) if transformer else (0, 4, 1, 2, 3)
    x = torch.from_numpy(np.ascontiguousarray(clips.transpose(axes))).to(device)
    y = torch.from_numpy(labels).to(device)
    lower = torch.autocast(device, torch.bfloat16, enabled=options.precision == "bfloat16")

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with lower:
            outputs = forward(x)
            loss = torch.nn.functional.cross_entropy(outputs.logits if transformer else outputs, y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())  # waits for the device

    return step


def _timesformer_s() -> Any:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    return TimesformerForVideoClassification(
        TimesformerConfig(
            hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_frames=8, drop_path_rate=0, **_plain()
        )
    )


def _vivit_b() -> Any:
    from transformers import VivitConfig, VivitForVideoClassification

    return VivitForVideoClassification(VivitConfig(num_frames=16, **_plain()))


def _plain() -> dict[str, Any]:
    """Return what makes a network of Hugging Face comparable: our classes, no dropout."""
    return {"num_labels": CLASSES, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


HUGGING_FACE: dict[str, Callable[[], Any]] = {"timesformer_s": _timesformer_s, "vivit_b": _vivit_b}


def _batch(frames: int, size: int, batch: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    clips = rng.normal(size=(batch, frames, size, size, 3)).astype("float32")
    return clips, rng.integers(CLASSES, size=batch)


def _load(module: str) -> Any:
    path = ROOT / "tests" / "porting" / f"{module}.py"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(module, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def _start(name: str, contender: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker", contender, "--models", name, "--batch", str(options.batch)]
    command += ["--precision", options.precision, *(["--compile"] if options.compile else [])]
    backend = {} if contender == "torch" else {"KERAS_BACKEND": contender.removeprefix("keras-")}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **backend}
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
    )
    _answer(worker)
    return worker


def _step(worker: subprocess.Popen[str]) -> float:
    worker.stdin.write("step\n")
    worker.stdin.flush()
    return json.loads(_answer(worker))["seconds"]


def _answer(worker: subprocess.Popen[str]) -> str:
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a contender has died; its error stands above")
    return line


def _row(name: str, seconds: dict[str, float], batch: int) -> str:
    _, frames, size, *_ = NETWORKS[name]
    cells = "".join(f"{value:>12.2f} s" for value in seconds.values())
    ratios = [f"{other} {seconds[other] / seconds['torch']:.2f}" for other in seconds if other != "torch"]
    return f"{name:<14} {f'{frames}x{size}x{size}':>12} {batch:>5}  {cells}   {', '.join(ratios)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--models", default="c3d,i3d_resnet50,r3d_18")
    parser.add_argument("--contenders", default="tensorflow,torch,jax")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="steps after the first, of which the median is shown")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--check", action="store_true", help="fail when the better backend is slower than PyTorch")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
