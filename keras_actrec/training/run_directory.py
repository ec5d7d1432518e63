"""A run directory holds everything about one run; one process at a time writes it.

<output>/<name>-<YYYYmmdd-HHMMSS>-<id>/
    config.yaml        the resolved configuration; written last, so that a folder with one is a whole run
    environment.json   machine, versions, git commit and command line, once per session
    manifest.lock      the clips of the run, with their hash
    history.csv, timing.json, metrics.json, report.html, log.txt, quarantine.json
    checkpoints/, tensorboard/, model.keras
    repository.safetensors  codes of the actions, where a repository is kept
    verification.json  what a verification of the data set has found before
    labelled.txt       which clips kept their label, where few did
    auxiliary.keras, pseudo_labels.csv  of semi-supervised training: the second network, and its labels by class
    finished.json      there when the run has ended
    baseline/          a run of the same shape, for the comparison
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from keras_actrec import config as configuration
from keras_actrec import files
from keras_actrec.config import RunConfig
from keras_actrec.data.manifest import Manifest
from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock
from keras_actrec.training import environment

INTERRUPTED = 130
"""Exit code of a run that was stopped with Ctrl-C (128 + SIGINT)."""


class RunDirectory:
    """Paths of one run, its lock, its log and whether it has finished.

    Use `create`, `open` or `find_resumable`. A run that is created or resumed is locked until `close`, or the end of
    the `with` block, or the end of the process however it ends.

    Attributes:
        path: the directory.
        config: the resolved configuration.
    """

    def __init__(self, path: str | os.PathLike[str], config: RunConfig) -> None:
        self.path = Path(path)
        self.config = config
        self._lock = Lock(self.path / ".lock")

    @classmethod
    def create(cls, config: RunConfig, manifest: Manifest) -> RunDirectory:
        """Make a new run in `config.output` and lock it."""
        now = datetime.datetime.now().astimezone()
        path = Path(config.output) / f"{config.name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        return cls._make(path, config, manifest, lock=True)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """Open an existing run for reading; nothing is locked.

        Raises:
            UserError: when there is no whole run at `path`.
        """
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise UserError(f"{path} is no run directory: expected a config.yaml in it.")
        return cls(path, configuration.load_config(path / "config.yaml"))

    @classmethod
    def find_resumable(cls, config: RunConfig, manifest: Manifest | None = None) -> RunDirectory | None:
        """Return the newest unfinished run in `config.output` with an equal configuration, locked; None without one.

        Raises:
            UserError: when another process is writing that run, or the data set is not the one it was started with.
        """
        for path in sorted(Path(config.output).glob("*/config.yaml"), key=_age, reverse=True):
            run = cls._open_equal(path.parent, config)
            if run is not None and not run.finished:
                return run._resume(manifest)
        return None

    @classmethod
    def reopen(
        cls,
        path: str | os.PathLike[str],
        config: RunConfig,
        manifest: Manifest | None = None,
        lock_timeout_sec: float = 0.0,
    ) -> RunDirectory:
        """Open one run by name for going on with it, locked.

        Raises:
            UserError: there is none, it has another configuration or data set, or another process is writing it.
        """
        run = cls.open(path)
        different = difference(compared(run.config), compared(config))
        if different:
            raise UserError(f"{path} was started with another configuration: {different}; use the same, or a new run.")
        return run._resume(manifest, lock_timeout_sec)

    def _resume(self, manifest: Manifest | None, lock_timeout_sec: float = 0.0) -> RunDirectory:
        self.lock(lock_timeout_sec)
        if manifest is not None:
            self.check_manifest(manifest)
        environment.record(self.path / "environment.json")
        return self

    @classmethod
    def _open_equal(cls, path: Path, config: RunConfig) -> RunDirectory | None:
        """Open the run at `path` if its configuration equals; one of another version of the package does not."""
        try:
            run = cls.open(path)
        except UserError:
            return None
        return run if compared(run.config) == compared(config) else None

    @classmethod
    def _make(cls, path: Path, config: RunConfig, manifest: Manifest, *, lock: bool) -> RunDirectory:
        path.mkdir(parents=True)
        run = cls(path, config)
        if lock:
            run.lock()
        run._fill(manifest)
        return run

    def _fill(self, manifest: Manifest) -> None:
        """Write what makes a folder a run; the configuration last."""
        environment.record(self.path / "environment.json")
        files.write_json(self.path / "manifest.lock", manifest.to_json())
        configuration.save_config(self.config, self.path / "config.yaml")

    @classmethod
    def at(
        cls, path: str | os.PathLike[str], config: RunConfig, manifest: Manifest, lock_timeout_sec: float = 0.0
    ) -> RunDirectory:
        """Make a run at a path of its own, or go on with the one that is there, locked.

        Raises:
            UserError: the run there has another configuration or data set, or another process is writing it.
        """
        path = Path(path)
        if not (path / "config.yaml").exists():
            path.mkdir(parents=True, exist_ok=True)
            run = cls(path, config)
            run.lock(lock_timeout_sec)
            if not (path / "config.yaml").exists():
                run._fill(manifest)
                return run
            run.close()
        return cls.reopen(path, config, manifest, lock_timeout_sec)

    def child(self, name: str, config: RunConfig, manifest: Manifest) -> RunDirectory:
        """Make, or open again, a run inside of this one (such as "baseline"); this run's lock guards it too."""
        path = self.path / name
        run = self._open_equal(path, config)
        if run is not None:
            run.check_manifest(manifest)
            return run
        if (path / "config.yaml").exists():
            raise UserError(f"{path} belongs to another configuration; remove it or start a new run.")
        with contextlib.suppress(FileNotFoundError):
            _remove_leftovers(path)
        return self._make(path, config, manifest, lock=False)

    def lock(self, timeout_sec: float = 0.0) -> None:
        """Become the only writer, waiting for another one to end no longer than the timeout.

        Raises:
            UserError: when another process is.
        """
        try:
            self._lock.acquire(timeout_sec)
        except HeldError as error:
            raise UserError(
                f"another process ({error.holder or 'unknown'}) is writing the run {self.path}; "
                "wait for it to end or stop it first."
            ) from None

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def checkpoints(self) -> Path:
        """Folder of the training states and the best weights."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Folder of the TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def history(self) -> Path:
        """CSV with one row per epoch; no times in it, so that equal runs give equal bytes."""
        return self.path / "history.csv"

    @property
    def metrics(self) -> Path:
        """Results; no times and no paths in them."""
        return self.path / "metrics.json"

    @property
    def timing(self) -> Path:
        """What took how long."""
        return self.path / "timing.json"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def model(self) -> Path:
        """The network that is kept."""
        return self.path / "model.keras"

    @property
    def labelled(self) -> Path:
        """The list of the clips that kept their label."""
        return self.path / "labelled.txt"

    @property
    def auxiliary(self) -> Path:
        """The auxiliary network of semi-supervised training."""
        return self.path / "auxiliary.keras"

    @property
    def pseudo_labels(self) -> Path:
        """What pseudo-labels were worth, by epoch, network and class."""
        return self.path / "pseudo_labels.csv"

    @property
    def repository(self) -> Path:
        """The codes of the actions that the network recognises, beside the model."""
        return self.path / "repository.safetensors"

    @property
    def verification(self) -> Path:
        """The receipt of a verification of the data set, where there was one."""
        return self.path / "verification.json"

    @property
    def quarantine(self) -> Path:
        """Clips that could not be read."""
        return self.path / "quarantine.json"

    @property
    def log(self) -> Path:
        """Copy of the lines on the console."""
        return self.path / "log.txt"

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return (self.path / "finished.json").exists()

    def mark_finished(self) -> None:
        """Write down that there is nothing left to resume."""
        files.write_json(self.path / "finished.json", {"finished": _now()})

    def manifest(self, root: str | os.PathLike[str]) -> Manifest:
        """Return the clips that the run was made with, over a data set at `root`."""
        return Manifest.from_json(files.read_json(self.path / "manifest.lock"), Path(root))

    @property
    def manifest_hash(self) -> str:
        """Hash of the clips that the run was made with."""
        return files.read_json(self.path / "manifest.lock")["hash"]

    def check_manifest(self, manifest: Manifest) -> None:
        """Raise a `UserError` unless the data set is still the one that the run was made with."""
        if manifest.hash != self.manifest_hash:
            raise UserError(
                f"the data set '{manifest.name}' is not the one that the run {self.path} was started with: manifest "
                f"{self.manifest_hash[:12]} then, {manifest.hash[:12]} now; start a new run without --resume."
            )

    def say(self, line: str) -> None:
        """Print a line and copy it to the log, with the time before it."""
        print(line, flush=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.write("".join(f"{_now()} {part}\n" for part in line.splitlines()))

    def add_timing(self, **seconds: Any) -> None:
        """Set entries of timing.json; those of earlier sessions stay."""
        known = files.read_json(self.timing) if self.timing.exists() else {}
        files.write_json(self.timing, {**known, **seconds})

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """End the process with code 130 and a line about `--resume` when the block is stopped with Ctrl-C."""
        try:
            yield
        except KeyboardInterrupt:
            self.say(f"interrupted: the same command with --resume goes on from the last whole epoch of {self.path}")
            self.close()
            raise SystemExit(INTERRUPTED) from None


def compared(config: RunConfig) -> dict[str, Any]:
    """Return what must be equal in a run that is resumed, or trained by several processes, as JSON.

    All but where it lies, how many threads decode, and where the processes are.
    """
    document = config.model_dump(mode="json", exclude={"output"})
    del document["data"]["workers"], document["training"]["cluster"]
    return document


def difference(theirs: Any, ours: Any, key: str = "") -> str:
    """Return a phrase about the first key in which two configurations differ; empty when they are equal."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        names = {**theirs, **ours}
        found = (difference(theirs.get(name), ours.get(name), f"{key}.{name}".lstrip(".")) for name in names)
        return next(filter(None, found), "")
    return "" if theirs == ours else f"{key} was {theirs!r}, is {ours!r}"


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.parent.name


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")


def _remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of a run that it was about to make: files only, and no folder of results."""
    for name in ("environment.json", "manifest.lock", "log.txt"):
        (path / name).unlink(missing_ok=True)
    for leftover in path.glob(".*"):
        leftover.unlink()
    path.rmdir()
