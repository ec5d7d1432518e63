"""By what names a repository of actions knows videos."""

from __future__ import annotations

import re

from keras_actrec.data.manifest import Clip

_STRETCH = re.compile(r"(?P<file>.+)#[0-9.e+-]*(:[0-9.e+-]*){1,3}", re.DOTALL)


def video_name(clip: Clip) -> str:
    """Return by what name a repository knows a clip of a manifest: its path, and its stretch where it has one."""
    ends = [end for end in clip.stretch if end is not None]
    if not ends:
        return clip.path
    return f"{clip.path}#{':'.join('' if end is None else f'{end:g}' for end in clip.stretch)}"


def file_of(name: str) -> str:
    """Return the file of a video that a repository knows by a name (`video_name`): the name without its stretch."""
    found = _STRETCH.fullmatch(name)
    return found["file"] if found else name
