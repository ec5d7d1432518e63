"""Checks of Python and its packages."""

from __future__ import annotations

import json
import re

from keras_actrec.doctor.finding import Finding, error, ok, warning
from keras_actrec.doctor.machine import Machine

LEAST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 12)
MODULES = {
    "keras": "keras",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "av": "av",
    "safetensors": "safetensors",
    "pydantic": "pydantic",
    "PyYAML": "yaml",
    "plotly": "plotly",
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "xxhash": "xxhash",
}
"""What every run needs beside TensorFlow: name on the package index, name in Python."""
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
NEWEST_TENSORFLOW_FOR_IO = (2, 17)
"""TensorFlow IO's last release loads its native ops up to this one."""
INSTALL = "pip install -c requirements.txt -e ."

_IMPORTS = """
import importlib, json, os
os.environ.setdefault("KERAS_BACKEND", "numpy")
wrong = {{}}
for package, module in {modules!r}.items():
    if module == "keras": continue
    try: importlib.import_module(module)
    except BaseException as problem: wrong[package] = f"{{type(problem).__name__}}: {{problem}}".splitlines()[0][:200]
print(json.dumps(wrong))
"""
_TENSORFLOW = """
import json, tensorflow as tf, keras
total = float(tf.reduce_sum(tf.matmul(tf.ones((8, 8)), tf.ones((8, 8)))))
build = tf.sysconfig.get_build_info()
print(json.dumps({
    "tensorflow": tf.__version__, "keras": keras.__version__, "backend": keras.backend.backend(), "total": total,
    "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
    "cuda": str(build.get("cuda_version", "")), "cudnn": str(build.get("cudnn_version", "")),
}))
"""
_NATIVE_OPS = """
import os, sys, tensorflow as tf, tensorflow_io as tfio
print(tfio.experimental.color.rgb_to_bgr(tf.constant([[[1, 2, 3]]], tf.uint8)).numpy().tolist())
sys.stdout.flush()
os._exit(0)
"""


def python(machine: Machine) -> Finding:
    """Check the interpreter."""
    version = ".".join(map(str, machine.python))
    if machine.python < LEAST_PYTHON or machine.bits != "64bit":
        found = f"Python {version} ({machine.bits}); expected 3.11 or newer, 64 bit"
        return error("python", found, "Install Python 3.11 or 3.12 and make an environment: python3.12 -m venv .venv.")
    if machine.python[:2] > NEWEST_PYTHON:
        found = f"Python {version}; the pinned TensorFlow has no wheels for it"
        return warning("python", found, "Use Python 3.11 or 3.12: python3.12 -m venv .venv.")
    return ok("python", f"Python {version}")


def packages(machine: Machine) -> Finding:
    """Check that what every run needs is installed and can be imported."""
    missing = [package for package in MODULES if machine.version(package) is None]
    if missing:
        return error("packages", f"not installed: {', '.join(missing)}", f"Install the package: {INSTALL}")
    done = machine.run_python(_IMPORTS.format(modules=MODULES))
    wrong = _json(done.out) if done.code == 0 else {"a process that imports them": done.last_words}
    if wrong is None:
        wrong = {"a process that imports them": "no answer"}
    if wrong:
        told = "; ".join(f"{package} cannot be imported ({why})" for package, why in wrong.items())
        return error("packages", told, f"Install them anew: pip install --force-reinstall {' '.join(_names(wrong))}")
    return ok("packages", f"{len(MODULES)} packages can be imported")


def _names(wrong: dict[str, str]) -> list[str]:
    names = [package for package in wrong if package in MODULES]
    return names or ["-r requirements.txt"]


def tensorflow(machine: Machine) -> Finding:
    """Check that TensorFlow and Keras start and compute."""
    if machine.version("tensorflow") is None and machine.version("tensorflow-cpu") is None:
        message = "TensorFlow is not installed; it reads the data for every backend"
        return error("tensorflow", message, f"Install the package: {INSTALL}")
    facts = tensorflow_facts(machine)
    if isinstance(facts, str):
        cure = "Install the pinned stack: pip install -r requirements.txt"
        return error("tensorflow", f"TensorFlow and Keras do not start: {facts}", cure)
    if _numbers(facts["keras"])[:1] < (3,):
        return error(
            "tensorflow", f"Keras {facts['keras']}; expected Keras 3", "Install Keras 3: pip install keras==3.15.1"
        )
    return ok("tensorflow", f"TensorFlow {facts['tensorflow']} and Keras {facts['keras']} on {facts['backend']}")


def tensorflow_facts(machine: Machine) -> dict | str:
    """Return what a process with TensorFlow tells of itself, or why there is no answer."""
    done = machine.run_python(_TENSORFLOW)
    if done.code != 0:
        return done.last_words
    facts = _json(done.out)
    return facts if facts and facts.get("total") == 512.0 else "wrong numbers"


def backend(machine: Machine) -> Finding:
    """Check that the backend which KERAS_BACKEND asks for is installed."""
    asked = machine.environ.get("KERAS_BACKEND", "tensorflow")
    if asked not in BACKENDS:
        message = f"KERAS_BACKEND is '{asked}'; expected one of {', '.join(BACKENDS)}"
        return error("backend", message, "Leave it out: unset KERAS_BACKEND.")
    if asked != "tensorflow" and machine.version(BACKENDS[asked]) is None:
        message = f"KERAS_BACKEND is '{asked}', which is not installed"
        return error("backend", message, f"Install it: pip install -c requirements.txt -e '.[{asked}]'")
    return ok("backend", f"Keras runs on {asked}")


def tensorflow_io(machine: Machine) -> Finding:
    """Check that TensorFlow IO, which reads s3://, fits TensorFlow."""
    version = machine.version("tensorflow-io")
    core = machine.version("tensorflow") or machine.version("tensorflow-cpu")
    if version is None or core is None:
        return ok("tensorflow-io", "TensorFlow IO is not installed; only data at s3:// wants it")
    if _numbers(core)[:2] > NEWEST_TENSORFLOW_FOR_IO:
        message = f"TensorFlow IO {version} does not load with TensorFlow {core}; data at s3:// cannot be read"
        return warning("tensorflow-io", message, "Install the pair that fits: pip install -r requirements.txt")
    done = machine.run_python(_NATIVE_OPS)
    if "[[[3, 2, 1]]]" not in done.out:
        message = f"TensorFlow IO {version} has no native ops with TensorFlow {core} ({done.last_words})"
        return warning("tensorflow-io", message, "Install the pair that fits: pip install -r requirements.txt")
    return ok("tensorflow-io", f"TensorFlow IO {version} fits TensorFlow {core}")


def pins(machine: Machine) -> Finding:
    """Compare what is installed with requirements.txt; what is not installed at all is no difference."""
    text = machine.requirements()
    if text is None:
        return ok("pins", "there is no requirements.txt beside the package; versions are not compared")
    wanted = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s#]+)", text, re.MULTILINE))
    installed = {name: machine.version(name) for name in wanted}
    others = [
        f"{name} {found} (pinned: {wanted[name]})"
        for name, found in installed.items()
        if found is not None and found.partition("+")[0] != wanted[name]
    ]
    if others:
        message = f"other versions than the tried ones: {', '.join(others)}"
        return warning("pins", message, "Install the set that was tried together: pip install -r requirements.txt")
    return ok("pins", f"{sum(map(bool, installed.values()))} packages have their pinned versions")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])))


def _json(text: str) -> dict | None:
    """Return the document in the last line; libraries may print before it."""
    lines = text.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
