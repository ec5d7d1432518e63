"""EPIC-Kitchens-100 (Damen et al., IJCV 2022): actions in long videos of kitchens, told by a verb and a noun.

`data.lists` holds `EPIC_100_train.csv`, `EPIC_100_validation.csv`, `EPIC_100_verb_classes.csv` (97) and
`EPIC_100_noun_classes.csv` (300). A video is `P01/videos/P01_01.MP4` or a folder of pictures `P01/rgb_frames/P01_01`
(`frame_0000000001.jpg`, ...), anywhere in the root; where both are there, the pictures are taken, since they are small.
Verb and noun of a clip are the keys of their classes, its label is "verb noun".

Frame numbers are those of the released pictures: 60 a second (50 in the videos of the extension, which are called
P01_101), whatever the video's own rate is. At 59.94 a second the two are a second apart after 17 minutes, so videos are
cut by time stamps, and pictures by frame numbers: picture `start_frame` to picture `stop_frame`, both included.

The labels of the official test list are not public. Our test split is the official validation list; validation is
carved out of training by video, so that each verb keeps training clips (actions are too rare for that).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import lists
from keras_actrec.data.splits import carve_validation
from keras_actrec.errors import UserError

VERBS, NOUNS = 97, 300
_COLUMNS = (
    *("participant_id", "video_id", "start_timestamp", "stop_timestamp"),
    *("start_frame", "stop_frame", "verb_class", "noun_class"),
)
_VIDEO = re.compile(r"P\d\d_\d{2,3}")
_TIME = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_MOST_FRAMES = 10**9


def read(root: Path, lists_dir: Path, validation_fraction: float, seed: int) -> Manifest:
    """Return the manifest, with the official verbs and nouns in the order of their numbers.

    Raises:
        UserError: a list is missing or malformed; names file and line.
    """
    verbs = _classes(lists_dir / "EPIC_100_verb_classes.csv", VERBS)
    nouns = _classes(lists_dir / "EPIC_100_noun_classes.csv", NOUNS)
    videos = _videos(root)
    clips = [
        clip
        for split, name in (("train", "train"), ("test", "validation"))
        for clip in _clips(lists_dir / f"EPIC_100_{name}.csv", split, verbs, nouns, videos)
    ]
    lists.check_unique(clips, repeats=True)
    clips = _carve(clips, validation_fraction, seed)
    return Manifest.from_clips("epic_kitchens_100", root, 1, clips, verbs=verbs, nouns=nouns)


def _classes(path: Path, count: int) -> tuple[str, ...]:
    """Return the keys of the classes in the order of their numbers."""
    keys = {
        lists.whole(place, "an id", row["id"], 0, count - 1): row["key"]
        for place, row in lists.table(path, ("id", "key"))
    }
    if len(keys) != count or len(set(keys.values())) != count:
        raise UserError(f"{path}: expected {count} classes, each once, found {len(keys)}.")
    return tuple(keys[number] for number in range(count))


def _videos(root: Path) -> dict[str, str]:
    """Return video -> path; folders of pictures before video files, optical flow left out."""
    found: dict[str, str] = {}
    for path in lists.find_videos(root, lambda name: bool(_VIDEO.fullmatch(name))):
        name, is_folder = Path(path).stem, not Path(path).suffix
        if _VIDEO.fullmatch(name) and "flow" not in path and (is_folder or name not in found):
            found[name] = path
    return found


def _clips(
    path: Path, split: str, verbs: tuple[str, ...], nouns: tuple[str, ...], videos: dict[str, str]
) -> Iterator[Clip]:
    for place, row in lists.table(path, _COLUMNS):
        video, participant = row["video_id"], row["participant_id"]
        if not _VIDEO.fullmatch(video) or not video.startswith(f"{participant}_"):
            raise UserError(
                f"{place}: expected a participant and a video like P01 and P01_01, found {participant}, {video}."
            )
        verb = verbs[lists.whole(place, "a verb_class", row["verb_class"], 0, len(verbs) - 1)]
        noun = nouns[lists.whole(place, "a noun_class", row["noun_class"], 0, len(nouns) - 1)]
        where = videos.get(video, f"{participant}/videos/{video}.MP4")
        stretch = _frames(place, row) if where.endswith(video) else _seconds(place, row)
        yield Clip(where, f"{verb} {noun}", split, group=video, verb=verb, noun=noun, **stretch)


def _frames(place: str, row: dict[str, str]) -> dict[str, float]:
    """Return the stretch of a folder of pictures: the first of them is number 1 in the list, 0 in a manifest."""
    first, last = (lists.whole(place, name, row[name], 0, _MOST_FRAMES) for name in ("start_frame", "stop_frame"))
    extension = len(row["video_id"].partition("_")[2]) == 3
    return {"start_frame": max(first - 1, 0), "end_frame": last, "fps": 50.0 if extension else 60.0}


def _seconds(place: str, row: dict[str, str]) -> dict[str, float]:
    start, stop = (_time(place, name, row[name]) for name in ("start_timestamp", "stop_timestamp"))
    return {"start_sec": start, "end_sec": stop}


def _time(place: str, name: str, text: str) -> float:
    match = _TIME.fullmatch(text)
    if not match:
        raise UserError(f"{place}: expected {name} as hours:minutes:seconds, found '{text}'.")
    return round(3600 * int(match[1]) + 60 * int(match[2]) + float(match[3]), 3)


def _carve(clips: list[Clip], fraction: float, seed: int) -> list[Clip]:
    """Carve validation by video, with verbs in place of labels as what has to be left for training."""
    carved = carve_validation((dataclasses.replace(clip, label=clip.verb) for clip in clips), fraction, seed)
    return [dataclasses.replace(clip, split=by_verb.split) for clip, by_verb in zip(clips, carved, strict=True)]
