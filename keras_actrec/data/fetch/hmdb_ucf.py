"""HMDB-51 and UCF-101: an archive of videos and an archive of lists, three official folds over the same files.

The addresses are FiftyOne's. Its `download_hmdb51_dataset` and `download_ucf101_dataset` are not used (1.22.1): they
move the files into `train` and `test` of the one fold that was asked for first, so that asking for another one gives
that again; and what was interrupted half way through counts as complete. Here the files stay where they are, the lists
lie beside them, and a manifest says which fold puts them where.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from keras_actrec import files
from keras_actrec.data import splits
from keras_actrec.data.fetch import archives, fiftyone_door
from keras_actrec.data.fetch.origin import Folder, Origin, rejecting
from keras_actrec.data.fetch.outcome import FailureError
from keras_actrec.data.fetch.plan import Candidate
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError

VIDEOS = "videos"
LISTS = "lists"
_NAMES = {
    "hmdb51": ("hmdb51_org.rar", "test_train_splits.rar"),
    "ucf101": ("UCF101.rar", "UCF101TrainTestSplits-RecognitionTask.zip"),
}
"""What FiftyOne calls the two archives."""
_IS_LIST = {
    "hmdb51": re.compile(r".*_test_split.*\.txt").fullmatch,
    "ucf101": re.compile(r"(classInd|trainlist|testlist).*\.txt").fullmatch,
}
"""Whose lists: somebody may have both collections in one folder."""
_READERS = {"hmdb51": splits.read_hmdb51, "ucf101": splits.read_ucf101}


class FoldedCollection:
    """HMDB-51 or UCF-101.

    Args:
        dataset: "hmdb51" or "ucf101".
        origin: where lists and videos come from.
        root: the target folder.
        work: folder for what is unpacked on the way.
    """

    def __init__(self, dataset: str, origin: Origin, root: Path, work: Path) -> None:
        self.dataset = dataset
        self._origin = origin
        self._lists = root / LISTS
        self._ensure_lists(work)
        self.folds = self._read(self._lists)
        """fold -> its clips, with paths below `videos`."""

    @property
    def title(self) -> str:
        """What people call it."""
        return self.dataset

    @property
    def classes(self) -> list[str]:
        """All classes, sorted."""
        return sorted({clip.label for clips in self.folds.values() for clip in clips})

    def candidates(self, label: str, fold: int | None = None, split: str = "") -> list[Candidate]:
        """Return the clips of a class: of one list of one fold, or of all that any fold names."""
        chosen = self.folds if fold is None else {fold: self.folds[fold]}
        found = {
            clip.path: Candidate(f"{VIDEOS}/{clip.path}", clip.label, split, clip.group)
            for clips in chosen.values()
            for clip in clips
            if clip.label == label and split in ("", clip.split)
        }
        return [found[path] for path in sorted(found)]

    def clips(self, fold: int) -> dict[str, Clip]:
        """Return the clips of a fold: path below the target folder -> clip."""
        return {f"{VIDEOS}/{clip.path}": clip for clip in self.folds[fold]}

    def archive(self) -> tuple[str, str]:
        """Return address and name of the archive of videos."""
        return fiftyone_door.links(self.dataset)[0], _NAMES[self.dataset][0]

    def _read(self, folder: Path) -> dict[int, list[Clip]]:
        return {fold: _READERS[self.dataset](folder, fold, validation_fraction=0.0) for fold in splits.FOLDS}

    def _ensure_lists(self, work: Path) -> None:
        """Lay the lists into the target folder: all that are needed, or none."""
        if self._lists.is_dir():
            return
        made = work / LISTS
        made.mkdir()
        if isinstance(self._origin, Folder) and (loose := self._loose_lists(self._origin)):
            texts = {path.name: path.read_bytes() for path in loose}
            if why := self._why_useless(texts, made):
                raise UserError(f"the official lists in {self._origin.root} cannot be used: {why}.")
        else:
            self._unpack_lists(made, work)
        made.replace(self._lists)

    def _why_useless(self, texts: Mapping[str, bytes], made: Path) -> str:
        """Write lists into a folder and return why the reader cannot do with them; empty when it can."""
        for name, text in texts.items():
            with files.publish(made / name) as temporary:
                temporary.write_bytes(text)
        try:
            self._read(made)
        except UserError as error:  # as it stands there, but for our folder and what to do about it
            return str(error).replace(f"{made}/", "").replace(str(made), "them").partition(";")[0].rstrip(".")
        return ""

    def _loose_lists(self, folder: Folder) -> list[Path]:
        return [path for path in folder.files if _IS_LIST[self.dataset](path.name)]

    def _unpack_lists(self, made: Path, work: Path) -> None:
        name = _NAMES[self.dataset][1]
        url = "" if isinstance(self._origin, Folder) else fiftyone_door.links(self.dataset)[1]
        try:
            path = self._origin.get(url, name)
        except FailureError as failure:
            raise UserError(f"the official lists of {self.dataset} ({name}) cannot be had: {failure}.") from None
        with rejecting(self._origin, path):
            members = archives.walk(path, work)
            wanted = (one for one in members if _IS_LIST[self.dataset](one.name))
            texts = {one.name: one.store(work / "list").read_bytes() for one in wanted}
            if not texts:
                raise archives.DamagedArchiveError(path, f"it holds no official list of {self.dataset}")
            if why := self._why_useless(texts, made):
                raise archives.DamagedArchiveError(path, why)
        self._origin.done(path)
