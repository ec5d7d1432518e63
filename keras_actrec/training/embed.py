"""The command `embed`: the features of a finished run as points of a plane. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_actrec import files

if TYPE_CHECKING:
    from keras_actrec.evaluation.embedding import Features
    from keras_actrec.training.evaluate import Finished

MOST_CLIPS, MOST_CLASSES = 1000, 20
"""Drawn by default; the thesis on video Transformers shows 1000 clips of ten classes."""
PAGE, PICTURE, NUMBERS, POINTS = "embedding.html", "embedding.png", "embedding.json", "points.csv"


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Draw what a finished run's classifier sees of the clips of a split: features laid out by t-SNE, by class.

    Beside the picture there are numbers: how many of a clip's nearest neighbours are of its own class.

    Example: python -m keras_actrec embed --run runs/quickstart-20250101-120000-ab12 --classes SitDown StandUp
    """
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory", dest="directory")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"], help="default: test")
    parser.add_argument(
        "--classes", nargs="+", metavar="CLASS", help=f"that are drawn (default: all, at most {MOST_CLASSES} at random)"
    )
    parser.add_argument("--clips", type=int, default=MOST_CLIPS, metavar="N", help=f"at most (default: {MOST_CLIPS})")
    parser.add_argument("--neighbours", type=int, default=10, metavar="K", help="that are counted (default: 10)")
    parser.add_argument("--perplexity", type=float, default=30.0, metavar="P", help="of t-SNE (default: 30)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the layout and of draws (default: 0)")
    parser.add_argument(
        "--allow-contaminated", action="store_true", help="draw clips of the training list all the same, and say so"
    )
    parser.add_argument("--out", metavar="FOLDER", help="default: DIR/embedding-SPLIT")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="key=value", dest="overrides", help="such as data.root=PATH"
    )


def run(options: argparse.Namespace) -> None:
    """Draw as the options say, and print the numbers and the paths of the files."""
    from keras_actrec.errors import UserError
    from keras_actrec.evaluation import embedding
    from keras_actrec.training import evaluate

    for name in ("clips", "neighbours", "perplexity"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} must be at least 1, got {getattr(options, name)}.")
    opened = evaluate.open_finished(options.directory, options.split, options.overrides, options.allow_contaminated)
    features = embedding.extract(opened.network, opened.data.evaluation(options.split))
    chosen = embedding.choose(
        features.labels, opened.data.manifest.classes, options.classes, MOST_CLASSES, options.clips, options.seed
    )
    folder = Path(options.out) if options.out else opened.directory.path / f"embedding-{options.split}"
    document = publish(opened, features.rows(chosen), len(features.labels), options, folder)
    near = document["neighbours"]
    print(
        f"{document['clips']} clips of {len(document['classes'])} classes: {100 * near['share']:.1f} % of the "
        f"{near['k']} nearest neighbours are of the same class (by chance {100 * near['chance']:.1f} %)"
    )
    if opened.contamination:
        print(f"CONTAMINATED: {opened.contamination.describe()}")
    for what, name in {"numbers": NUMBERS, "points": POINTS, "picture": PICTURE, "page": PAGE}.items():
        print(f"{what}: {folder / name}")


def publish(
    opened: Finished, features: Features, clips_of_split: int, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Lay the features out, write page, picture and numbers, and return the numbers.

    Args:
        opened: the run.
        features: that are drawn.
        clips_of_split: how many of the split could be read.
        options: of the command.
        folder: gets the files.
    """
    from keras_actrec.evaluation import embedding, embedding_plot

    points = embedding.to_plane(features.values, options.seed, options.perplexity)
    manifest, rows = opened.data.manifest, opened.data.manifest.split(options.split)
    near = embedding.neighbourhood(features.values, features.labels, options.neighbours)
    plane = embedding.neighbourhood(points, features.labels, options.neighbours)
    paths = [rows[index].path for index in features.indices]
    document = {
        "run": opened.directory.path.name,
        "model": opened.config.model.name,
        "dataset": manifest.name,
        "fold": manifest.fold,
        "split": options.split,
        "contaminated": bool(opened.contamination),
        "clips": len(paths),
        "clips_of_split": clips_of_split,
        "dimensions": features.values.shape[1],
        "perplexity": options.perplexity,
        "seed": options.seed,
        "neighbours": _plain(near),
        "neighbours_in_plane": _plain(plane),
        "classes_of_run": len(manifest.classes),
        "classes": _of_classes(features, near, manifest.classes),
    }
    files.write_json(folder / NUMBERS, document)
    _write_points(folder / POINTS, points, features, paths, manifest.classes)
    embedding_plot.write_picture(folder / PICTURE, embedding_plot.picture(points, features.labels, manifest.classes))
    chart = embedding_plot.figure(points, features.labels, paths, manifest.classes)
    embedding_plot.write_page(folder / PAGE, opened.directory.path.name, document, chart)
    return document


def _of_classes(features: Features, near: Any, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    total = len(features.labels)
    sizes = {label: int((features.labels == label).sum()) for label in near.per_class}
    return {
        classes[label]: {"clips": size, "neighbours": near.per_class[label], "chance": (size - 1) / (total - 1)}
        for label, size in sizes.items()
    }


def _write_points(path: Path, points: Any, features: Features, paths: Sequence[str], classes: Sequence[str]) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "class", "x", "y"])
    for clip, label, (x, y) in zip(paths, features.labels, points, strict=True):
        writer.writerow([clip, classes[label], f"{x:.4f}", f"{y:.4f}"])
    files.write_text(path, text.getvalue())


def _plain(near: Any) -> dict[str, Any]:
    return {"share": near.share, "chance": near.chance, "k": near.k}
