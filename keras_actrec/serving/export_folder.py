"""One export as a folder: the model, compared in its own runtime, with its card; published whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.serving import export, export_compare, export_runtimes, model_card
from keras_actrec.serving.export_clips import Clips
from keras_actrec.serving.export_compare import TOLERANCE, Comparison, Runner
from keras_actrec.serving.export_run import ExportRun, output_names

LARGEST_FILE_BYTES = 2_000_000_000
"""ONNX and LiteRT files are protocol and flat buffers, which end at 2 GiB."""
CONVERTERS = {"saved_model": ("tensorflow",), "onnx": ("tensorflow", "tf2onnx", "onnx"), "litert": ("tensorflow",)}
RUNTIMES = {"saved_model": "tensorflow", "onnx": "onnxruntime", "litert": "ai-edge-litert"}
INT8_NOTE = (
    "Weights and most operations are 8 bit numbers, whose ranges were chosen by {count} training clips; inputs and "
    "outputs are those of the float32 export. Read the difference of accuracy above before using it."
)


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to be exported, and how.

    Attributes:
        format: "saved_model", "onnx" or "litert".
        calibration: training clips by which 8 bit ranges are chosen; None: float32.
        clips: real clips on which the export is compared; None: it is not.
        allow_difference: publish a float32 export whose probabilities differ by more than the tolerance.
        licence: of the weights; None: not stated.
    """

    format: str
    calibration: Clips | None = None
    clips: Clips | None = None
    allow_difference: bool = False
    licence: str | None = None

    @property
    def precision(self) -> str:
        """What the export computes in."""
        return "float32" if self.calibration is None else "int8"

    @property
    def folder(self) -> str:
        """Name of the export's folder."""
        return folder_of(self.format, int8=self.calibration is not None)


def folder_of(format_name: str, *, int8: bool) -> str:
    """Return the name of an export's folder."""
    return f"{format_name}_int8" if int8 else format_name


def write(run: ExportRun, wish: Wish, parent: Path) -> dict[str, Any]:
    """Write an export to `parent/wish.folder` and return the facts of its card.

    Raises:
        UserError: the network has no such form, the export differs too much or gives no numbers, or something else lies
            there.
    """
    _check_size(run, wish)
    with published(parent / wish.folder) as folder:
        _convert(run, wish, folder)
        facts = _facts(run, wish, folder)
        _check_finite(run, wish, facts["comparison"])
        if not facts["within_tolerance"] and not wish.allow_difference:
            raise UserError(
                f"the {wish.format} export of {run.path} was not kept: its probabilities differ from the original's by "
                f"up to {facts['comparison']['probability']:.2g}, allowed is {TOLERANCE:g}; export another format, or "
                "pass --allow-difference, which marks the card."
            )
        files.write_json(folder / model_card.FACTS, facts)
        files.write_text(folder / model_card.PAGE, model_card.page(facts))
    return facts


def _check_finite(run: ExportRun, wish: Wish, found: dict[str, Any] | None) -> None:
    """Refuse an export of which no difference could be told, whatever difference is allowed."""
    if found is not None and not (math.isfinite(found["probability"]) and math.isfinite(found["logit"])):
        raise UserError(
            f"the {wish.folder} export of {run.path} was not kept: the network, or the export alone, gives NaN or "
            f"infinite numbers for {found['split']} clips; `evaluate` tells whether the network does."
        )


