"""Finding clips by what other people call them: by path, by the end of a path, by name, with or without suffix.

Published lists name videos relative to folders of their authors, some without the suffix (folders of pictures), some
without any folder. A name is looked for in this order, and the first way that finds anything counts:

1. the clip's path,
2. the path without the suffix of a video,
3. the longest end that both have in common ("data/UCF-101/Archery/v_1.avi" and "videos/Archery/v_1.avi"), at least the
   file's name; if its folder bears the name of a class, it must be the clip's class,
4. of Kinetics, the video's identity: "ID" for the file "ID_000012_000022.mp4", and the other way round.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from keras_actrec.data.folder import VIDEO_SUFFIXES
from keras_actrec.data.manifest import Clip

Stretch = tuple[float | None, ...]
_KINETICS = re.compile(r"(?:.*/)?([\w-]{11})_\d{6}_\d{6}")


class ClipIndex:
    """The clips of a manifest by their names.

    Args:
        clips: of all splits.
    """

    def __init__(self, clips: Iterable[Clip]) -> None:
        self._by_path: dict[str, list[Clip]] = defaultdict(list)
        self._by_bare_path: dict[str, list[Clip]] = defaultdict(list)
        self._by_end: dict[str, list[Clip]] = defaultdict(list)
        self._by_identity: dict[str, list[Clip]] = defaultdict(list)
        self._labels: set[str | None] = set()
        for clip in clips:
            path = _tidy(clip.path)
            self._by_path[path].append(clip)
            self._by_bare_path[_bare(path)].append(clip)
            for end in _ends(_bare(path)):
                self._by_end[end].append(clip)
            if found := _KINETICS.fullmatch(_bare(path)):
                self._by_identity[found[1]].append(clip)
            self._labels.add(clip.label)

    def find(self, name: str, stretch: Stretch | None = None) -> tuple[Clip, ...]:
        """Return the clips that a name may mean; those of several files where it is ambiguous, none where unknown.

        Args:
            name: a path or a part of one.
            stretch: as in `Clip.stretch`. A clip of a whole file fits any, unless another fits exactly. None: not told;
                then of a file that stands there as a whole and in parts the whole is meant.
        """
        path = _tidy(name)
        clips = self._by_path.get(path) or self._by_bare_path.get(_bare(path)) or self._by_likeness(path, stretch)
        whole = tuple(clip for clip in clips if clip.stretch == (None, None))
        if stretch is not None:
            return tuple(clip for clip in clips if clip.stretch == stretch) or whole
        wholes = {clip.path for clip in whole}
        return (*whole, *(clip for clip in clips if clip.path not in wholes))

    def _by_likeness(self, path: str, stretch: Stretch | None) -> list[Clip]:
        for end in self._likely_ends(_bare(path), stretch):
            if clips := self._of_its_class(path, self._by_end.get(end, ())):
                return clips
        return self._by_identity.get(path, []) if stretch is None else []

    def _likely_ends(self, path: str, stretch: Stretch | None) -> Iterator[str]:
        if stretch is not None and len(stretch) == 2 and None not in stretch:
            yield f"{path}_{int(stretch[0]):06d}_{int(stretch[1]):06d}"
        yield from _ends(path)
        if found := _KINETICS.fullmatch(path):
            yield found[1]

    def _of_its_class(self, path: str, clips: Iterable[Clip]) -> list[Clip]:
        """Leave out clips of another class than the one that a path's folder is called by."""
        folder = PurePosixPath(path).parent.name
        if folder not in self._labels:
            return list(clips)
        return [clip for clip in clips if folder in (clip.label, PurePosixPath(_tidy(clip.path)).parent.name)]


def _tidy(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _bare(path: str) -> str:
    """Return a path without the suffix of a video; other dots belong to the name."""
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else path


def _ends(path: str) -> Iterator[str]:
    """Yield a path, then without its first folder, and so on down to the name alone."""
    while path:
        yield path
        _, _, path = path.partition("/")
