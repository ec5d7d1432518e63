"""A Ray cluster of two nodes on this machine: each in a network of its own where that is permitted."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

START_SEC = 600
MARK = "KERAS_ACTREC_TEST_NODE"


class TwoNodes:
    """Node 0, the head, and node 1. Use as a context.

    Args:
        cpus: of each node, as Ray counts them.
        separate: in network namespaces of their own, which needs root; False: two nodes at this machine's address.
    """

    def __init__(self, cpus: int, *, separate: bool) -> None:
        self._cpus = cpus
        self._name = f"ka{secrets.token_hex(3)}"
        self._separate = separate
        self._port = 6379 if separate else _free_port()

    def __enter__(self) -> TwoNodes:
        try:
            if self._separate:
                self._make_networks()
            self.start(0)
            self.start(1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(0)
        self.kill(1)
        if self._separate:
            for name in (f"{self._name}0", f"{self._name}1"):
                subprocess.run(["ip", "netns", "del", name], check=False)
            subprocess.run(["ip", "link", "del", f"{self._name}b"], check=False)

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self._address(0)}:{self._port}"

    def start(self, node: int) -> None:
        """Start a node's Ray."""
        where = ["--head", f"--port={self._port}", "--include-dashboard=false"]
        where = where if node == 0 else [f"--address={self.address}"]
        own = [f"--node-ip-address={self._address(node)}"] if self._separate else []
        words = ["start", *where, *own, f"--num-cpus={self._cpus}", "--disable-usage-stats"]
        words += ["--object-store-memory=100000000"]
        command = self.command(node, [sys.executable, "-m", "ray.scripts.scripts", *words])
        environment = {**os.environ, MARK: f"{self._name}-{node}"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=START_SEC, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def command(self, node: int, words: Sequence[str]) -> list[str]:
        """Return the command that runs another one on a node."""
        if not self._separate:
            return list(words)
        script = f'hostname {self._name}{node}; exec "$@"'
        return ["ip", "netns", "exec", f"{self._name}{node}", "unshare", "--uts", "sh", "-c", script, "sh", *words]

    def kill(self, node: int) -> list[str]:
        """End all that Ray runs on a node, as when its plug is pulled; return the command lines of the particles."""
        ended = []
        mark = f"{MARK}={self._name}-{node}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    words = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
                    os.kill(int(folder.name), signal.SIGKILL)
                    ended += [words] if "keras_actrec.swarm.particle" in words else []
        return ended

    def _address(self, node: int) -> str:
        return f"10.213.77.{node + 1}" if self._separate else "127.0.0.1"

    def _make_networks(self) -> None:
        bridge = f"{self._name}b"
        steps = [["ip", "link", "add", bridge, "type", "bridge"], ["ip", "link", "set", bridge, "up"]]
        for node in (0, 1):
            name = f"{self._name}{node}"
            steps += [
                ["ip", "netns", "add", name],
                ["ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name],
                ["ip", "link", "set", f"v{name}", "master", bridge, "up"],
                ["ip", "-n", name, "addr", "add", f"{self._address(node)}/24", "dev", "eth0"],
                ["ip", "-n", name, "link", "set", "eth0", "up"],
                ["ip", "-n", name, "link", "set", "lo", "up"],
            ]
        for step in steps:
            subprocess.run(step, check=True)


def can_separate() -> bool:
    """Return whether this process may make network namespaces."""
    name = f"ka{secrets.token_hex(3)}"
    with contextlib.suppress(OSError):
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
        if made:
            return subprocess.run(["ip", "netns", "del", name], check=False).returncode == 0
    return False


def wait_for_line(path: Path, beginning: str, process: subprocess.Popen[bytes], seconds: float = 600) -> None:
    """Wait until a program has printed a line that begins so."""
    deadline = time.monotonic() + seconds
    while not any(line.startswith(beginning) for line in path.read_text().splitlines()):
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
