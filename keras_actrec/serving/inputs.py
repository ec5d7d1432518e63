"""From the words on a command line to video files: files, folders and patterns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_actrec.data import image_sequence
from keras_actrec.data.folder import VIDEO_SUFFIXES
from keras_actrec.errors import UserError

_MAGIC = set("*?[")


def videos(words: Sequence[str]) -> list[Path]:
    """Return the files that are meant, each once, in the order of the words.

    Of a folder all videos in it and in the folders below are meant, in order of name; or, where there are none, the
    folders of pictures, each of which is a video.
    A file that is named is taken whatever its suffix, and whether or not it is there: reading it tells what is wrong.

    Raises:
        UserError: a folder without videos, or a pattern that is none or fits no file.
    """
    return list(dict.fromkeys(path for word in words for path in _meant(word)))


def _meant(word: str) -> Iterator[Path]:
    path = Path(word)
    if path.is_dir():
        yield from _in_folder(path)
    elif set(word) & _MAGIC and not path.exists():
        root = Path(path.anchor or ".")
        try:
            found = sorted(root.glob(str(path.relative_to(path.anchor))))
        except ValueError:
            raise UserError(f"the pattern {word}: ** stands alone between slashes, as in clips/**/*.mp4.") from None
        if not found:
            raise UserError(f"no file fits the pattern {word}.")
        for one in found:
            yield from _in_folder(one) if one.is_dir() else (one,)
    else:
        yield path


def _in_folder(folder: Path) -> list[Path]:
    inside = [folder, *(path for path in sorted(folder.rglob("*")) if not _is_hidden(path.relative_to(folder)))]
    found = [path for path in inside if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES]
    found = found or [path for path in inside if image_sequence.is_sequence(path)]
    if not found:
        raise UserError(f"the folder {folder} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}).")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
