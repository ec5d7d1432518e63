"""From a configuration to a folder of videos with a manifest and a receipt."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_actrec.config.fetch import FetchConfig
from keras_actrec.data.fetch import archives, hmdb_ucf, kinetics, listing, rar_tool, space
from keras_actrec.data.fetch.from_archives import ArchiveRoute
from keras_actrec.data.fetch.from_pages import PageRoute
from keras_actrec.data.fetch.hmdb_ucf import FoldedCollection
from keras_actrec.data.fetch.kinetics import Kinetics
from keras_actrec.data.fetch.licences import LICENCES
from keras_actrec.data.fetch.listing import Count, Listing
from keras_actrec.data.fetch.origin import Folder, Hosts, Origin, is_address, rejecting, without_secrets
from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.data.fetch.pace import Pace
from keras_actrec.data.fetch.place import Place
from keras_actrec.data.fetch.plan import Candidate, ClassPlan
from keras_actrec.data.fetch.transfer import Wire
from keras_actrec.data.fetch.video_pool import VideoPool, need_tools
from keras_actrec.errors import UserError, did_you_mean

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Progresses:
    """Who is told how far the work is; each is called with (done, in all).

    Attributes:
        clips: clips there and clips wanted.
        archive_mb: of the archive on its way.
    """

    clips: Progress | None = None
    archive_mb: Progress | None = None


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What came out.

    Attributes:
        root: the target folder.
        listing: rows and counts.
        receipt: as it was written.
        notes: what the user should know besides, in sentences.
    """

    root: Path
    listing: Listing
    receipt: dict[str, Any]
    notes: tuple[str, ...] = ()


def fetch(config: FetchConfig, retry: bool = False, progress: Progresses | None = None) -> Fetched:
    """Bring what a configuration asks for, or what is missing of it.

    Args:
        config: what, from where, into which folder.
        retry: whether videos that failed for a reason that may have passed are tried again.
        progress: is told how far it is.

    Raises:
        UserError: a mistake of the user's, a tool that is missing, a host that refuses, a disk too small. What is there
            stays, and the same call goes on.
    """
    rar_tool.need_package()
    place = Place(config.target, config.dataset)
    place.open()
    try:
        return _Run(config, place, progress or Progresses()).work(retry)
    finally:
        place.close()


