"""Check of the GPUs: is what the machine has what TensorFlow uses?"""

from __future__ import annotations

from keras_actrec.doctor import packages
from keras_actrec.doctor.finding import Finding, ok, warning
from keras_actrec.doctor.machine import Machine

WITH_CUDA = 'Install TensorFlow with its CUDA libraries: pip install "tensorflow[and-cuda]==2.17.1"'
DRIVER = "Install NVIDIA's driver, restart, and see that nvidia-smi lists the GPU."

_LIBRARIES = """
import ctypes, glob, os, site, sys
found = []
wheels = [os.path.join(folder, "nvidia", "*", "lib") for folder in site.getsitepackages()]
for name in {names!r}:
    for place in [name, *(path for folder in wheels for path in glob.glob(os.path.join(folder, name)))]:
        try: ctypes.CDLL(place)
        except OSError: continue
        found.append(name)
        break
print(" ".join(found))
"""


def gpu(machine: Machine) -> Finding:
    """Check whether TensorFlow sees the NVIDIA GPUs of the machine."""
    device = machine.exists("/proc/driver/nvidia/version") or machine.exists("/dev/nvidia0")
    listed = machine.run(["nvidia-smi", "--list-gpus"]) if machine.which("nvidia-smi") else None
    if not device and (listed is None or listed.code != 0):
        return ok("gpu", "no NVIDIA GPU; training runs on the CPU")
    if listed is not None and listed.code != 0:
        return warning("gpu", f"there is an NVIDIA device, but nvidia-smi fails: {listed.last_words}", DRIVER)
    count = len(listed.out.strip().splitlines()) if listed else 1
    facts = packages.tensorflow_facts(machine)
    if isinstance(facts, str):
        return warning("gpu", "the GPU cannot be tried, as TensorFlow does not start", "Cure tensorflow first.")
    if facts["gpus"]:
        return ok("gpu", f"TensorFlow uses {len(facts['gpus'])} of {count} GPUs")
    return warning("gpu", f"{count} NVIDIA GPU, of which TensorFlow sees none: {_why(machine, facts)}", WITH_CUDA)


def _why(machine: Machine, facts: dict) -> str:
    """Return which of the CUDA libraries that TensorFlow was built for are missing."""
    if not facts["cuda"]:
        return "this TensorFlow was built without CUDA"
    cuda, cudnn = (facts[name].split(".")[0] for name in ("cuda", "cudnn"))
    names = ["libcuda.so.1", f"libcudart.so.{cuda}", f"libcublas.so.{cuda}", f"libcudnn.so.{cudnn}"]
    found = machine.run_python(_LIBRARIES.format(names=names)).out.split()
    missing = [name for name in names if name not in found]
    if missing:
        return f"{', '.join(missing)} cannot be loaded"
    return f"CUDA {facts['cuda']} and its libraries are there; is CUDA_VISIBLE_DEVICES empty?"
