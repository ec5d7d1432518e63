"""The command `export`: a trained network as a file of another runtime. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_actrec.errors import UserError

FORMATS = ("saved_model", "onnx", "litert")
NEEDS = {
    "saved_model": (),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
    "litert": ("ai_edge_litert",),
}
"""Format -> modules beside TensorFlow that writing and comparing it takes."""
FOLDER = "export"
CLIPS = 64
CALIBRATION_CLIPS = 100


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Export a trained network for TensorFlow, onnxruntime or LiteRT, and compare it with the original on real clips.

    An export takes uint8 clips (batch, time, height, width, channels) and gives logits and probabilities; its model
    card says how clips are made of a video. A float export whose probabilities differ by more than 0.0001 is refused.

    Example: python -m keras_actrec export --run runs/quickstart-20250101-120000-ab12 --format onnx litert
    """
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory", dest="directory")
    parser.add_argument(
        "--format", required=True, nargs="+", choices=FORMATS, metavar="NAME", help=f"of {', '.join(FORMATS)}"
    )
    parser.add_argument("--int8", action="store_true", help="litert: quantise to 8 bit, calibrated on training clips")
    parser.add_argument("--out", metavar="FOLDER", help=f"gets a folder for each format (default: DIR/{FOLDER})")
    parser.add_argument(
        "--clips", type=int, default=CLIPS, metavar="N", help=f"test clips to compare on, 0: all (default: {CLIPS})"
    )
    parser.add_argument(
        "--calibration",
        type=int,
        default=CALIBRATION_CLIPS,
        metavar="N",
        help=f"training clips that choose the ranges of 8 bit numbers (default: {CALIBRATION_CLIPS})",
    )
    parser.add_argument("--root", metavar="FOLDER", help="where the videos lie (default: as in the run)")
    parser.add_argument("--licence", metavar="TEXT", help="licence of the weights, for the card")
    parser.add_argument("--no-compare", action="store_true", help="do without real clips; the card says so")
    parser.add_argument("--allow-difference", action="store_true", help="keep a float export that differs; marked")


def run(options: argparse.Namespace) -> None:
    """Export as the options say, and print differences, limits and paths."""
    check(options)
    from keras_actrec.serving import export, export_clips, export_folder, export_run

    export.require_tensorflow()
    opened = export_run.open_run(options.directory, options.root)
    parent, formats = Path(options.out) if options.out else opened.path / FOLDER, dict.fromkeys(options.format)
    for name in formats:  # before the clips are read, which may take its time
        export_folder.check_target(parent / export_folder.folder_of(name, int8=options.int8))
    clips = None if options.no_compare else export_clips.read(opened, "test", options.clips)
    calibration = export_clips.read(opened, "train", options.calibration) if options.int8 else None
    for name in formats:
        wish = export_folder.Wish(name, calibration, clips, options.allow_difference, options.licence)
        facts = export_folder.write(opened, wish, parent)
        print("\n".join([*summary(facts), f"{wish.folder}: {parent / wish.folder}"]), flush=True)


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        UserError: a wish that no format has, or a package that is not installed.
    """
    if options.int8 and set(options.format) != {"litert"}:
        raise UserError("--int8 is of LiteRT alone: use --format litert, and export the other formats without it.")
    if options.clips < 0 or options.calibration < 1:
        raise UserError(
            f"--clips must be at least 0 and --calibration at least 1, got {options.clips} and {options.calibration}."
        )
    for name in options.format:
        missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
        if missing:
            raise UserError(
                f"the format {name} needs {', '.join(missing)}, not installed: pip install 'keras_actrec[export]'."
            )


def summary(facts: Mapping[str, Any]) -> list[str]:
    """Return what is to be known of an export in lines: its difference, its accuracy, its limits."""
    name = facts["format"] if facts["precision"] == "float32" else f"{facts['format']} {facts['precision']}"
    lines = [f"{name}: {facts['bytes'] / 1e6:.2f} MB, runs in {facts['runtime']}"]
    lines += _differences(name, facts)
    return lines + [f"{name}: {note}" for note in facts.get("notes", ())]


def _differences(name: str, facts: Mapping[str, Any]) -> list[str]:
    found = facts["comparison"]
    if found is None:
        return [f"{name}: not compared with the original"]
    from keras_actrec.serving import export_compare

    beyond = "" if facts["within_tolerance"] else ", NOT WITHIN THE TOLERANCE"
    lines = [
        f"{name}: largest difference of a probability {found['probability']:.2g} on {export_compare.counted(found)} "
        f"clips (allowed in float32: {facts['tolerance']:g}{beyond}), same class for {100 * found['agreement']:.1f} %"
    ]
    if unread := export_compare.lost(found["unreadable"], found["split"]):
        lines.append(f"{name}: {unread}; the comparison is of the others")
    for head, before in found["correct"]["original"].items():
        after = found["correct"]["export"][head]
        lines.append(
            f"{name}: {head} right {100 * after:.1f} %, original {100 * before:.1f} % "
            f"({100 * (after - before):+.1f} points)"
        )
    return lines
