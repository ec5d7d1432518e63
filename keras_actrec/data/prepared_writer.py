"""Writing a prepared cache: shards of a fixed number of clips, encoded in threads, published one after the other."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec.data import prepared_record, remote, tfrecord
from keras_actrec.data.manifest import Clip
from keras_actrec.data.prepared_layout import Entry, Receipt, Unreadable, row_of, sha256, source_bytes
from keras_actrec.data.quarantine import reason_of
from keras_actrec.data.source import FrameSource
from keras_actrec.errors import UnreadableVideoError

Progress = Callable[[int, int], None]
_CHUNK = 128


def write_missing(
    folder: remote.Folder,
    receipt: Receipt,
    clips: Sequence[Clip],
    root: Path,
    source: FrameSource,
    workers: int,
    progress: Progress,
) -> None:
    """Write the shards that are not there, then the index.

    Args:
        folder: where to.
        receipt: how.
        clips: all clips of the cache, in its order.
        root: folder of the original videos, for their sizes.
        source: gives the frames.
        workers: clips that are decoded at a time.
        progress: called with the number of clips done and of all clips.
    """
    size = receipt.clips_per_shard
    parts = {f"clips-{start // size:05d}": clips[start : start + size] for start in range(0, len(clips), size)}
    finished = 0

    def done() -> None:
        nonlocal finished
        finished += 1
        progress(finished, len(clips))

    with _scratch(folder) as scratch, _pool(workers) as pool:
        for name, part in parts.items():
            if _shard_is_there(folder, name):
                finished += len(part)
                continue
            encoded = _in_order(pool, workers, part, lambda clip: _encode(clip, root, source, receipt))
            _write_shard(folder, scratch, name, root, encoded, done)
        _write_index(folder, list(parts))


@contextlib.contextmanager
def _scratch(folder: remote.Folder) -> Iterator[Path]:
    if isinstance(folder, remote.LocalFolder):
        with folder.writing() as path:
            yield path
    else:
        with tempfile.TemporaryDirectory() as path:
            yield Path(path)


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Threads, because decoders and JPEG's encoder release the interpreter; an error or Ctrl-C drops what waits."""
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: concurrent.futures.Executor, workers: int, clips: Sequence[Clip], work: Callable[[Clip], Any]
) -> Iterator[tuple[Clip, concurrent.futures.Future]]:
    """Yield clips and their results in order, while few more than `workers` are held in memory."""
    waiting: collections.deque = collections.deque()
    for clip in clips:
        waiting.append((clip, pool.submit(work, clip)))
        if len(waiting) > workers:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _encode(clip: Clip, root: Path, source: FrameSource, receipt: Receipt) -> tuple[bytes, dict[str, Any]]:
    """Return a clip's record and what the index says of it.

    Raises:
        UnreadableVideoError: the clip cannot be read from beginning to end.
    """
    info = source.probe(clip)
    indices = np.arange(0, info.frames, receipt.frame_step)
    if not len(indices):
        raise UnreadableVideoError(clip.path, "no frames")
    short = min(receipt.short_side, info.width, info.height)
    jpegs = {
        modality: _jpegs(clip, indices, short, modality, source, receipt.quality)
        for modality in (("rgb", "depth") if clip.depth else ("rgb",))
    }
    fps = info.fps / receipt.frame_step
    height, width = prepared_record.jpeg_size(jpegs["rgb"][0])
    example = prepared_record.encode(clip, fps, jpegs["rgb"], jpegs.get("depth", ()))
    spans = tfrecord.spans(example)
    about = {
        "frames_at": spans["frames"][0],
        "depth_at": spans["depth"][0] if "depth" in spans else None,
        "frames": len(indices),
        "fps": fps,
        "height": height,
        "width": width,
        "source_bytes": source_bytes(root, clip),
    }
    return tfrecord.frame(example), about


def _jpegs(
    clip: Clip, indices: np.ndarray, short: int, modality: str, source: FrameSource, quality: int
) -> list[bytes]:
    """Read and encode a stretch at a time, so that a long video does not fill the memory."""
    jpegs: list[bytes] = []
    for start in range(0, len(indices), _CHUNK):
        frames = source.read(clip, indices[start : start + _CHUNK], short, modality)
        jpegs += prepared_record.encode_jpegs(frames, quality)
    return jpegs


def _write_shard(
    folder: remote.Folder,
    scratch: Path,
    name: str,
    root: Path,
    encoded: Iterator[tuple[Clip, concurrent.futures.Future]],
    done: Callable[[], None],
) -> None:
    """Publish a shard, then its part of the index."""
    entries: list[Entry] = []
    unreadable: list[Unreadable] = []
    digest, offset = hashlib.sha256(), 0
    local = scratch / f"{name}.tfrecord"
    with local.open("wb") as file:
        for clip, future in encoded:
            try:
                record, about = future.result()
            except UnreadableVideoError as error:
                facts = {"reason": reason_of(clip, error), "source_bytes": source_bytes(root, clip)}
                unreadable.append(Unreadable(**_which(clip), **facts))
            else:
                entries.append(Entry(**_which(clip), shard=local.name, offset=offset, length=len(record), **about))
                file.write(record)
                digest.update(record)
                offset += len(record)
            done()
    folder.put(local, local.name)
    shards = {local.name: {"bytes": offset, "sha256": digest.hexdigest()}}
    lists = {"clips": entries, "unreadable": unreadable}
    part = {"shards": shards, **{key: [row_of(row) for row in rows] for key, rows in lists.items()}}
    folder.write(f"{name}.json", json.dumps(part).encode())


def _which(clip: Clip) -> dict[str, Any]:
    return {name: clip[name] for name in ("path", "start_sec", "end_sec", "start_frame", "end_frame")}


def _shard_is_there(folder: remote.Folder, name: str) -> bool:
    """Return whether a shard and its part of the index are there and fit; local ones are compared byte by byte."""
    if not folder.exists(f"{name}.json") or not folder.exists(f"{name}.tfrecord"):
        return False
    shard = json.loads(folder.read(f"{name}.json"))["shards"][f"{name}.tfrecord"]
    if folder.size(f"{name}.tfrecord") != shard["bytes"]:
        return False
    return not isinstance(folder, remote.LocalFolder) or sha256(folder, f"{name}.tfrecord") == shard["sha256"]


def _write_index(folder: remote.Folder, names: Sequence[str]) -> None:
    index: dict[str, Any] = {"shards": {}, "clips": [], "unreadable": []}
    for name in names:
        part = json.loads(folder.read(f"{name}.json"))
        index["shards"].update(part["shards"])
        index["clips"] += part["clips"]
        index["unreadable"] += part["unreadable"]
    folder.write("index.json", json.dumps(index).encode())
