"""All files of a data set, checked in parallel by guarded workers: `check_files`."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_actrec.data import file_version
from keras_actrec.data.file_version import Version
from keras_actrec.data.guarded import Limits, Pool
from keras_actrec.data.guarded.pool import Outcome, Request
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.verification import parts
from keras_actrec.data.verification.parts import Part
from keras_actrec.data.verification.results import Checked, Results

_CHECKS = "keras_actrec.data.verification.checks"
_MISSING = Version(-1, -1)

Found = dict[tuple[str, str], Checked]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How files are verified.

    Attributes:
        deep: decode every frame; else the index, the first, the middle and the last frame.
        limits: of each file.
        wanted: which files of a clip count, of `parts.ALL`.
        workers: processes.
    """

    deep: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)
    wanted: tuple[str, ...] = parts.ALL
    workers: int = 1

    @property
    def allowed(self) -> tuple[float, ...]:
        """The limits that a result depends on."""
        return tuple(float(value) for value in (self.limits.seconds, self.limits.memory_bytes, *self._size))

    @property
    def _size(self) -> tuple[int, int]:
        return self.limits.width, self.limits.height


@dataclasses.dataclass(frozen=True)
class _File:
    """One file that clips name, as it lies on the disk now."""

    part: Part
    version: Version
    stretches: dict[str, dict[str, Any]]


def check_files(
    manifest: Manifest,
    settings: Settings,
    results: Results,
    progress: Callable[[int, int], None] | None = None,
    again: bool = False,
) -> tuple[Found, int]:
    """Return what is known of all files of a manifest, after checking those of which it is not known yet.

    Args:
        manifest: names the files.
        settings: how.
        results: of earlier verifications; each new one is kept there at once.
        progress: called with (files done, files in all).
        again: check everything anew.

    Returns:
        The results by `Part.key`, and how many files were checked just now.
    """
    wanted = _files(manifest, settings.wanted)
    shared = _shared_sizes(wanted.values())
    todo = []
    for file in wanted.values():
        digest = _is_hashed(file) and (settings.deep or file.version.size_bytes in shared)
        known = results.known.get(file.part.key)
        holds = known and known.version == file.version
        if again or not holds or not known.holds(settings.deep, settings.allowed, digest, file.stretches):
            todo.append((file, digest))
    for done, checked in enumerate(_check(manifest.root, todo, settings), start=1 + len(wanted) - len(todo)):
        results.add(checked)
        if progress:
            progress(done, len(wanted))
    return {key: results.known[key] for key in wanted}, len(todo)


def _files(manifest: Manifest, wanted: Iterable[str]) -> dict[tuple[str, str], _File]:
    """Return each file that the clips name once, with the stretches of it that they name."""
    found: dict[tuple[str, str], _File] = {}
    for clip in manifest.clips:
        for part in parts.of(clip, wanted):
            if part.key not in found:
                found[part.key] = _File(part, _version(manifest.root / part.path), {})
            if part.kind == "video" and any(bound is not None for bound in clip.stretch):
                found[part.key].stretches[parts.stretch_key(clip)] = _stretch_fields(clip)
    return found


def _stretch_fields(clip: Clip) -> dict[str, Any]:
    names = ("start_sec", "end_sec", "start_frame", "end_frame", "fps")
    return {"label": None, "split": "unknown", **{name: getattr(clip, name) for name in names}}


def _version(path: Path) -> Version:
    try:
        return file_version.version(path)
    except OSError:
        return _MISSING


def _is_hashed(file: _File) -> bool:
    """Whether a file may have a digest; a folder of pictures has none."""
    return file.part.kind == "video" and file.version != _MISSING and not file.version.entries


def _shared_sizes(found: Iterable[_File]) -> set[int]:
    """Return the sizes that several videos have: only those can be equal, and are read whole for a digest."""
    sizes = collections.Counter(file.version.size_bytes for file in found if _is_hashed(file))
    return {size for size, count in sizes.items() if count > 1}


def _check(root: Path, todo: list[tuple[_File, bool]], settings: Settings) -> Iterator[Checked]:
    if not todo:
        return
    requests = [_request(root, file, digest, settings) for file, digest in todo]
    with (
        Pool(min(settings.workers, len(todo)), settings.limits) as pool,
        contextlib.closing(pool.each(requests)) as outcomes,
    ):
        for outcome in outcomes:
            yield _checked(todo[outcome.number][0], outcome, settings)


def _request(root: Path, file: _File, digest: bool, settings: Settings) -> Request:
    path = str(root / file.part.path)
    if file.part.kind == "boxes":
        return Request(f"{_CHECKS}:boxes", path)
    hashes = file.part.kind == "video"
    arguments = {"deep": settings.deep, "digest": digest, "hashes": hashes, "stretches": file.stretches}
    return Request(f"{_CHECKS}:video", path, arguments)


def _checked(file: _File, outcome: Outcome, settings: Settings) -> Checked:
    reason = outcome.error.reason if outcome.error else None
    facts = outcome.value or {}
    size_bytes, changed_ns, entries = file.version
    document = (file.part.kind, file.part.path, size_bytes, changed_ns, settings.deep, settings.allowed, reason, facts)
    return Checked(*document, entries)
