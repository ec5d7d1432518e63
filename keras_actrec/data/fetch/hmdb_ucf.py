"""HMDB-51 and UCF-101: an archive of videos and an archive of lists, three official folds over the same files.

The addresses are FiftyOne's. Its `download_hmdb51_dataset` and `download_ucf101_dataset` are not used (1.22.1): they
move the files into `train` and `test` of the one fold that was asked for first, so that asking for another one gives
that again; and what was interrupted half way through counts as complete. Here the files stay where they are, the lists
lie beside them, and a manifest says which fold puts them where.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from keras_actrec import files
from keras_actrec.data import splits
from keras_actrec.data.fetch import archives, fiftyone_door
from keras_actrec.data.fetch.origin import Folder, Origin
from keras_actrec.data.fetch.outcome import FailureError
from keras_actrec.data.fetch.plan import Candidate
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError, did_you_mean

VIDEOS = "videos"
LISTS = "lists"
_NAMES = {
    "hmdb51": ("hmdb51_org.rar", "test_train_splits.rar"),
    "ucf101": ("UCF101.rar", "UCF101TrainTestSplits-RecognitionTask.zip"),
}
"""What FiftyOne calls the two archives."""
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
        read = _READERS[dataset]
        self.folds = {fold: read(self._lists, fold, validation_fraction=0.0) for fold in splits.FOLDS}
        """fold -> its clips, with paths below `videos`."""

    @property
    def classes(self) -> list[str]:
        """All classes, sorted."""
        return sorted({clip.label for clips in self.folds.values() for clip in clips})

    def check_classes(self, wanted: Iterable[str]) -> None:
        """Refuse a class that the lists do not have.

        Raises:
            UserError: names the nearest that they have.
        """
        known = set(self.classes)
        for label in wanted:
            if label not in known:
                raise UserError(f"{self.dataset} has no class '{label}'.{did_you_mean(label, known)}")

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

    def _ensure_lists(self, work: Path) -> None:
        if self._lists.is_dir():
            return
        loose = self._loose_lists()
        texts = {path.name: path.read_bytes() for path in loose} if loose else self._packed_lists(work)
        made = work / LISTS
        made.mkdir()
        for name, text in texts.items():
            with files.publish(made / name) as temporary:
                temporary.write_bytes(text)
        made.replace(self._lists)  # all of them, or none

    def _loose_lists(self) -> list[Path]:
        found = self._origin.files if isinstance(self._origin, Folder) else []
        return [path for path in found if _is_list(path.name)]

    def _packed_lists(self, work: Path) -> dict[str, bytes]:
        name = _NAMES[self.dataset][1]
        url = "" if isinstance(self._origin, Folder) else fiftyone_door.links(self.dataset)[1]
        try:
            path = self._origin.get(url, name)
        except FailureError as failure:
            raise UserError(f"the official lists of {self.dataset} ({name}) cannot be had: {failure}.") from None
        members = archives.walk(path, work)
        texts = {one.name: one.store(work / "list").read_bytes() for one in members if _is_list(one.name)}
        if not texts:
            raise UserError(f"{path} holds no official list of {self.dataset}.")
        self._origin.done(path)
        return texts


def _is_list(name: str) -> bool:
    known = ("classInd.txt", "trainlist", "testlist")
    return name.endswith(".txt") and (name.startswith(known) or "_test_split" in name)
