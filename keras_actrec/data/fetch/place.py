"""The target folder: what lies where, whose it is, and what is remembered from call to call.

    manifest.csv receipt.json      what came out
    train/CLASS/... test/CLASS/... the videos of Kinetics (its validation list is our test split)
    videos/CLASS/... lists/        the videos and the official lists of HMDB-51 and UCF-101
    .fetch/                        lock, journal, unfinished downloads, the lists of Kinetics

A video is in its place when it is complete and was decoded; so what is there is the memory of what is there. The
journal remembers the rest: videos that cannot be had, with the reason, and archives that were gone through.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.data import motion_store
from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock

MANIFEST = "manifest.csv"
RECEIPT = "receipt.json"
_HIDDEN = ".fetch"


class Place:
    """A target folder that this process alone works in.

    Args:
        root: the folder.
        dataset: the collection that it is for.
    """

    def __init__(self, root: Path, dataset: str) -> None:
        self.root = root
        self.dataset = dataset
        self.hidden = root / _HIDDEN
        self.archives = self.hidden / "archives"
        self.work = self.hidden / "work"
        self._journal = self.hidden / "journal.jsonl"
        self._lock = Lock(self.hidden / "lock")

    def open(self) -> None:
        """Take the folder.

        Raises:
            UserError: it is a file, holds something else, or another process works in it.
        """
        self._refuse_others()
        self.hidden.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except HeldError as error:
            raise UserError(f"process {error.holder} is fetching into {self.root}; wait for it.") from None
        files.write_text(self.hidden / "dataset", self.dataset + "\n")
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()

    def close(self) -> None:
        """Give the folder back."""
        shutil.rmtree(self.work, ignore_errors=True)
        self._lock.release()

    def remember(self, entry: dict[str, Any]) -> None:
        """Add a line to the journal, on the disk when this returns."""
        with self._journal.open("a+b") as file:
            torn = file.tell() and not _ends_with_newline(file)
            file.write((b"\n" if torn else b"") + json.dumps(entry, sort_keys=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """Return the journal's lines; one that a kill or a full disk cut is left out."""
        if not self._journal.exists():
            return []
        found = []
        for line in self._journal.read_bytes().split(b"\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def remember_dead(self, failures: Mapping[str, FailureError]) -> None:
        """Remember clips that cannot be had: stem -> why."""
        if failures:
            self.remember({"dead": {stem: [one.reason, one.kind.value] for stem, one in failures.items()}})

    def dead(self) -> dict[str, FailureError]:
        """Return what is remembered of clips that cannot be had from where the last call looked: stem -> why."""
        found: dict[str, FailureError] = {}
        origin = None
        for entry in self.entries():
            if entry.get("origin", origin) != origin:
                origin = entry["origin"]
                found.clear()
            for stem, (reason, kind) in entry.get("dead", {}).items():
                found[stem] = FailureError(reason, Kind(kind))
            for stem in entry.get("forget", ()):
                found.pop(stem, None)
        return found

    def remember_finished(self, archive: str, key: str, unreadable: Mapping[str, FailureError]) -> None:
        """Remember that an archive was gone through for a key, and what in it cannot be decoded: stem -> why."""
        bad = {stem: [one.reason, one.kind.value] for stem, one in unreadable.items()}
        self.remember({"archive": archive, "for": key, "unreadable": bad})

    def finished(self, key: str) -> dict[str, dict[str, FailureError]]:
        """Return archive -> its clips that cannot be decoded, of those that need not be gone through again for a key.

        They have to be when the last call looked elsewhere, or when clips were forgotten that may be in them.
        """
        found: dict[str, dict[str, FailureError]] = {}
        origin = None
        for entry in self.entries():
            if entry.get("origin", origin) != origin or entry.get("forget"):
                origin = entry.get("origin", origin)
                found.clear()
            if entry.get("for") == key:
                bad = entry.get("unreadable", {})
                found[entry["archive"]] = {stem: FailureError(why, Kind(kind)) for stem, (why, kind) in bad.items()}
        return found

    def forget_passing(self) -> int:
        """Forget the failures that may have passed, so that they are tried again; return how many."""
        stems = [stem for stem, failure in self.dead().items() if failure.kind is not Kind.GONE]
        if stems:
            self.remember({"forget": sorted(stems)})
        return len(stems)

    def forgotten(self) -> set[str]:
        """Return the stems that were ever forgotten, so that they are tried once more."""
        return {stem for entry in self.entries() for stem in entry.get("forget", ())}

    def put(self, source: Path, relative: str) -> None:
        """Move a complete file to where it belongs."""
        target = self.root / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(source, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        source.replace(target)

    def present(self, folders: Iterable[str]) -> dict[str, str]:
        """Return stem -> path of the files below some folders of the target, both relative to it."""
        found = {}
        for folder in folders:
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    relative = path.relative_to(self.root).as_posix()
                    found[relative.rpartition(".")[0]] = relative
        return found

    def _refuse_others(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"expected a folder to fetch into, but {self.root} is a file; choose another with --to.")
        if not self.root.exists():
            return
        owner = self.hidden / "dataset"
        if owner.exists():
            held = owner.read_text().strip()
            if held != self.dataset:
                raise UserError(f"{self.root} holds {held}, not {self.dataset}; choose another folder with --to.")
            return
        ours = {_HIDDEN, motion_store.FOLDER}
        strangers = sorted(path.name for path in self.root.iterdir() if path.name not in ours)
        if strangers:
            raise UserError(
                f"{self.root} holds files that were not fetched, such as {strangers[0]}; choose an empty or a new "
                "folder with --to. Videos that you have already are taken from there with --from."
            )


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
