"""The command `verify`: read all files of a data set and write a receipt. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_actrec.errors import UserError

if TYPE_CHECKING:
    from keras_actrec.config import DataConfig, RunConfig
    from keras_actrec.data.manifest import Manifest
    from keras_actrec.data.verification.verifying import Settings

FINDINGS = 3
"""Exit code of a verification that was done and has found something."""
QUICK_SEC, DEEP_SEC = 60.0, 600.0
GIGABYTE = 1_000_000_000


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Read all files of a data set in guarded processes: which clips can be decoded, and what do splits share?

    Prints official, present and decodable clips per split and class, and names what cannot be read, duplicates, and
    groups in several splits. Writes manifest.lock, quarantine.json and the receipt verification.json into the data
    set's root (ROOT/.keras_actrec/verify-HASH), where training finds them. Results are kept per file: the same command
    goes on where it was stopped, and reads later only what has changed.

    Exit codes: 0 nothing is wrong, 3 something was found, 1 it could not be done, 2 wrong arguments, 130 interrupted.

    Example: python -m keras_actrec verify --data datasets/stick-actions --deep
    """
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", metavar="FILE", help="run configuration (YAML)")
    which.add_argument(
        "--data", metavar="PATH", help="a folder with a manifest.csv or with a folder per class, or a manifest file"
    )
    parser.add_argument("--fold", type=int, metavar="N", help="with --data: fold of the manifest (default: 1)")
    parser.add_argument("--deep", action="store_true", help="decode every frame, not just the first, middle and last")
    parser.add_argument("--again", action="store_true", help="read also what an earlier verification has read")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: data.workers, or all cores)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help=f"most time for a file (default: {QUICK_SEC:g}, deep {DEEP_SEC:g})"
    )
    parser.add_argument("--memory", type=float, default=1.0, metavar="GB", help="most memory for a file (default: 1)")
    parser.add_argument(
        "--pixels", type=int, default=8192, metavar="PX", help="longest side of a frame (default: 8192)"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where receipt and results go, if not into the data set's root")
    parser.add_argument("--json", action="store_true", help="print the receipt as JSON, and nothing else")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, such as data.fold=2")


def run(options: argparse.Namespace) -> None:
    """Verify as the options say, print what was found, and end with code 3 if something is wrong."""
    from keras_actrec.data.verification import receipt as receipts
    from keras_actrec.data.verification import text
    from keras_actrec.training import datasets

    config = _config(options)
    manifest = datasets.load(config, checked=False)
    settings = _settings(options, config)
    kept = Path(options.out) / "verified.jsonl" if options.out else receipts.results_file(manifest.root)
    folder = Path(options.out) if options.out else receipts.folder_of(manifest.root, manifest.hash)
    receipt = verify(manifest, settings, kept, options.again)
    receipts.write(folder, manifest, receipt)
    if options.json:
        print(json.dumps(receipt, indent=2))
    else:
        print("\n".join(text.lines(receipt)))
        print(f"receipt: {folder / receipts.NAME}")
    if receipts.has_findings(receipt):
        raise SystemExit(FINDINGS)


def verify(manifest: Manifest, settings: Settings, kept: Path, again: bool = False) -> dict[str, Any]:
    """Check the files of a manifest and return the receipt.

    Args:
        manifest: the clips.
        settings: how.
        kept: file of the results of single files.
        again: check also what was checked before.

    Raises:
        UserError: the results cannot be kept there, or another verification is at work.
    """
    from keras_actrec.data.verification import receipt as receipts
    from keras_actrec.data.verification.results import Results
    from keras_actrec.data.verification.verifying import check_files
    from keras_actrec.locking import HeldError, Lock
    from keras_actrec.training.progress import Progress

    lock = Lock(kept.with_suffix(".lock"))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except HeldError as error:
        raise UserError(f"another verification of {manifest.root} is at work (process {error.holder}).") from None
    except OSError as error:
        message = f"cannot write to {kept.parent} ({error.strerror}); name another folder with --out."
        raise UserError(message) from None
    try:
        with Results(kept) as results, Progress("verifying", unit="files") as progress:
            found, _ = check_files(manifest, settings, results, progress, again)
    finally:
        lock.release()
    return receipts.build(manifest, found, settings)


def _config(options: argparse.Namespace) -> RunConfig:
    from keras_actrec.config import load_config, parse_config

    if options.config:
        if options.fold is not None:
            raise UserError("--fold belongs to --data; with --config say data.fold=N.")
        return load_config(options.config, options.overrides)
    if options.overrides:
        raise UserError(f"'{options.overrides[0]}' needs --config; --data takes the defaults.")
    return parse_config({"data": _data(Path(options.data), 1 if options.fold is None else options.fold)}, options.data)


def _data(path: Path, fold: int) -> dict[str, Any]:
    """Return the section `data` for a path: a manifest file, a folder with one, or a folder of class folders."""
    if path.is_file():
        return {"source": "manifest", "root": str(path.parent), "lists": str(path), "fold": fold}
    if not path.is_dir():
        raise UserError(f"there is nothing at {path}; expected a folder of videos or a manifest file.")
    source = "manifest" if (path / "manifest.csv").is_file() else "folder"
    return {"source": source, "root": str(path), "fold": fold}


def _settings(options: argparse.Namespace, config: RunConfig) -> Settings:
    from keras_actrec.data.guarded import Limits
    from keras_actrec.data.threads import default_workers
    from keras_actrec.data.verification.verifying import Settings

    seconds = options.seconds if options.seconds is not None else DEEP_SEC if options.deep else QUICK_SEC
    if not 0 < options.memory * GIGABYTE < math.inf:
        raise UserError(f"--memory: expected a number of gigabytes above 0, got {options.memory:g}.")
    limits = Limits(seconds, int(options.memory * GIGABYTE), options.pixels, options.pixels)
    workers = options.workers or config.data.workers or default_workers()
    wanted = _wanted(config.data) if options.config else None
    return Settings(options.deep, limits, workers=workers, **({"wanted": wanted} if wanted else {}))


def _wanted(data: DataConfig) -> tuple[str, ...]:
    """Return which files of a clip a run of this configuration reads."""
    reads_boxes = data.tailor is not None and data.tailor.boxes in ("auto", "manifest")
    asked = {
        "rgb": True,
        "cameras": any(data.cameras or ()),
        "depth": "depth" in data.modalities,
        "boxes": reads_boxes,
    }
    return tuple(name for name, wanted in asked.items() if wanted)
