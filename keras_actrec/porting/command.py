"""`python -m keras_actrec import-weights`: the command line. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Turn published PyTorch weights (safetensors, .pth, .pt, .pyth) into a .keras model to start a training run from.

    Example: python -m keras_actrec import-weights --model r3d_18 --from r3d_18.pth --out weights/r3d_18.keras
    """
    parser.add_argument("--model", required=True, metavar="NAME", help="architecture that gets the weights")
    parser.add_argument(
        "--from", required=True, metavar="PATH", dest="source", help="file, or folder as Hugging Face writes it"
    )
    parser.add_argument("--out", required=True, metavar="MODEL.keras", help="where the model goes")
    parser.add_argument("--family", metavar="NAME", help="how the tensors are named (default: seen from the names)")
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="write the model even if some of its weights have no tensor and stay random, or tensors have no layer",
    )
    parser.add_argument("options", nargs="*", metavar="key=value", help="of the model, such as frames=8 size=256")


def run(options: argparse.Namespace) -> None:
    """Import as the options say, print the report, and name the model in the last line."""
    from keras_actrec.porting import importing

    importing.import_weights(
        options.model,
        options.source,
        options.out,
        importing.parse_options(options.options),
        family=options.family,
        allow_partial=options.allow_partial,
    )
    print(f"imported: {options.out}")