@contextlib.contextmanager
def published(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`; on success sync it and put it in the place of an older export.

    Raises:
        UserError: see `check_target`.
    """
    check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    aside = temporary.with_name(f"{temporary.name}-old")
    try:
        temporary.chmod(0o755)
        yield temporary
        _sync(temporary)
        if target.exists():
            target.rename(aside)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists():
            shutil.rmtree(aside) if target.exists() else aside.rename(target)


def check_target(target: Path) -> None:
    """Refuse a folder that a new export must not take the place of.

    Raises:
        UserError: it is something else than an export, or holds files beside those of an export, which would be lost.
    """
    if not target.exists():
        return
    if not (target / model_card.FACTS).is_file():
        raise UserError(f"{target} exists and is no export; choose another folder with --out.")
    own = {model_card.FACTS, model_card.PAGE, *export.MODEL_FILES.values()}
    others = sorted(path.name for path in target.iterdir() if path.name not in own)
    if others:
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise UserError(
            f"{target} holds something beside the older export: {named}; a new export would remove it, so move it "
            "elsewhere, or choose another folder with --out."
        )


def open_export(folder: Path, format_name: str) -> tuple[Runner, str]:
    """Load the model of an export in its own runtime, and return it with the runtime's name and version."""
    if format_name == "saved_model":
        return export.open_saved_model(folder), f"TensorFlow {_version('tensorflow')}"
    path = folder / export.MODEL_FILES[format_name]
    if format_name == "onnx":
        return export_runtimes.open_onnx(path), f"onnxruntime {_version('onnxruntime')}"
    if _flex(export_runtimes.operations(path)):
        return export.open_flex(folder), f"LiteRT with TensorFlow's flex delegate (TensorFlow {_version('tensorflow')})"
    with export.quiet():
        runner = export_runtimes.open_litert(path)
    return runner, f"LiteRT (ai-edge-litert {_version('ai-edge-litert')})"


def _convert(run: ExportRun, wish: Wish, folder: Path) -> None:
    writers: dict[str, Callable[[], None]] = {
        "saved_model": lambda: export.write_saved_model(run, folder),
        "onnx": lambda: export.write_onnx(run, folder),
        "litert": lambda: export.write_litert(run, folder, wish.calibration),
    }
    try:
        with export.quiet():
            writers[wish.format]()
            open_export(folder, wish.format)  # what the runtime refuses, the converter could not do either
    except UserError:
        raise
    except Exception as error:
        # The converters raise whatever their many parts do.
        reason = _reason(error)
        other = "" if wish.format == "saved_model" else " Every network can be exported as saved_model."
        raise UserError(f"{run.path} cannot be exported as {wish.folder}: {reason}.{other}") from error


def _reason(error: Exception) -> str:
    """Return the operation that a converter lacks, where its message names one, else the first line of it."""
    said = str(error).strip() or type(error).__name__
    lacking = re.search(r"'tf\.(\w+)' op is neither|No Op registered for (\w+)", said)
    if lacking:
        return f"it has no operation {lacking.group(1) or lacking.group(2)}"
    return said.splitlines()[0][:200].rstrip(".")


def _check_size(run: ExportRun, wish: Wish) -> None:
    size = sum(math.prod(weight.shape) * 4 for weight in run.model.weights)
    if wish.format != "saved_model" and size > LARGEST_FILE_BYTES:
        raise UserError(
            f"the weights of {run.path} take {size / 1e9:.1f} GB, and a file of {wish.format} holds 2 GB at most; "
            "export it as saved_model."
        )


def _facts(run: ExportRun, wish: Wish, folder: Path) -> dict[str, Any]:
    runner, runtime = open_export(folder, wish.format)
    comparison = None if wish.clips is None else _compare(run, runner, wish.clips)
    model = folder / export.MODEL_FILES[wish.format]
    facts = {
        "format": wish.format,
        "precision": wish.precision,
        "model": model.name,
        "runtime": runtime,
        "written_with": {name: _version(name) for name in ("keras_actrec", "keras", *CONVERTERS[wish.format])},
        "bytes": sum(path.stat().st_size for path in _files_of(model)),
        "sha256": _digest(model),
        "comparison": None if comparison is None else comparison.to_json(),
        "tolerance": TOLERANCE,
        "within_tolerance": comparison is None or wish.precision != "float32" or comparison.probability <= TOLERANCE,
        **_details(wish, model),
    }
    return model_card.document(run, facts, wish.licence)


def _compare(run: ExportRun, runner: Runner, clips: Clips) -> Comparison:
    outputs = {head: output_names(run.heads, head) for head in run.heads}
    return export_compare.compare(export.original(run), runner, clips, outputs)


def _details(wish: Wish, model: Path) -> dict[str, Any]:
    if wish.format == "onnx":
        return {"opset": export.ONNX_OPSET}
    if wish.format != "litert":
        return {}
    operations = export_runtimes.operations(model)
    return {"operations": list(operations), "notes": list(_notes(wish, operations))}


def _notes(wish: Wish, operations: tuple[str, ...]) -> Iterator[str]:
    flex = ", ".join(name.removeprefix(export_runtimes.FLEX) for name in _flex(operations))
    if flex:
        yield (
            f"LiteRT has no {flex} of its own: the model needs TensorFlow's flex delegate where it runs "
            "(tf.lite.Interpreter in Python; ai-edge-litert refuses it unless the process has imported TensorFlow)."
        )
    if wish.calibration is not None:
        yield INT8_NOTE.format(count=len(wish.calibration))
        if unread := export_compare.lost(wish.calibration.unreadable, wish.calibration.split):
            yield f"Of the clips that were to choose the ranges, {unread}."
        if "CONV_3D" in operations:
            yield "LiteRT has no 8 bit 3-D convolution: those stay float32, so the file is hardly smaller."


def _flex(operations: tuple[str, ...]) -> list[str]:
    return [name for name in operations if name.startswith(export_runtimes.FLEX)]


def _files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(part for part in path.rglob("*") if part.is_file())


def _digest(model: Path) -> str:
    """Return the SHA-256 of a file, or over names and digests of a folder's files."""
    if model.is_file():
        return files.sha256(model)
    lines = [f"{part.relative_to(model).as_posix()} {files.sha256(part)}" for part in _files_of(model)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _version(package: str) -> str:
    names = (package, f"{package}-cpu") if package == "tensorflow" else (package,)
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "of an unknown version"


def _sync(folder: Path) -> None:
    for path in (*_files_of(folder), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
