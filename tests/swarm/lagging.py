"""A directory as another machine sees it over a network: everything is there a little late, and in another order."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path
from typing import Any

from keras_actrec.swarm.directory_store import DirectoryStore
from keras_actrec.swarm.positions import Position
from keras_actrec.swarm.state import Kind

PATIENCE_SEC = 20.0


class Mirror:
    """Shows in one folder what happens in another one: new names, replaced files and removals come late.

    A file that is replaced shows its old content for a while, sometimes only half of the new one, as a cache of pages
    and attributes does. What a reader has open stays as it is.

    Args:
        origin: where files are written.
        view: where they are seen.
        longest_sec: of the delays, which are drawn anew for each change.
        seed: of the delays.
    """

    def __init__(self, origin: Path, view: Path, longest_sec: float, seed: int = 0) -> None:
        self._origin, self._view, self._longest_sec = origin, view, longest_sec
        self._random, self._closed = random.Random(seed), threading.Event()
        self._due: dict[str, tuple[tuple[int, int] | None, float]] = {}
        self._shown: dict[str, tuple[int, int]] = {}
        self.halves = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._closed.wait(0.002):
            names = {
                str(path.relative_to(self._origin)): path
                for path in self._origin.rglob("*.safetensors")
                if not path.name.startswith(".")
            }
            for name in {*names, *self._shown}:
                with contextlib.suppress(FileNotFoundError):  # pruned at this very moment
                    self._look(name, names.get(name))

    def _look(self, name: str, path: Path | None) -> None:
        status = path.stat() if path else None
        now = (status.st_ino, status.st_mtime_ns) if status else None
        if now == self._shown.get(name):
            self._due.pop(name, None)
            return
        wanted, due = self._due.get(name, (None, 0.0))
        if name not in self._due or wanted != now:
            self._due[name] = now, time.monotonic() + self._random.uniform(0, self._longest_sec)
        elif time.monotonic() >= due:
            self._show(name, path, now)
            del self._due[name]

    def _show(self, name: str, path: Path | None, now: tuple[int, int] | None) -> None:
        goal = self._view / name
        if path is None or now is None:
            goal.unlink(missing_ok=True)
            self._shown.pop(name, None)
            return
        goal.parent.mkdir(parents=True, exist_ok=True)
        beside = goal.with_name(f".{goal.name}")
        content = path.read_bytes()
        if self._random.random() < 0.3:
            self.halves += 1
            beside.write_bytes(content[: self._random.randrange(len(content))])
            beside.replace(goal)
            time.sleep(self._longest_sec / 4)
        beside.write_bytes(content)
        beside.replace(goal)
        self._shown[name] = now


class LaggingStore:
    """Writes as one machine and reads as another one, which knows from the server what was announced."""

    def __init__(self, folder: Path, longest_sec: float = 0.1, precision: str = "float32") -> None:
        self.here = DirectoryStore(folder / "here", precision=precision)
        self.there = DirectoryStore(folder / "there", with_journal=False, patience_sec=PATIENCE_SEC)
        self.mirror = Mirror(self.here.path, self.there.path, longest_sec)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.here, name)

    def get(self, particle: int, kind: Kind, round_number: int, digest: str | None = None) -> Position:
        known = self.here.digest(particle, kind, round_number)
        return self.there.get(particle, kind, round_number, digest or known)

    def close(self) -> None:
        self.mirror.close()
        self.here.close()
