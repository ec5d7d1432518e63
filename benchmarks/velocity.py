"""Videos per second from file to answer: MS3D beside I3D and C3D of this package, and where the time goes.

    python benchmarks/velocity.py [--check] [--small] [--batch 1] [--videos 12]

Videos: clips of stick-actions, enlarged to 320 x 240 and written anew as H.264, all of 75 frames at 25 per second (a
shorter clip runs to and fro), with their person boxes. Each network is asked about one video after the other, as a
service would be; the networks take turns, a video each, so that other load on the machine hits all alike. MS3D chooses
frames by variance rate and cuts to the person; the others take one run of 16 frames. Weights are random: they change
nothing about time. One process, one clip and one crop per video, medians.

`sampling` is all that the variance rate takes, decoding included; `cutting` holds the tailor strategy and, for all
networks, the way from decoded frames to the network's size. Boxes come from files: the detector is not part of it.
`--check` fails when MS3D's sampling and cutting take more time than its network. `--small` is quick: narrow networks,
64 pixels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from sentences import leave

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HEIGHT, WIDTH, FRAMES, RATE = 240, 320, 75, Fraction(25)
CLASSES = 101
OURS = "ms3d"
# Name -> section `data`, options of the network; and those for --small.
FULL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    OURS: ({"tempos": (7, 17, 25), "frames": 16, "size": 224}, {}),
    "i3d_resnet50": ({"frames": 16, "size": 224}, {"weights": "none"}),
    "c3d": ({"frames": 16, "size": 112}, {}),
}
SMALL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    OURS: (
        {"tempos": (7, 17, 25), "frames": 16, "size": 64},
        {"blocks": (2, 2, 2), "growth": 8, "pathway_filters": (8, 8, 8), "code_size": 32},
    ),
    "i3d_resnet50": ({"frames": 16, "size": 64}, {"weights": "none"}),
    "c3d": ({"frames": 16, "size": 64}, {"widths": (8, 16, 32, 64, 64), "fc_units": 128}),
}


def main() -> int:
    """Measure and print a table; with --check return 1 when MS3D's preparations cost more than its network."""
    options = _parser().parse_args()
    from keras_actrec.evaluation import velocity

    with tempfile.TemporaryDirectory() as folder:
        clips = write_videos(Path(options.root), Path(folder), options.videos)
        settings = SMALL if options.small else FULL
        services = {name: service(name, *settings[name], Path(folder)) for name in settings}
        times = take_turns(services, clips, options.batch)
    rows = {name: velocity.summarize(seconds, options.batch) for name, seconds in times.items()}
    print("\n".join(table(rows, times)))
    parts = rows[OURS].parts_sec
    preparation = statistics.median(row["sampling"] + row["cutting"] for row in times[OURS])
    print(
        f"{OURS}: sampling and cutting take {preparation:.3f} s, {preparation / parts['network']:.2f} of the network's "
        f"{parts['network']:.3f} s"
    )
    return int(options.check and preparation > parts["network"])


def take_turns(services: Mapping[str, Any], clips: Sequence[Any], batch: int) -> dict[str, list[Mapping[str, float]]]:
    """Return part -> seconds for each batch of each service; the first batch is for tracing and is not counted."""
    batches = [clips[i : i + batch] for i in range(0, len(clips) - batch + 1, batch)]
    if not batches:
        raise SystemExit(f"--videos {len(clips)} are less than a batch of {batch}")
    for one in services.values():
        one.answer(batches[0])
    times: dict[str, list[Mapping[str, float]]] = {name: [] for name in services}
    for number, videos in enumerate(batches):
        names = list(services)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(services[name].answer(videos).seconds)
    return times


def service(name: str, data: Mapping[str, Any], network: Mapping[str, Any], root: Path) -> Any:
    """Return a network with random weights, and what it is shown of the videos in a folder."""
    from keras_actrec import models
    from keras_actrec.config import DataConfig, TailorConfig
    from keras_actrec.data.source import VideoSource
    from keras_actrec.data.wanted import plain_views
    from keras_actrec.evaluation.velocity import Service

    ours = {"selection": "variance_rate", "tailor": TailorConfig()} if name == OURS else {"selection": "random_run"}
    section = DataConfig(**data, **ours)
    config = models.make_config_for(name, CLASSES, section, network)
    views = plain_views(section, config.normalization)
    return Service(models.build_from_config(name, config), views, VideoSource(root, threads=None))


def write_videos(origin: Path, folder: Path, count: int) -> list[Any]:
    """Write enlarged clips of stick-actions, and return them."""
    import numpy as np

    from keras_actrec.data import boxes, decode, manifest
    from keras_actrec.data.manifest import Clip
    from keras_actrec.data.synthetic.recording import FORMATS, write_video

    known = manifest.read_csv(origin / "manifest.csv", 1)
    tests = [clip for clip in known if clip.split == "test" and clip.boxes]
    chosen = [tests[index] for index in np.linspace(0, len(tests) - 1, count).astype(int)]
    clips = []
    for number, clip in enumerate(chosen):
        frames = decode.probe(origin / clip.path).frames
        there_and_back = np.concatenate([np.arange(frames), np.arange(frames - 2, 0, -1)])
        order = np.resize(there_and_back, FRAMES)
        pictures = decode.read_frames(origin / clip.path, order, (HEIGHT, WIDTH))
        path, box_path = f"{number:02d}.mp4", f"{number:02d}.json"
        write_video(folder / path, pictures, FORMATS["h264-long"], RATE)
        shares = boxes.read(origin / clip.boxes, frames)[order]
        boxes.write(folder / box_path, shares * [WIDTH, HEIGHT, WIDTH, HEIGHT], HEIGHT, WIDTH)
        clips.append(Clip(path, clip.label, "test", boxes=box_path))
    return clips


def table(rows: Mapping[str, Any], times: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """Return the lines to print; ratios are medians over batches of the quotient of times of the same videos."""
    from keras_actrec.evaluation.velocity import PARTS

    lines = [f"{'network':<14}{'videos/s':>10}{'s/batch':>10}" + "".join(f"{part:>18}" for part in PARTS)]
    for name, row in rows.items():
        cells = "".join(f"{row.parts_sec[part]:>9.3f} s ({100 * row.shares[part]:>3.0f} %)" for part in PARTS)
        lines.append(f"{name:<14}{row.videos_per_sec:>10.2f}{row.median_sec:>10.3f}{cells}")
    ours = [sum(parts.values()) for parts in times[OURS]]
    for name in rows:
        if name != OURS:
            theirs = [sum(parts.values()) for parts in times[name]]
            ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
            lines.append(f"{OURS} answers {ratio:.2f} times as many videos per second as {name}")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--root", default="datasets/stick-actions", help="stick-actions, rendered")
    parser.add_argument("--videos", type=int, default=12, help="that each network is asked about")
    parser.add_argument("--batch", type=int, default=1, help="videos that go through a network together")
    parser.add_argument("--small", action="store_true", help="narrow networks and 64 pixels")
    parser.add_argument(
        "--check", action="store_true", help="fail when sampling and cutting cost more than the network"
    )
    return parser


if __name__ == "__main__":
    leave(main)
