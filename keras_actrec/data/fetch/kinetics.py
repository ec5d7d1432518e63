"""Kinetics: the official lists, the clips of each class, and the archives that hold them.

FiftyOne's `KineticsDatasetInfo` knows where the lists are, how a clip's file is called, which page it is on, which
stretch of it is meant, and which archive holds a class; all of this is taken from there. It brings the lists by itself
in a way that a broken connection spoils for good, so they are laid where it looks for them before it is asked.

What is not used, since it does not do what it says (FiftyOne 1.22.1):

- `download_kinetics_split` with `classes` and without `max_samples` raises KeyError for a class that has no folder yet
  (600, 700);
  with `max_samples` it takes the first class as far as that goes; its `seed` shuffles a list made from a set, so that
  it depends on PYTHONHASHSEED; its `num_workers` is overwritten by 1; `retry_errors=False` compares identifiers with
  messages, so that dead videos are tried again in each call; archives are downloaded and never unpacked, since the list
  of their files comes back empty, and those of 700 would land in folders that are called after the archive, not the
  class.
- `download_youtube_videos` takes no cookies and no proxy, hides Retry-After, and has no limit of time.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_actrec import files
from keras_actrec.data.fetch import archives, fiftyone_door
from keras_actrec.data.fetch.origin import Folder, Origin, is_address, rejecting
from keras_actrec.data.fetch.outcome import FailureError
from keras_actrec.data.fetch.plan import Candidate
from keras_actrec.data.official import lists
from keras_actrec.errors import UserError

if TYPE_CHECKING:
    from fiftyone.utils.kinetics import KineticsDatasetInfo

_FILES = {
    "train": ("train.json", "train.csv"),
    "validation": ("validate.json", "validation.json", "val.json", "validate.csv", "validation.csv", "val.csv"),
}
_VERSION = re.compile(r"(?:kinetics|k)[-_ ]?(400|600|700(?:[-_]2020)?)(?!\d)")
FOLDERS = {"train": "train", "validation": "test"}
"""Official list -> folder of its videos, called after our split: results are reported on the validation list."""


class Kinetics:
    """One version of Kinetics.

    Args:
        version: "400", "600", "700" or "700-2020".
        origin: where the lists come from.
        hidden: folder for them.
        splits: official lists that are wanted.
        work: folder for what is unpacked on the way.
    """

    def __init__(self, version: str, origin: Origin, hidden: Path, splits: Iterable[str], work: Path) -> None:
        self.version = version
        self.splits = tuple(splits)
        self._origin = origin
        self._home = hidden / "kinetics"
        self._ensure_lists(work)
        self._infos = {split: self._info(split) for split in self.splits}

    @property
    def title(self) -> str:
        """What people call it."""
        return f"Kinetics-{self.version}"

    @property
    def classes(self) -> list[str]:
        """All classes of the lists, sorted."""
        return sorted({label for info in self._infos.values() for label in info.all_classes})

    def candidates(self, split: str, label: str) -> list[Candidate]:
        """Return the official clips of a class."""
        info = self._infos[split]
        return [self._candidate(info, split, label, name) for name in info._classwise_sample_ids.get(label, ())]

    def class_archive(self, split: str, label: str) -> str | None:
        """Return the address of the archive of a class; None where the version has no such archives."""
        info = self._infos[split]
        if not info.supports_classwise_s3_downloads or label not in info.all_classes:
            return None
        return info.class_url(label)

    def mixed_archives(self, split: str) -> list[str]:
        """Return the addresses of the archives that hold a whole split, in parts (400).

        Raises:
            FailureError: their list cannot be had.
        """
        info = self._infos[split]
        path = self._origin.get(info.urls_s3_file, info.urls_filename)
        found = path.read_text(encoding="utf-8", errors="replace").split()
        if not found or not all(map(is_address, found)):  # such as a page that says "come back later"
            raise UserError(f"{path} is no list of addresses; {self._origin.reject(path)}.")
        return found + info.multisplit_urls

    def _candidate(self, info: KineticsDatasetInfo, split: str, label: str, name: str) -> Candidate:
        start, end = info.segment_from_id(name)
        path = f"{FOLDERS[split]}/{label}/{info.filename_from_id(name)}"
        group = lists.in_split(FOLDERS[split], name)
        return Candidate(path, label, split, group, info.url_from_id(name), float(start), float(end))

    def _info(self, split: str) -> KineticsDatasetInfo:
        build = fiftyone_door.kinetics().KineticsDatasetInfo.build_for_version
        return build(self.version, str(self._home / split), str(self._home / "scratch"), split)

    def _ensure_lists(self, work: Path) -> None:
        raw = self._home / "raw"
        if not all((raw / f"{split}.json").exists() for split in self.splits):
            for split, rows in self._read_lists(work).items():
                files.write_text(raw / f"{split}.json", json.dumps(rows))
        for split in self.splits:  # FiftyOne would bring the list of archives, which is not needed for most
            word = "val" if split == "validation" else split
            for version in (self.version.replace("-", "_"), "700_2020"):
                (raw / f"k{version}_{word}_path.txt").touch()

    def _read_lists(self, work: Path) -> dict[str, dict[str, Any]]:
        url = fiftyone_door.kinetics_annotations(self.version)
        try:
            path = self._origin.get(url, url.rpartition("/")[2])
        except FailureError as failure:
            if not isinstance(self._origin, Folder):
                name = url.rpartition("/")[2]
                raise UserError(
                    f"the lists of Kinetics-{self.version} ({name}) cannot be had: {failure}. With --from they are "
                    "taken from a folder or another address."
                ) from None
            return dict(self._loose_lists(self._origin))
        with rejecting(self._origin, path):
            found = dict(self._packed_lists(path, work))
        self._origin.done(path)
        return found

    def _packed_lists(self, path: Path, work: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the lists in an archive; JSON counts more than CSV."""
        texts = {}
        for member in archives.walk(path, work):
            if any(member.name in names for names in _FILES.values()):
                texts[member.name] = member.store(work / "list").read_bytes()
        for split in self.splits:
            name = next((name for name in _FILES[split] if name in texts), None)
            if name is None:
                why = f"it has no list of {split}, expected {' or '.join(_FILES[split])} in it"
                raise archives.DamagedArchiveError(path, why)
            try:
                yield split, _parse(name, texts[name])
            except UserError as error:
                raise archives.DamagedArchiveError(path, str(error)) from None

    def _loose_lists(self, folder: Folder) -> Iterator[tuple[str, dict[str, Any]]]:
        for split in self.splits:
            path = self._loose_list(folder, split)
            yield split, _parse(str(path), path.read_bytes())

    def _loose_list(self, folder: Folder, split: str) -> Path:
        """Return the list of a split: by the version that its folder is called after, then JSON before CSV.

        Raises:
            UserError: there is none, or several that say different things.
        """
        versions = {path: _version_of(path.relative_to(folder.root)) for path in folder.files}
        named = [path for name in _FILES[split] for path in folder.files if path.name == name]
        fitting = [path for path in named if versions[path] in (self.version, None)]
        if not fitting:
            raise UserError(
                f"{folder.root} holds neither kinetics{self.version.replace('-', '_')}.tar.gz nor an official list "
                f"of {split} ({', '.join(_FILES[split])})" + (f"; {named[0]} is another version's." if named else ".")
            )
        sure = [path for path in fitting if versions[path]] or fitting
        first = sure[0]
        for other in sure:
            if other.name == first.name and other.read_bytes() != first.read_bytes():
                raise UserError(
                    f"which is the list of {split} of Kinetics-{self.version}: {first} or {other}? Call its folder "
                    f"kinetics{self.version}, or leave one of them."
                )
        return first


