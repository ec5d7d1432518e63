"""Frame features on disk, by clip, in files that are published whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec import tensor_file
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock

LOCK_SEC = 24 * 3600.0
"""The features of a large data set take hours, and who waits for them would have to compute them himself."""


class FeatureCache:
    """Features by clip, in files that are published whole, so that a killed run loses at most one of them.

    Args:
        folder: holds the caches of all runs.
        key: all that the features depend on, as JSON values.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self.folder = folder / digest[:20]
        self._where = self._index()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the cache for this process; what others have written until then is known within.

        Raises:
            UserError: another process has held it for hours.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.folder / ".lock")
        try:
            lock.acquire(LOCK_SEC)
        except HeldError as error:
            raise UserError(
                f"process {error.holder or 'unknown'} has been computing the features in {self.folder} for "
                f"{LOCK_SEC / 3600:.0f} hours; wait for it to end or stop it first."
            ) from None
        try:
            self._where = self._index()
            yield
        finally:
            lock.release()

    def missing(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the clips without features."""
        return [clip for clip in clips if identify(clip) not in self._where]

    def write(self, clips: Sequence[Clip], features: Sequence[np.ndarray]) -> None:
        """Publish the features, float32 (T, D) each, of some clips."""
        path = self.folder / f"features-{uuid.uuid4().hex[:12]}.safetensors"
        names = [identify(clip) for clip in clips]
        tensor_file.save(path, dict(zip(names, features, strict=True)), names)
        self._where.update(dict.fromkeys(names, path))

    def read(self, clips: Sequence[Clip]) -> tuple[np.ndarray, list[int]]:
        """Return features, float32 (N, T, D), and the positions in `clips` of the N that have some."""
        wanted = {identify(clip): index for index, clip in enumerate(clips)}
        rows: dict[int, np.ndarray] = {}
        for path in sorted({self._where[name] for name in wanted if name in self._where}):
            arrays, _ = tensor_file.load(path)
            rows.update({wanted[name]: array for name, array in arrays.items() if name in wanted})
        order = sorted(rows)
        return np.stack([rows[index] for index in order]) if order else np.zeros((0, 0, 0), np.float32), order

    def _index(self) -> dict[str, Path]:
        """Return clip -> file; a damaged file is removed, so that its clips are computed again."""
        where: dict[str, Path] = {}
        for path in sorted(self.folder.glob("features-*.safetensors")):
            try:
                arrays, _ = tensor_file.load(path)
            except tensor_file.DamagedFileError:
                path.unlink()
                continue
            where.update(dict.fromkeys(arrays, path))
        return where


def identify(clip: Clip) -> str:
    """Return a name for a clip within its manifest."""
    text = json.dumps([clip.path, *clip.stretch])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
