"""The command `explain`: what does a trained network look at in a video? Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

METHOD_NAMES = (
    "activation",
    "grad_cam",
    "guided_backprop",
    "integrated_gradients",
    "attention",
    "attention_rollout",
    "non_local",
    "relative_position",
)
"""As in `keras_actrec.explain.METHODS`, which cannot be imported without Keras."""
FOLDER = "explanations"


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Show what a trained network looks at in a video: a sheet of pictures, an overlay video, and numbers.

    Example: python -m keras_actrec explain --run runs/quickstart-20250101-120000-ab12 --video clip.mp4
    """
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory", dest="directory")
    parser.add_argument("--video", required=True, metavar="FILE", help="any video file")
    parser.add_argument("--label", metavar="CLASS", help="class that is explained (default: the predicted one)")
    parser.add_argument(
        "--method", nargs="+", metavar="NAME", default=METHOD_NAMES, help=f"default: {' '.join(METHOD_NAMES)}"
    )
    parser.add_argument("--layer", metavar="NAME", help="layer to look at (default: each method's own choice)")
    parser.add_argument("--clip", type=int, metavar="K", help="of evaluation.clips, from 0 (default: the middle one)")
    parser.add_argument("--steps", type=int, default=32, metavar="N", help="of integrated gradients (default: 32)")
    parser.add_argument(
        "--baseline", choices=["grey", "black"], default="grey", help="of integrated gradients (default: grey)"
    )
    parser.add_argument(
        "--query", type=int, nargs=3, metavar=("T", "Y", "X"), help="non_local, relative_position: frame, row, column"
    )
    parser.add_argument("--out", metavar="FOLDER", help=f"default: DIR/{FOLDER}/VIDEO")


def run(options: argparse.Namespace) -> None:
    """Explain as the options say, and print prediction, methods that do not apply, and the paths of the files."""
    from keras_actrec.evaluation.trained import open_trained
    from keras_actrec.explain import drawing
    from keras_actrec.explain.explanation import Options

    trained = open_trained(options.directory)
    query = None if options.query is None else tuple(options.query)
    explained = drawing.explain_video(
        trained,
        options.video,
        label=options.label,
        methods=options.method,
        clip=options.clip,
        grey_baseline=options.baseline == "grey",
        options=Options(layer=options.layer, steps=options.steps, query=query),
    )
    print(f"{Path(options.video).name}: {drawing.ranking(explained)}")
    for method, reason in drawing.document(explained)["not_applicable"].items():
        print(f"{method} does not apply: {reason}")
    folder = Path(options.out) if options.out else trained.path / FOLDER / Path(options.video).stem
    for path in drawing.write(explained, folder):
        print(f"{path.stem}: {path}")
