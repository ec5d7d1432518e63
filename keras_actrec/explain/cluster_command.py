"""The command `clusters`: the map of relative positions. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Draw which patches share a relative-position embedding, seen from one of them (RPE-STDT, Figure 3.5).

    Without a run, the map of 14 x 14 patches from (7, 7) as the thesis shows it, or of other numbers. With the run of
    an rpe_stdt its own map, and how long the embeddings of each spatial layer have become.

    Example: python -m keras_actrec clusters --run runs/stick-rpe-stdt-20250101-120000-ab12 --out clusters.png
    """
    parser.add_argument("--run", metavar="DIR", help="run directory of a trained rpe_stdt", dest="directory")
    parser.add_argument("--grid", type=int, nargs=2, default=(14, 14), metavar=("H", "W"), help="rows, columns")
    parser.add_argument("--reference", type=int, nargs=2, metavar=("Y", "X"), help="from 0 (default: the middle)")
    parser.add_argument("--mapping", default="sectioned", choices=["sectioned", "clip"], help="default: sectioned")
    parser.add_argument("--reach", type=int, default=3, metavar="Y", help="largest number per axis (default: 3)")
    parser.add_argument("--out", default="clusters.png", metavar="FILE", help="default: clusters.png")


def run(options: argparse.Namespace) -> None:
    """Draw as the options say, and print the path of the picture."""
    from keras_actrec.evaluation.trained import open_trained
    from keras_actrec.explain import cluster_map

    reference = None if options.reference is None else tuple(options.reference)
    if options.directory is None:
        picture = cluster_map.draw_grid(tuple(options.grid), reference, options.mapping, options.reach)
    else:
        picture = cluster_map.draw_network(open_trained(options.directory).model, reference)
    cluster_map.write(options.out, picture)
    print(f"clusters: {options.out}")
