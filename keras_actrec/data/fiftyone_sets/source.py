"""FiftyOne datasets as a source of training (`data.source: fiftyone`).

A process of its own reads the dataset and ends, and FiftyOne's database with it: training needs neither. As a program:
    python -m keras_actrec.data.fiftyone_sets.source REQUEST.json ANSWER.json
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_actrec import files
from keras_actrec.data.manifest import Manifest
from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock

if TYPE_CHECKING:
    from keras_actrec.config import DataConfig

READ_SEC = 600.0
_LIKE_FIFTYONE = ("samples.json", "metadata.json")


def read(data: DataConfig, seed: int) -> Manifest:
    """Return the manifest of the FiftyOne dataset that a configuration names.

    Raises:
        UserError: `data.fiftyone` is missing, FiftyOne or its database is, or the dataset does not fit.
    """
    answer = _ask(data, seed)
    return Manifest.from_json(answer["manifest"], answer["root"])


def count_folds(data: DataConfig) -> int:
    """Return how many folds the dataset has.

    Raises:
        UserError: as `read`.
    """
    return max(1, len(_ask(data.model_copy(update={"fold": 1}), 0)["folds"]))


def _ask(data: DataConfig, seed: int) -> dict[str, Any]:
    """Let a process read the dataset; the processes of one user go one after another, for they share a database."""
    if data.fiftyone is None:
        raise UserError("data.source fiftyone needs the name of a dataset: set data.fiftyone.dataset.")
    with tempfile.TemporaryDirectory() as folder, _one_at_a_time():
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        files.write_json(request, {**data.fiftyone.model_dump(), **_wish(data, seed)})
        told = _run(request, answer)
        if not answer.is_file():
            raise UserError(f"FiftyOne could not be asked: {told or 'its process ended without a word'}")
        document = files.read_json(answer)
    if "error" in document:
        raise UserError(document["error"])
    return document


def _wish(data: DataConfig, seed: int) -> dict[str, Any]:
    fractions = {"test_fraction": data.test_fraction, "validation_fraction": data.validation_fraction}
    return {"fold": data.fold, "root": data.root, "seed": seed, **fractions}


def _run(request: Path, answer: Path) -> str:
    """Run the reader and return the last line of what it complained about."""
    package = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(request), str(answer)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=READ_SEC,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {READ_SEC:.0f} s"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else ""


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    lock = Lock(Path(tempfile.gettempdir()) / f"keras_actrec-fiftyone-{os.getuid()}.lock")
    try:
        lock.acquire(READ_SEC)
    except HeldError as error:
        raise UserError(f"process {error.holder} has been reading FiftyOne's database for {READ_SEC:.0f} s.") from None
    try:
        yield
    finally:
        lock.release()


def answer(wanted: dict[str, Any]) -> dict[str, Any]:
    """Read the dataset in this process, and return what `read` needs of it.

    Raises:
        UserError: see `read`.
    """
    from keras_actrec.data.fiftyone_sets import connection, reading

    name, view = wanted.pop("dataset"), wanted.pop("view")
    folder = Path(name) if all((Path(name) / file).is_file() for file in _LIKE_FIFTYONE) else None
    with connection.database(own=folder is not None) as fiftyone:
        found = _imported(fiftyone, folder) if folder else connection.load(fiftyone, name)
        found = connection.saved_view(found, view) if view else found
        manifest = reading.read(found, reading.Wish(**wanted))
        return {"manifest": manifest.to_json(), "root": str(manifest.root), "folds": reading.folds(found)}


def _imported(fiftyone: Any, folder: Path) -> Any:
    """Return the dataset that was exported into a folder."""
    kind = fiftyone.types.FiftyOneDataset
    try:
        return fiftyone.Dataset.from_dir(str(folder), dataset_type=kind, name=folder.resolve().name, progress=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} cannot be read as a FiftyOne dataset: {error}") from error


def main(request: str, target: str) -> None:
    """Answer a request file."""
    try:
        document = answer(files.read_json(request))
    except UserError as error:
        document = {"error": str(error)}
    files.write_json(target, document)


if __name__ == "__main__":
    main(*sys.argv[1:])
