"""What a run was made on: machine, versions, commit and command line. Imports no Keras by itself."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from keras_actrec import files

PACKAGES = (
    "keras-actrec",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "jaxlib",
    "torch",
    "numpy",
    "opencv-python-headless",
    "av",
    "safetensors",
    "keras-cv",
    "tensorflow-io",
    "pydantic",
)


def describe() -> dict[str, Any]:
    """Return Python, operating system, processor, backend, installed versions, git commit and command line."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "backend": _backend(),
        "versions": _versions(),
        "commit": _commit(),
        "command": sys.argv,
    }


def record(path: Path) -> None:
    """Add this session to an environment.json: the newest last, so that resumed runs show each machine they saw."""
    sessions = files.read_json(path)["sessions"] if path.exists() else []
    files.write_json(path, {"sessions": [*sessions, describe()]})


def _backend() -> str:
    """Return the backend in use; before Keras is imported, the one that was asked for."""
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    return os.environ.get("KERAS_BACKEND", "tensorflow")


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str | None:
    """Return the commit of the checkout that the package is run from; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
