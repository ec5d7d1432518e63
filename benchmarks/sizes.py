"""Parameters and operations of the thesis' networks and MS3D at full size, beside the printed numbers: for the docs.

    python benchmarks/sizes.py            # prints the table
    python benchmarks/sizes.py --write    # puts it into docs/architectures.md

Nothing is measured: networks are built, weights counted (also those that training does not move, as Keras counts), and
the operations of one forward pass of one clip added up (`keras_actrec.evaluation.flops`).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architectures.md"
BEGIN, END = "<!-- python benchmarks/sizes.py --write: begin -->", "<!-- end -->"


@dataclasses.dataclass(frozen=True)
class Row:
    """One network of the table.

    Attributes:
        title: as the thesis calls it.
        name: in the registry.
        classes: of the data set that the number was printed for, as far as that can be told.
        options: what differs from the defaults.
        parameters: printed, in millions; None where nothing is.
        operations: printed "GFLOPs"; None where nothing is.
    """

    title: str
    name: str
    classes: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    parameters: float | None = None
    operations: float | None = None


ROWS = (
    Row("RPE-STDT, shared positions", "rpe_stdt", 101, {}, 97.06, 273),
    Row("RPE-STDT, positions per head", "rpe_stdt", 101, {"heads_share_positions": False}, 97.26),
    Row("RPE-STDT, absolute positions", "rpe_stdt", 101, {"position": "absolute"}, 100.7),
    Row(
        "ViT, spatial attention only",
        "rpe_stdt",
        101,
        {"encoders": "space", "depth": 12, "position": "absolute"},
        None,
        269,
    ),
    Row(
        "baseline STDT",
        "rpe_stdt",
        101,
        {"position": "none", "subsampling": "none"},
        88.9,
    ),
    Row("baseline STDT, top-k pooling", "rpe_stdt", 101, {"position": "none"}, 82.7),
    Row("ViViT-B, 32 frames", "vivit", 400, {"frames": 32}, 88.9),
    Row("ViViT-B, 16 frames", "vivit", 101, {}, 88.9, 325),
    Row("ViViT, factorised encoder", "vivit", 101, {"encoder": "factorised"}),
    Row("TimeSformer-B", "timesformer", 174, {}, 121.4),
    Row("TimeSformer-S", "timesformer", 101, {"width": 384, "heads": 6}),
    Row("VideoMAE, ViT-B", "videomae", 400, {}, 86.5),
    Row("CTN", "ctn", 397, {}, 88.6, 358),
    Row("ViViT-B with CTN's number of tokens", "vivit", 397, {"frames": 2}, None, 325),
    Row("MFST-Base", "mfst", 60, {"stages": 3}, 32.6),
    Row("MFST-Large", "mfst", 60, {}, 49.7),
    Row(
        "MFST-BM",
        "mfst",
        60,
        {"stem_kind": "vanilla", "residual": False, "temporal_scales": [1]},
    ),
    Row("MS3D", "ms3d", 400),
    Row("MS3D, all connections", "ms3d", 400, {"alpha": 1.0}),
)
HEADER = "| network | options | classes | parameters | printed | GFLOPs | multiply-adds, 10^9 | printed |"


def main() -> int:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    text = table()
    if options.write:
        PAGE.write_text(placed(PAGE.read_text(), text))
    else:
        print(text)
    return 0


def table() -> str:
    """Return the table in Markdown."""
    return "\n".join([HEADER, "|---|---|---|---|---|---|---|---|", *map(line, ROWS)])


def placed(page: str, text: str) -> str:
    """Return the page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def line(row: Row) -> str:
    """Build one network and return its line."""
    import keras

    from keras_actrec import models
    from keras_actrec.evaluation import flops

    keras.utils.clear_session()
    network = models.build_model(row.name, row.classes, **row.options)
    counted = flops.count(network)
    if counted.unknown:
        raise SystemExit(f"{row.title}: the cost of these layers is not known: {', '.join(counted.unknown)}")
    options = ", ".join([f"`{row.name}`", *(f"{name}: {value}" for name, value in row.options.items())])
    operations = counted.total / 1e9
    cells = (
        row.title,
        options,
        row.classes,
        f"{network.count_params():,}",
        "" if row.parameters is None else f"{row.parameters:g} M",
        f"{operations:.1f}",
        f"{operations / 2:.1f}",
        "" if row.operations is None else f"{row.operations:g} G",
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