def _version_of(path: Path) -> str | None:
    """Return the version of Kinetics that the nearest folder with such a name is called after; None: there is none."""
    for part in reversed(path.parts[:-1]):
        if match := _VERSION.search(part.lower()):
            return match[1].replace("_", "-")
    return None


def _parse(name: str, text: bytes) -> dict[str, Any]:
    """Return a list in the form of the official JSON files: name of a video -> label, stretch, page."""
    try:
        content = text.decode("utf-8-sig")
        rows = dict(_from_csv(content)) if name.endswith(".csv") else json.loads(content)
        for row in rows.values():
            start, end = row["annotations"]["segment"]
            if not (isinstance(row["annotations"]["label"], str) and row["url"] and float(start) < float(end)):
                raise ValueError(f"an entry is {row}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{name} is no official list of Kinetics ({error!r}).") from None
    return rows


def _from_csv(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text, newline="")):
        rows[row["youtube_id"]].append(row)
    for name, several in rows.items():  # as in the JSON files, one stretch of a video: the first
        row = min(several, key=lambda one: float(one["time_start"]))
        segment = [float(row["time_start"]), float(row["time_end"])]
        page = f"https://www.youtube.com/watch?v={name}"
        yield name, {"annotations": {"label": row["label"], "segment": segment}, "url": page}
