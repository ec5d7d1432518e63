"""Checks of disk, memory, ports and rights."""

from __future__ import annotations

from pathlib import Path

from keras_actrec.doctor.finding import Finding, error, ok, warning
from keras_actrec.doctor.machine import Machine

GIGABYTE = 1_000_000_000
LITTLE_DISK_GB, NO_DISK_GB = 20.0, 1.0
LITTLE_MEMORY_GB, NO_MEMORY_GB = 4.0, 1.5
PORTS = {
    8600: ("the swarm's page", "swarm.port=8601"),
    5151: ("FiftyOne's App", "inspect --port 5152"),
    8700: ("the command serve", "serve --port 8701"),
    6006: ("TensorBoard", "tensorboard --port 6007"),
}
"""Ports that commands take unless told otherwise: what for, and how to take another."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def disk(machine: Machine, folder: Path) -> Finding:
    """Check the free space for a folder."""
    free_gb = machine.free_bytes(folder) / GIGABYTE
    name, found = f"disk {folder}", f"{free_gb:.1f} GB are free for {folder}"
    cure = f"Make room, or put it elsewhere: {_key(folder)}=FOLDER."
    if free_gb < NO_DISK_GB:
        return error(name, f"{found}; a run could not be kept", cure)
    if free_gb < LITTLE_DISK_GB:
        return warning(name, f"{found}; UCF-101 takes 14 GB with its archive", cure)
    return ok(name, found)


def rights(machine: Machine, folder: Path) -> Finding:
    """Check that a folder can be written into."""
    name, why = f"write {folder}", machine.why_not_writable(folder)
    if why:
        cure = f"Give yourself the right: chmod u+w {folder}; or write elsewhere: {_key(folder)}=FOLDER."
        return error(name, f"nothing can be written into {folder} ({why})", cure)
    return ok(name, f"{folder} can be written into")


def memory(machine: Machine) -> Finding:
    """Check the memory that is free, within the limit of a container if there is one."""
    available = _available_bytes(machine)
    if available is None:
        return ok("memory", f"{machine.system} does not tell how much memory is free here")
    free_gb = available / GIGABYTE
    found = f"{free_gb:.1f} GB of memory are free"
    cure = "End other programs, or take a smaller network and batch: training.batch_size=4."
    if free_gb < NO_MEMORY_GB:
        return error("memory", f"{found}; TensorFlow alone takes 0.6 GB", cure)
    if free_gb < LITTLE_MEMORY_GB:
        return warning("memory", f"{found}; a swarm of four takes 4 GB", cure)
    return ok("memory", found)


def port(machine: Machine, number: int) -> Finding:
    """Check that a port is free."""
    use, other = PORTS[number]
    if machine.is_taken(number):
        message = f"port {number}, which {use} takes, is in use; perhaps by itself"
        return warning(f"port {number}", message, f"End what uses it, or take another: {other}.")
    return ok(f"port {number}", f"port {number} is free for {use}")


def _key(folder: Path) -> str:
    return "output" if folder.name == "runs" else "data.root"


def _available_bytes(machine: Machine) -> int | None:
    text = machine.read("/proc/meminfo") or ""
    rows = [line.split() for line in text.splitlines() if line.startswith("MemAvailable:")]
    if not rows:
        return None
    available = int(rows[0][1]) * 1024
    limits = [machine.read(path) for path in _CGROUPS]
    return min([available, *(int(limit) for limit in limits if limit and limit.strip().isdigit())])
