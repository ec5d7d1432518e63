"""Renders shots; `serve` is a worker process, which reads its orders from standard input, one JSON value a line.

The first line holds the root and the settings, each further one a list of shot numbers; every list is answered with
one line. A worker ends when its input does, so none outlives the process that started it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2

from keras_actrec import files
from keras_actrec.config import StickActions
from keras_actrec.data.synthetic.film import Take, cast, film
from keras_actrec.data.synthetic.levels import LEVELS
from keras_actrec.data.synthetic.plan import Output, Shot, group_rng, plan, take_rng
from keras_actrec.data.synthetic.recording import DEPTH_FORMAT, FORMATS, write_video


def render_shot(root: Path, settings: StickActions, shot: Shot) -> None:
    """Film one shot and publish its clips' videos, depth videos and boxes, unless they are there."""
    missing = [output for output in shot.outputs if not is_complete(root, output)]
    if not missing:
        return
    take = _film(settings, shot)
    for output in missing:
        _publish(root, shot, take, output)


def is_complete(root: Path, output: Output) -> bool:
    """Tell whether all files of a clip are there; they are published whole, so one that is there is right."""
    paths = [root / output.path, root / output.depth, root / output.boxes]
    return all(path.is_file() and path.stat().st_size > 0 for path in paths)


def serve() -> int:
    """Serve one parent process until it closes standard input."""
    cv2.setNumThreads(1)
    order = json.loads(sys.stdin.readline())
    root, settings = Path(order["root"]), StickActions(**order["settings"])
    shots = plan(settings)
    for line in sys.stdin:
        for index in json.loads(line):
            render_shot(root, settings, shots[index])
        print("done", flush=True)
    return 0


def _film(settings: StickActions, shot: Shot) -> Take:
    level, recording = LEVELS[settings.difficulty], shot.recording
    person, scene = cast(group_rng(settings.seed, shot.group), level)
    return film(
        shot.action.motion,
        person,
        scene,
        level,
        take_rng(settings.seed, shot),
        frames=recording.frames,
        seconds=recording.seconds,
        height=recording.height,
        width=recording.width,
    )


def _publish(root: Path, shot: Shot, take: Take, output: Output) -> None:
    """Write one clip's files; a clip that runs backwards holds the very same pictures in reversed order."""
    recording, step = shot.recording, -1 if output.backwards else 1
    write_video(root / output.path, take.frames[::step], FORMATS[recording.format], recording.fps)
    write_video(root / output.depth, take.depth[::step], DEPTH_FORMAT, recording.fps)
    rows = take.boxes[::step].round(1).tolist()
    files.write_json(root / output.boxes, {"width": recording.width, "height": recording.height, "boxes": rows})
