"""Out of archives, or out of a folder of videos: each class keeps the first of its order that turn up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from keras_actrec.data.fetch import archives, video_check
from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.data.fetch.pace import Pace
from keras_actrec.data.fetch.place import Place
from keras_actrec.data.fetch.plan import Candidate, ClassPlan, total
from keras_actrec.data.folder import VIDEO_SUFFIXES

Progress = Callable[[int, int], None]
Hit = tuple[ClassPlan, Candidate]


class ArchiveRoute:
    """Fills classes from files that hold them.

    Args:
        plans: the classes.
        place: the target folder.
        pace: asked whether to stop.
        progress: called with (clips there, clips wanted).
    """

    def __init__(self, plans: Sequence[ClassPlan], place: Place, pace: Pace, progress: Progress | None = None) -> None:
        self._plans = plans
        self._place = place
        self._pace = pace
        self._progress = progress
        self._ours: set[str] = set()
        self.unreadable: dict[str, FailureError] = {}
        """stem -> why, of clips that turned up and cannot be decoded; another archive may have a better copy."""

    def unpack(self, archive: Path, plans: Sequence[ClassPlan]) -> None:
        """Take what some classes want out of an archive.

        Raises:
            UserError: the archive is damaged, or a tool is missing.
        """
        find = _Finder(plans)
        for member in archives.walk(archive, self._place.work):
            self._pace.check()
            hit = find(member.folder, member.name)
            if hit and hit[0].wants(hit[1]):
                file = member.store(self._place.work / f"video{PurePosixPath(member.name).suffix.lower()}")
                self._offer(*hit, file)

    def take(self, videos: Iterable[Path]) -> None:
        """Take what the classes want from video files; the files stay, and share their disk space where they can."""
        find = _Finder(self._plans)
        offers: dict[str, Path] = {}
        for path in videos:
            hit = find(path.parent.name, path.name) if path.suffix.lower() in VIDEO_SUFFIXES else None
            if hit:
                offers.setdefault(hit[1].stem, path)
        for plan in self._plans:
            for candidate in plan.order:  # best first, so that nothing is linked in vain
                self._pace.check()
                if candidate.stem in offers and plan.wants(candidate):
                    self._offer(plan, candidate, _linked(offers[candidate.stem], self._place.work))

    def give_up(self, plans: Sequence[ClassPlan], reason: str, for_good: bool = True) -> None:
        """Note that what has not turned up will not; for this call alone, or for later ones, too."""
        absent = FailureError(reason, Kind.GONE)
        for plan in plans:
            dead = {one.stem: self.unreadable.get(one.stem, absent) for one in plan.missing()}
            plan.dead.update(dead)
            if for_good:
                self._place.remember_dead(dead)

    def _offer(self, plan: ClassPlan, candidate: Candidate, file: Path) -> None:
        try:
            video_check.check(file)
        except FailureError as failure:
            self.unreadable[candidate.stem] = failure
            file.unlink()
            return
        path = candidate.stem + file.suffix
        self._place.put(file, path)
        plan.alive[candidate.stem] = path
        self._ours.add(path)
        while len(plan.alive) > plan.wanted:
            surplus = plan.alive.pop(plan.last())
            if surplus in self._ours:  # what an earlier call fetched, which wanted more, stays
                (self._place.root / surplus).unlink()
        if self._progress:
            self._progress(*total(self._plans))


class _Finder:
    """Tells which clip a file is: by folder and name, or by a name that only one clip has.

    A clip of Kinetics may also be called after its video alone, as the official reader takes it.
    """

    def __init__(self, plans: Iterable[ClassPlan]) -> None:
        self._whole: dict[tuple[str, str], Hit] = {}
        self._bare: dict[str, Hit | None] = {}
        for plan in plans:
            for candidate in plan.order:
                self._add(plan, candidate)

    def __call__(self, folder: str, name: str) -> Hit | None:
        stem = name.rpartition(".")[0] or name
        return self._whole.get((folder, stem)) or self._bare.get(stem)

    def _add(self, plan: ClassPlan, candidate: Candidate) -> None:
        path = PurePosixPath(candidate.path)
        self._whole[path.parent.name, path.stem] = (plan, candidate)
        names = {path.stem, candidate.group.rpartition("/")[2]} if candidate.url else {path.stem}
        for name in names:
            self._bare[name] = None if name in self._bare else (plan, candidate)


def _linked(source: Path, work: Path) -> Path:
    """Return another name of a file, or a copy where the disk has no such thing."""
    target = work / f"video{source.suffix.lower()}"
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
    return target
