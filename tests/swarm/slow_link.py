"""Two network namespaces, as two hosts, with a slow link between them that loses packets.

Each namespace has a TUN device, and a thread carries each packet from one to the other: late, or not at all. So TCP
sees delay and loss as on a real line, and kernels without the queueing discipline `netem` will do. It takes root.
"""

from __future__ import annotations

import ctypes
import dataclasses
import fcntl
import heapq
import os
import random
import secrets
import select
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

import pytest

ADDRESSES = ("10.77.0.1", "10.77.0.2")
DEVICE = "line"
MTU = 1500
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000


@dataclasses.dataclass
class Tally:
    """What went over the line."""

    packets: int = 0
    lost: int = 0
    bytes: int = 0


class SlowLink:
    """Two hosts, 0 and 1, at `ADDRESSES`, and the line between them.

    Args:
        delay_sec: of each packet, in each direction.
        loss: share of the packets that never arrive, in each direction.
        seed: of the losses.

    Attributes:
        tally: what went over the line.
    """

    def __init__(self, delay_sec: float, loss: float, seed: int = 0) -> None:
        self._delay_sec, self._loss, self._random = delay_sec, loss, random.Random(seed)
        number = secrets.token_hex(3)
        self._names = [f"actrec-{number}-{side}" for side in range(2)]
        self._devices: list[int] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="line", daemon=True)
        self.tally = Tally()

    def __enter__(self) -> Self:
        try:
            for name, address in zip(self._names, ADDRESSES, strict=True):
                _ip("netns", "add", name)
                self._devices.append(_tun(name))
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "addr", "add", f"{address}/24", "dev", DEVICE)
                _ip("-n", name, "link", "set", DEVICE, "mtu", str(MTU), "up")
        except OSError as error:
            self._remove()
            pytest.skip(f"network namespaces are not permitted here: {error}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(10)
        self._remove()

    def on(self, side: int, *command: str) -> list[str]:
        """Return the command that runs another one on a host."""
        return ["ip", "netns", "exec", self._names[side], *command]

    def _remove(self) -> None:
        for device in self._devices:
            os.close(device)
        for name in self._names:
            if Path("/run/netns", name).exists():
                _ip("netns", "delete", name)

    def _carry(self) -> None:
        """Carry packets until the end."""
        poll, under_way, number = select.poll(), [], 0
        others = dict(zip(self._devices, reversed(self._devices), strict=True))
        for device in self._devices:
            poll.register(device, select.POLLIN)
        while not self._closed.is_set():
            wait_sec = min(under_way[0][0] - time.monotonic(), 0.1) if under_way else 0.1
            for device, _ in poll.poll(max(1000 * wait_sec, 0)):
                packet = os.read(device, 65536)
                self.tally.packets += 1
                if self._random.random() < self._loss:
                    self.tally.lost += 1
                    continue
                number += 1
                heapq.heappush(under_way, (time.monotonic() + self._delay_sec, number, others[device], packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, device, packet = heapq.heappop(under_way)
                self.tally.bytes += os.write(device, packet)


def _ip(*arguments: str) -> None:
    tool = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        raise OSError("there is no command ip; install iproute2")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


def _tun(namespace: str) -> int:
    """Return a TUN device of a namespace: a thread enters it for that, since a namespace is a thread's."""
    made: list[int | OSError] = []

    def make() -> None:
        try:
            with Path("/run/netns", namespace).open() as place:
                if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "cannot enter a network namespace")
            device = os.open("/dev/net/tun", os.O_RDWR)
            made.append(device)
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join(30)
    if isinstance(made[-1], OSError):
        raise made[-1]
    return made[0]
