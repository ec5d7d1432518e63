"""The prepared cache: every frame of every clip as a small JPEG, in sharded TFRecords that are read at random.

A folder (or `s3://` address) holds
- `receipt.json`: what the cache is made of and how; a run with other settings is refused, not mixed in;
- `clips-00000.tfrecord`, ...: shards of a fixed number of clips each, records as in `data.prepared_record`;
- `clips-00000.json`, ...: where each clip of a shard lies, the shard's SHA-256, the clips that could not be read;
- `index.json`: all of these together; written last, so that it exists if and only if the cache is complete.

Shards are published whole and their contents depend on the manifest alone: a preparation that was killed goes on with
the first missing shard and gives the same bytes as an undisturbed one. A read takes the head of a record and the
wanted frames, each from its place in the file (at an `s3://` address the whole record in one go); each frame is
checked against its own CRC, `verify` checks whole shards.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec.data import boxes as box_files
from keras_actrec.data import motion_store, prepared_record, remote, tfrecord
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.prepared_layout import (
    FORMAT,
    Entry,
    Receipt,
    Unreadable,
    check_receipt,
    differs,
    fingerprint,
    key_of,
    read_receipt,
    sha256,
    source_bytes,
    write_receipt,
)
from keras_actrec.data.prepared_writer import Progress, write_missing
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.source import FrameSource, VideoSource
from keras_actrec.errors import UnreadableVideoError, UserError

CLIPS_PER_SHARD = 64
_SETTINGS = ("format", "short_side", "quality", "frame_step")


def prepare(
    manifest: Manifest,
    source: FrameSource,
    target: str | Path,
    *,
    short_side: int,
    quality: int = 90,
    frame_step: int = 1,
    workers: int = 0,
    quarantine: Quarantine | None = None,
    clips_per_shard: int = CLIPS_PER_SHARD,
    progress: Progress | None = None,
) -> PreparedSource:
    """Write the cache of all clips of a manifest, or what is still missing of it.

    Args:
        manifest: the clips; every split is prepared.
        source: gives the frames.
        target: a folder or an `s3://` address.
        short_side: shorter side of the frames, in pixels.
        quality: of the JPEGs, 1 to 100.
        frame_step: keep every so many-th frame.
        workers: clips that are decoded at a time; 0: one per core.
        quarantine: told of the clips that cannot be read; the cache remembers them, too.
        clips_per_shard: clips per shard, also what a killed preparation may lose.
        progress: called with the number of clips done and of all clips.

    Returns:
        The complete cache.

    Raises:
        UserError: the target holds a cache of other clips or settings, or is being written by another process.
    """
    if not 1 <= quality <= 100 or short_side < 1 or frame_step < 1:
        raise UserError(
            "expected a JPEG quality from 1 to 100, a short side and a frame step of at least 1; "
            f"got {quality}, {short_side} and {frame_step}."
        )
    clips = list({key_of(clip): clip for clip in manifest.clips}.values())
    whole = fingerprint(clips, manifest.root)
    distances = _distances(clips, manifest.root, source)
    receipt = Receipt(FORMAT, whole, len(clips), short_side, quality, frame_step, clips_per_shard, distances)
    folder = remote.open_folder(target)
    there = read_receipt(folder)
    complete = _complete(folder)
    if there is None:
        write_receipt(folder, receipt)
    else:
        # A complete cache may hold more clips than are asked for (those of other folds); one in the making must not.
        names = [field.name for field in dataclasses.fields(Receipt) if field.name != "depth_range_mm"]
        names = [*(_SETTINGS if complete else names), *(["depth_range_mm"] if distances else [])]
        check_receipt(folder.address, there, receipt, names)
    if not complete:
        report = progress or (lambda done, total: None)
        write_missing(folder, receipt, clips, manifest.root, source, workers or os.cpu_count() or 1, report)
    prepared = PreparedSource(target, manifest.root)
    prepared.check(manifest)
    if quarantine is not None:
        prepared.report_unreadable(clips, quarantine)
    return prepared


class PreparedSource:
    """A prepared cache as a `FrameSource`: frames of clips from small JPEGs.

    Thread-safe. Clips that could not be read when the cache was made raise the same error with the same reason.
    """

    def __init__(self, address: str | Path, root: str | Path | None = None) -> None:
        """Read the index.

        Args:
            address: folder or `s3://` address of the cache.
            root: folder of the data set; only person boxes are read from it, which the cache does not hold.

        Raises:
            UserError: there is no cache, it is not complete, or shards are missing or cut short.
        """
        self.address = str(address)
        self.root = None if root is None else Path(root)
        self._folder = remote.open_folder(address)
        self.receipt = read_receipt(self._folder)
        if self.receipt is None or not self._folder.exists("index.json"):
            state = "there is no prepared cache" if self.receipt is None else "there is an unfinished prepared cache"
            hint = " (or the server is not reached: check S3_ENDPOINT)" if "://" in self.address else ""
            raise UserError(f"{state} at {address}{hint}; run `python -m keras_actrec prepare` with this target.")
        index = json.loads(self._folder.read("index.json"))
        self._shards: dict[str, dict[str, Any]] = index["shards"]
        self._entries = {entry.key: entry for entry in (Entry(*row) for row in index["clips"])}
        self._unreadable = {entry.key: entry for entry in (Unreadable(*row) for row in index["unreadable"])}
        if isinstance(self._folder, remote.LocalFolder):
            self._check_sizes()

    @property
    def short_side(self) -> int:
        """Shorter side of the frames, in pixels."""
        return self.receipt.short_side

    def __len__(self) -> int:
        return len(self._entries)

    def probe(self, clip: Clip) -> VideoInfo:
        """Return number of frames, rate and size of what is stored (rotation is applied already)."""
        entry = self._entry(clip)
        return VideoInfo(entry.frames, entry.fps, entry.width, entry.height, 0)

    def read(
        self,
        clip: Clip,
        indices: Sequence[int] | np.ndarray,
        size: int | tuple[int, int] | None = None,
        modality: str = "rgb",
    ) -> np.ndarray:
        """Return frames of a clip.

        Args:
            clip: a clip of the manifest that was prepared.
            indices: frames, counted from the clip's start; in any order, repeated or not.
            size: None, the shorter side (aspect kept), or height and width, in pixels.
            modality: "rgb" or "depth".

        Returns:
            uint8 (T, H, W, 3) RGB, or (T, H, W, 1) for depth.

        Raises:
            UnreadableVideoError: the video could not be read when the cache was made, its record is damaged, or depth
                was asked for and there is none.
            UserError: the clip is not in the cache.
        """
        entry = self._entry(clip)
        start = entry.frames_at if modality == "rgb" else entry.depth_at
        if start is None:
            raise UnreadableVideoError(clip.path, "no depth video")
        wanted = np.asarray(indices, np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < entry.frames):
            raise IndexError(f"{clip.path}: frames {wanted.tolist()} were asked for, there are {entry.frames}")
        try:
            part = self._record(entry)
            return prepared_record.decode(part, entry.frames_at, start, clip.path, wanted, size, modality)
        except (UserError, LookupError, ValueError, StopIteration) as error:
            raise UnreadableVideoError(clip.path, f"damaged record in the prepared cache: {error}") from error

    def boxes(self, clip: Clip) -> np.ndarray:
        """Return the person boxes of the stored frames: float64 (n, 4), shares of the frame (see `data.boxes`).

        Boxes are shares, so those of the videos hold for frames of any size. Where the cache leaves frames out, or the
        clip is a stretch of its file, the video itself says which boxes are meant.

        Raises:
            UnreadableVideoError: the box file, or the video where it is needed, is missing, damaged or another's.
            UserError: the data set's root is not known.
        """
        entry, step = self._entry(clip), self.receipt.frame_step
        if self.root is None:
            raise UserError(
                f"the prepared cache at {self.address} holds no person boxes, and where the data set lies is not known;"
                " open the cache with the data set's root, or leave data.tailor out."
            )
        if step == 1 and clip.stretch == (None, None):
            return box_files.read(self.root / clip.boxes, entry.frames)
        found = VideoSource(self.root).boxes(clip)[::step]
        if len(found) != entry.frames:
            raise UnreadableVideoError(clip.path, f"{len(found)} boxes for {entry.frames} frames of the prepared cache")
        return found

    def motion_place(self, clip: Clip) -> motion_store.Place:
        """Return where the movement of the clip is kept: on disk, if the cache's folder is on this machine."""
        entry = self._entry(clip)
        key, state = json.dumps(entry.key), f"{self._shards[entry.shard]['sha256']} {entry.offset}"
        if isinstance(self._folder, remote.LocalFolder):
            return motion_store.Place(motion_store.file_in(self._folder.path), key, state)
        return motion_store.Place(None, key, f"{self.address} {state}")

    def _record(self, entry: Entry) -> prepared_record.Read:
        """Return a function that reads parts of a record's payload: each from its place, or all in one remote go."""
        begin = entry.offset + tfrecord.HEADER
        if isinstance(self._folder, remote.LocalFolder):
            return lambda start, length: self._folder.read_range(entry.shard, begin + start, length)
        record = self._folder.read_range(entry.shard, entry.offset, entry.length)
        if tfrecord.payload_length(record) != len(record) - tfrecord.HEADER - tfrecord.FOOTER:
            raise UserError("it is cut short")
        return lambda start, length: record[tfrecord.HEADER + start : tfrecord.HEADER + start + length]

    def check(self, manifest: Manifest, short_side: int | None = None) -> None:
        """Refuse a cache that does not hold the clips of a manifest as they are, or with frames of another size.

        A manifest of fewer clips is welcome. Original videos that are no longer there are not missed.

        Raises:
            UserError: says what differs and what to do.
        """
        if short_side is not None and short_side != self.short_side:
            raise UserError(differs(self.address, "short_side", self.short_side, short_side))
        known = {**self._entries, **self._unreadable}
        missing = [clip.path for clip in manifest.clips if key_of(clip) not in known]
        if missing:
            raise UserError(
                f"the prepared cache at {self.address} lacks {len(missing)} of {len(manifest.clips)} clips, such as "
                f"{missing[0]}; delete it, or name another folder or address (data.prepared)."
            )
        for clip in manifest.clips:
            size = source_bytes(manifest.root, clip)
            if size is not None and size != known[key_of(clip)].source_bytes:
                raise UserError(
                    f"the prepared cache at {self.address} was made before {clip.path} was replaced by another video; "
                    "delete it, or name another folder or address (data.prepared)."
                )

    def verify(self) -> None:
        """Compare the SHA-256 of every shard with the index.

        Raises:
            UserError: names the damaged shards.
        """
        damaged = [name for name, shard in self._shards.items() if sha256(self._folder, name) != shard["sha256"]]
        if damaged:
            raise UserError(f"{self.address}: damaged: {', '.join(damaged)}; delete them and prepare again.")

    def report_unreadable(self, clips: Sequence[Clip], quarantine: Quarantine) -> None:
        """Put those of the clips that could not be read when the cache was made in quarantine."""
        for clip in clips:
            if key_of(clip) in self._unreadable:
                quarantine.add(clip, self._unreadable[key_of(clip)].reason)

    def _entry(self, clip: Clip) -> Entry:
        key = key_of(clip)
        if key in self._unreadable:
            raise UnreadableVideoError(clip.path, self._unreadable[key].reason)
        if key not in self._entries:
            raise UserError(
                f"{clip.path} is not in the prepared cache at {self.address}; prepare the data set anew, into another "
                "folder."
            )
        return self._entries[key]

    def _check_sizes(self) -> None:
        for name, shard in self._shards.items():
            if not self._folder.exists(name) or self._folder.size(name) != shard["bytes"]:
                raise UserError(
                    f"{self.address}: {name} is missing or cut short; run `python -m keras_actrec prepare` with this "
                    "target to make it again."
                )


def _complete(folder: remote.Folder) -> bool:
    if not folder.exists("index.json"):
        return False
    shards = json.loads(folder.read("index.json"))["shards"]
    return all(folder.exists(name) and folder.size(name) == shard["bytes"] for name, shard in shards.items())


def _distances(clips: Sequence[Clip], root: Path, source: FrameSource) -> tuple[float, float] | None:
    """Return the distances of depth that the frames depend on: none, unless depth lies in folders of pictures."""
    distances = getattr(source, "depth_range_mm", None)
    return distances if any(clip.depth and (root / clip.depth).is_dir() for clip in clips) else None