class _Run:
    """One call."""

    def __init__(self, config: FetchConfig, place: Place, progress: Progresses) -> None:
        self._config = config
        self._place = place
        self._progress = progress
        self._pace = Pace(config.interval_sec, config.attempts, config.wait_sec)
        self._wire = Wire(self._pace, config.timeout_sec, config.proxy)
        self._origin = self._open_origin()
        self._salt = f"{config.seed}/{config.dataset}"
        self._notes: list[str] = []

    def work(self, retry: bool) -> Fetched:
        """Bring it."""
        self._place.remember({"origin": without_secrets(self._config.mirror) or "official hosts"})
        if retry:
            self._place.forget_passing()
        collection = self._open_collection()
        _check_classes(self._config.classes, collection)
        plans = self._plans(collection)
        self._recall(plans)
        with _sentences():
            self._bring(collection, plans)
        return self._finish(collection, plans)

    def _open_origin(self) -> Origin:
        mirror = self._config.mirror
        if mirror is not None and not is_address(mirror):
            return Folder(Path(mirror))
        return Hosts(self._wire, self._place.archives, mirror, self._config.keep_archives)

    def _open_collection(self) -> Kinetics | FoldedCollection:
        config, place = self._config, self._place
        if config.version:
            return Kinetics(config.version, self._origin, place.hidden, config.wanted_splits, place.work)
        return FoldedCollection(config.dataset, self._origin, place.root, place.work)

    def _plans(self, collection: Kinetics | FoldedCollection) -> list[ClassPlan]:
        labels = sorted(self._config.classes) or collection.classes
        if isinstance(collection, FoldedCollection) and self._all_folds:
            plans = [ClassPlan("", label, collection.candidates(label), None, self._salt) for label in labels]
        else:
            plans = [
                ClassPlan(split, label, self._candidates(collection, split, label), self._most(split), self._salt)
                for split in self._config.wanted_splits
                for label in labels
            ]
        return [plan for plan in plans if plan.order]

    def _candidates(self, collection: Kinetics | FoldedCollection, split: str, label: str) -> list[Candidate]:
        if isinstance(collection, Kinetics):
            return collection.candidates(split, label)
        return collection.candidates(label, self._config.fold, split)

    def _most(self, split: str) -> int | None:
        return self._config.most_per_class(split)

    @property
    def _all_folds(self) -> bool:
        """Whether all clips of a class are wanted, so that every fold can be listed."""
        return self._config.per_class is None and len(self._config.wanted_splits) == 2

    def _recall(self, plans: Sequence[ClassPlan]) -> None:
        """Tell the plans what is there already and what is known not to be had."""
        present = self._place.present([*kinetics.FOLDERS.values(), hmdb_ucf.VIDEOS])
        dead = self._place.dead()
        for plan in plans:
            stems = {one.stem for one in plan.order}
            plan.alive.update({stem: path for stem, path in present.items() if stem in stems})
            plan.dead.update({stem: why for stem, why in dead.items() if stem in stems and stem not in plan.alive})

    def _bring(self, collection: Kinetics | FoldedCollection, plans: list[ClassPlan]) -> None:
        wanting = [plan for plan in plans if plan.missing()]
        if not wanting:
            return
        route = ArchiveRoute(plans, self._place, self._pace, self._progress.clips)
        if isinstance(self._origin, Folder):
            self._from_folder(self._origin, route, wanting)
        elif isinstance(collection, FoldedCollection):
            self._from_one_archive(collection, route, wanting)
        elif self._config.via == "youtube" or (self._config.via == "auto" and self._config.version == "400"):
            self._from_pages(wanting)
        else:
            self._from_kinetics_archives(collection, route, plans)

    def _from_folder(self, folder: Folder, route: ArchiveRoute, plans: list[ClassPlan]) -> None:
        """Take videos, then what the archives hold; one that cannot be read may have nothing to do with it."""
        route.take(folder.files)
        unusable = []
        for path in _likely_first([path for path in folder.files if archives.is_archive(path.name)], plans):
            still = [plan for plan in plans if plan.missing()]
            try:
                if still:
                    route.unpack(path, still)
            except archives.UnusableArchiveError as error:
                unusable.append(error.told)
        if any(plan.missing() for plan in plans):
            self._notes += [f"note: {words}; it may hold some of what is missing." for words in unusable]
        route.give_up(plans, "not in the folder", for_good=not unusable)

    def _from_one_archive(self, collection: FoldedCollection, route: ArchiveRoute, plans: list[ClassPlan]) -> None:
        url, name = collection.archive()
        if self._config.mirror is None:
            archives.need_rar_tool()
        self._unpack(url, name, route, plans)
        route.give_up(plans, "not in the archive")

    def _from_kinetics_archives(self, collection: Kinetics, route: ArchiveRoute, plans: list[ClassPlan]) -> None:
        for plan in plans:
            url = collection.class_archive(plan.split, plan.label)
            if url is None or not plan.missing():
                continue
            try:
                self._unpack(url, f"{plan.split}-{url.rpartition('/')[2]}", route, [plan])
            except FailureError as failure:
                if failure.kind is not Kind.GONE:
                    raise
            route.give_up([plan], "not in the archive")
        for split in self._config.wanted_splits if collection.version == "400" else ():
            self._from_parts(collection, route, [plan for plan in plans if plan.split == split])

    def _from_parts(self, collection: Kinetics, route: ArchiveRoute, plans: list[ClassPlan]) -> None:
        """Go through the parts of a split, of each of which any class may have something.

        A part that was gone through is so for all classes that are asked for, also once some of them are complete.
        """
        wanting = [plan for plan in plans if plan.missing()]
        if not wanting:
            return
        key = f"{self._salt} {[(plan.split, plan.label, plan.wanted) for plan in plans]}"
        done = self._place.finished(key)
        for url in collection.mixed_archives(wanting[0].split):
            if url in done:
                route.unreadable |= done[url]
                continue
            before = set(route.unreadable)
            self._unpack(url, url.rpartition("/")[2], route, wanting)
            found = {stem: why for stem, why in route.unreadable.items() if stem not in before}
            self._place.remember_finished(url, key, found)
        route.give_up(wanting, "not in the archives")

    def _unpack(self, url: str, name: str, route: ArchiveRoute, plans: list[ClassPlan]) -> None:
        path = self._origin.get(url, name, self._in_mb)
        with rejecting(self._origin, path):
            route.unpack(path, plans)
        self._origin.done(path)

    def _in_mb(self, done: int, total: int) -> None:
        if self._progress.archive_mb:
            self._progress.archive_mb(done // 10**6, max(1, total // 10**6))

    def _from_pages(self, plans: list[ClassPlan]) -> None:
        need_tools()
        missing = sum(plan.wanted - plan.present for plan in plans)
        space.check(self._place.root, missing * self._config.clip_mb * 1e6, f"{missing} videos")
        with VideoPool(self._config, self._pace, self._place.work) as pool:
            route = PageRoute(pool, self._origin, self._place, self._pace, self._config.workers, self._progress.clips)
            route.bring(plans)

    def _finish(self, collection: Kinetics | FoldedCollection, plans: list[ClassPlan]) -> Fetched:
        result = self._list(collection, plans)
        result.write_manifest(self._place.root)
        about = {
            "sources": self._sources(),
            "licence": LICENCES[self._config.dataset],
            "versions": {name: _version(name) for name in ("fiftyone", "yt-dlp")},
        }
        receipt = listing.write_receipt(self._place.root, self._config, plans, result, about)
        return Fetched(self._place.root, result, receipt, tuple(self._notes))

    def _sources(self) -> str:
        if self._config.mirror:
            return without_secrets(self._config.mirror)
        return "the official hosts that FiftyOne names" + (", YouTube" if self._config.version else "")

    def _list(self, collection: Kinetics | FoldedCollection, plans: list[ClassPlan]) -> Listing:
        if isinstance(collection, FoldedCollection):
            return _list_folds(collection, plans, range(1, 4) if self._all_folds else [self._config.fold], self._config)
        rows = [row for plan in plans for row in plan.chosen()]
        splits = {row.path: kinetics.FOLDERS[row.split] for row in rows}
        counts: dict[str, dict[str, Count]] = {}
        for plan in plans:
            counted = counts.setdefault(kinetics.FOLDERS[plan.split], {})
            counted[plan.label] = Count(len(plan.order), plan.wanted, plan.present)
        return Listing(rows, {"split": splits}, counts)


def _list_folds(
    collection: FoldedCollection, plans: Sequence[ClassPlan], folds: Sequence[int], config: FetchConfig
) -> Listing:
    """List the clips of some folds; count those of the one that was asked for."""
    rows = [row for plan in plans for row in plan.chosen()]
    alive = {stem for plan in plans for stem in plan.alive}
    official = {
        fold: {path.rpartition(".")[0]: clip for path, clip in collection.clips(fold).items()} for fold in folds
    }
    stems = {row.stem: row.path for row in rows}
    splits = {
        f"split_{fold}": {path: official[fold][stem].split for stem, path in stems.items() if stem in official[fold]}
        for fold in folds
    }
    labels = {plan.label for plan in plans}
    counts: dict[str, dict[str, Count]] = {split: {} for split in config.wanted_splits}
    for stem, clip in sorted(official[config.fold].items()):
        if clip.label in labels and clip.split in counts:
            count = counts[clip.split].setdefault(clip.label, Count())
            count.official += 1
            count.requested += stem in stems
            count.present += stem in stems and stem in alive
    return Listing(rows, splits, counts)


def _likely_first(paths: Sequence[Path], plans: Sequence[ClassPlan]) -> list[Path]:
    """Put archives that are called after a class before the others; each in a fixed order."""
    labels = {plan.label for plan in plans}
    return sorted(paths, key=lambda path: (path.name.split(".")[0] not in labels, str(path)))


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Turn a download that failed for good into a sentence."""
    try:
        yield
    except FailureError as failure:
        raise UserError(
            f"an archive could not be had: {failure.reason}; what is there is kept, and the same command goes on. With "
            "--from it is taken from a folder or another address."
        ) from None


def _check_classes(wanted: Iterable[str], collection: Kinetics | FoldedCollection) -> None:
    """Refuse a class that the official lists do not have, and name the nearest that they have."""
    known = set(collection.classes)
    for label in wanted:
        if label not in known:
            raise UserError(f"{collection.title} has no class '{label}'.{did_you_mean(label, known)}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
