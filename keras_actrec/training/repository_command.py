"""The command `repository`: the actions that a finished run recognises. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_actrec import files
from keras_actrec.errors import UserError

if TYPE_CHECKING:
    from keras_actrec.evaluation.repository import Repository
    from keras_actrec.evaluation.video_codes import Encoder, VideoCode

LOCK = ".repository.lock"
WAIT_SEC = 60.0
"""How long another process that changes the repository is waited for."""


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """List, change and try the actions that a finished run recognises, without training.

    A new action needs a few videos: their codes are added to the repository beside the run's model.

    Example: python -m keras_actrec repository add --run runs/ms3d-20250101-120000-ab12 --label Walk walk/*.mp4
    """
    actions = parser.add_subparsers(title="what to do", metavar="ACTION", required=True)
    add = _action(actions, "add", "add an action from a few videos, or more videos of a known one", _add)
    add.add_argument("--label", required=True, metavar="NAME", help="the action")
    add.add_argument("videos", nargs="+", metavar="VIDEO", help="files that show it")
    remove = _action(actions, "remove", "forget an action", _remove)
    remove.add_argument("--label", required=True, metavar="NAME", help="the action")
    merge = _action(actions, "merge", "take over the actions of another repository of the same model", _merge)
    merge.add_argument("other", metavar="OTHER", help="its run directory or file")
    _action(actions, "list", "show actions, codes, spread and gamma", _list)
    recognise = _action(actions, "recognise", "say what videos show, or that it is unknown", _recognise)
    recognise.add_argument("videos", nargs="+", metavar="VIDEO", help="any files")
    evaluate = _action(actions, "evaluate", "measure a split, and clips of unknown classes that were added", _evaluate)
    evaluate.add_argument("--split", default="test", choices=["train", "validation", "test"], help="default: test")
    evaluate.add_argument("--out", metavar="FILE", help="where the JSON goes (default: DIR/repository-SPLIT.json)")
    evaluate.add_argument(
        "--allow-contaminated", action="store_true", help="evaluate clips of the training list all the same, and say so"
    )
    evaluate.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as data.root=PATH, evaluation.clips=5"
    )


def run(options: argparse.Namespace) -> None:
    """Do what the options say."""
    options.work(options)


def _action(actions: Any, name: str, text: str, work: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory", dest="directory")
    parser.set_defaults(work=work)
    return parser


def _add(options: argparse.Namespace) -> None:
    """Encode first, which takes long; then lock, so that of two processes neither loses what the other adds."""
    directory, label = Path(options.directory), _label(options)
    before = open_repository(directory)
    encoder = _open_encoder(directory, before, clips=int(before.notes.get("passes", 1)), crops=1)
    known = label in before.names
    encoded, failed = _encode_all(
        encoder, options.videos, lambda found, _: print(f"{found.name}: encoded{_boxes(found)}")
    )
    if encoded:
        with changing(directory) as change:
            after = change(lambda held: _with_videos(held, label, encoded, encoder.manifest.root))
        number = after.names.index(label)
        print(
            f"'{label}': {'more codes of a known action' if known else 'a new action'}, "
            f"{int((after.owners == number).sum())} codes, spread {after.spread[number]:.4g}, "
            f"gamma {_gamma(after.gammas[number])}"
        )
        print(f"repository: {_file(directory)} ({len(after.names)} actions)")
    _fail(failed, len(options.videos), "added")


def _label(options: argparse.Namespace) -> str:
    """Return the action that is meant; blanks around it make no other one."""
    label = options.label.strip()
    if not label:
        raise UserError("--label names the action; it must not be empty.")
    return label


def _with_videos(held: Repository, label: str, encoded: Sequence[VideoCode], root: Path) -> Repository:
    """Add codes; a copy of a video that is held counts as that video, so that it is replaced or refused."""
    import numpy as np

    from keras_actrec.evaluation import video_copies

    copies = video_copies.originals(held.videos, dict.fromkeys(one.name for one in encoded), root)
    for name, original in copies.items():
        print(f"{name}: a copy of {original}, counts as that video")
    distinct = {copies.get(one.name, one.name): one.codes for one in encoded}
    return held.add(label, np.concatenate(list(distinct.values())), [name for name in distinct for _ in distinct[name]])


def _remove(options: argparse.Namespace) -> None:
    label = _label(options)
    with changing(Path(options.directory)) as change:
        after = change(lambda held: held.remove(label if label in held.names else options.label))
    print(f"'{label}' is removed; {len(after.names)} actions are left: {_file(Path(options.directory))}")


def _merge(options: argparse.Namespace) -> None:
    from keras_actrec.evaluation import repository

    other = Path(options.other)
    taken = open_repository(other) if other.is_dir() else repository.load(other)
    with changing(Path(options.directory)) as change:
        after = change(lambda held: held.merge(taken))
    print(f"{len(after.names)} actions, {len(after.codes)} codes: {_file(Path(options.directory))}")


def _list(options: argparse.Namespace) -> None:
    held = open_repository(Path(options.directory))
    width = max(map(len, ("action", *held.names)))
    print(f"{'action':<{width}}  {'videos':>6}  {'codes':>6}  {'spread':>9}  {'gamma':>9}")
    for number, name in enumerate(held.names):
        rows = [video for video, owner in zip(held.videos, held.owners, strict=True) if owner == number]
        spread, gamma = f"{held.spread[number]:.4g}", _gamma(held.gammas[number])
        print(f"{name:<{width}}  {len(set(rows)):>6}  {len(rows):>6}  {spread:>9}  {gamma:>9}")
    found = held.calibration()
    print(
        f"codes of {held.code_size} numbers, model {held.model[:12]}; gamma {held.rule}, for at most "
        f"{_percent(held.false_accepts)} false accepts: {_percent(found.false_accepts)} of {found.clips} validation "
        f"clips if their own action were unknown; {_percent(found.known_accepted)} of known ones accepted"
    )


def _recognise(options: argparse.Namespace) -> None:
    directory = Path(options.directory)
    held = open_repository(directory)
    encoder = _open_encoder(directory, held)
    _, failed = _encode_all(encoder, options.videos, lambda found, seconds: print(_answer(held, found, seconds)))
    _fail(failed, len(options.videos), "recognised")


def _answer(held: Repository, found: VideoCode, seconds: float) -> str:
    code = found.codes.mean(axis=0, keepdims=True)
    (answer,), (index,), (distance,) = held.recognise(code), *held.nearest(code)
    said = answer or f"unknown (nearest: {held.names[index]})"
    return (
        f"{found.name}: {said}, distance {distance:.4g}, gamma {_gamma(held.gammas[index])}, {seconds:.2f} s"
        f"{_boxes(found)}"
    )


def _evaluate(options: argparse.Namespace) -> None:
    from keras_actrec.evaluation import codes, repository, repository_scores
    from keras_actrec.training import evaluate

    directory = Path(options.directory)
    held = open_repository(directory)
    opened = evaluate.open_finished(str(directory), options.split, options.overrides, options.allow_contaminated)
    repository.load(_file(directory), repository.model_digest(opened.network))
    manifest = opened.data.manifest
    wanted = [split for split in (options.split, "unknown") if split == options.split or manifest.split(split)]
    loaders = [opened.data.evaluation(split) for split in wanted]
    parts = [(loader.clips, codes.encode(opened.network, loader)) for loader in loaders]
    copies = _copies(held, manifest.root, [clip.path for clips, _ in parts for clip in clips])
    document = {
        "run": directory.resolve().name,
        "model": opened.config.model.name,
        "dataset": manifest.name,
        "fold": manifest.fold,
        "split": options.split,
        "false_accepts_asked": held.false_accepts,
        "rule": held.rule,
        **opened.contamination.to_json(),
        **repository_scores.score(held, parts, manifest.classes, copies),
        "quarantined": opened.data.quarantine.documents(),
    }
    target = Path(options.out) if options.out else directory / f"repository-{options.split}.json"
    files.write_json(target, document)
    print("\n".join(_told(document)))
    if opened.contamination:
        print(f"CONTAMINATED: {opened.contamination.describe()}")
    print(f"numbers: {target}")


def _copies(held: Repository, root: Path, paths: Sequence[str]) -> set[str]:
    """Return the clips that are copies of files from elsewhere which the repository holds."""
    from keras_actrec.evaluation import provenance

    prints = {provenance.fingerprint(video) for video in set(held.videos) if Path(video).is_absolute()} - {None}
    return {path for path in paths if provenance.fingerprint(Path(root) / path) in prints} if prints else set()


def _told(document: dict[str, Any]) -> list[str]:
    """Return the numbers in words."""
    lines = [
        f"{document['clips']} clips of {document['actions']} actions: {_percent(document['accuracy'])} recognised, "
        f"{_percent(document['top1'])} without gamma; {document['left_out']} clips left out, because the repository "
        "holds their videos, or without a label"
    ]
    for name, part in document["per_action"].items():
        mark = " (added)" if part["added"] else ""
        lines.append(
            f"  {name}{mark}: {_percent(part['accuracy'])} of {part['clips']}, {_percent(part['top1'])} without gamma"
        )
    lines.append(_coverage(document))
    unknown = document["unknown"]
    if unknown["clips"]:
        lines.append(
            f"{_percent(unknown['false_accepts'])} of {unknown['clips']} clips of unknown actions are accepted"
        )
    return lines


def _coverage(document: dict[str, Any]) -> str:
    """Return how many of the clips the numbers speak of, before any were left out."""
    lost = document["expected"] - document["evaluated"]
    why = f" ({lost} cannot be read)" if lost else ""
    return f"coverage {document['evaluated']} of {document['expected']} clips{why}"


def open_repository(directory: Path) -> Repository:
    """Read the repository of a run.

    Raises:
        UserError: it has none, a damaged one, or several: one for each fold.
    """
    from keras_actrec.evaluation import repository, video_codes

    config = video_codes.read_config(directory)
    if config.folds == "all":
        raise UserError(f"{directory} is a run of several folds; give one of them, such as {directory / 'fold-1'}.")
    if not _file(directory).is_file():
        raise UserError(
            f"{directory} has no repository of actions ({repository.FILE_NAME}). A run keeps one when it is trained "
            "with training.objective: n_pair or supervised_contrastive, or with training.repository: {}."
        )
    return repository.load(_file(directory))


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[Callable[[Callable[[Repository], Repository]], Repository]]:
    """Yield what applies a change to a run's repository, while no other process can change it.

    Raises:
        UserError: another process has been changing it for long.
    """

    def change(work: Callable[[Repository], Repository]) -> Repository:
        after = work(open_repository(directory))
        after.save(_file(directory))
        return after

    open_repository(directory)  # no lock file beside what is no run
    with locked(directory):
        yield change


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from changing a run's repository.

    Raises:
        UserError: another process has been changing it for long.
    """
    from keras_actrec.locking import HeldError, Lock

    lock = Lock(directory / LOCK)
    try:
        lock.acquire(WAIT_SEC)
    except HeldError as error:
        raise UserError(
            f"process {error.holder or 'unknown'} has been changing the repository of {directory} for more than "
            f"{WAIT_SEC:g} s; try again when it has ended."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _open_encoder(directory: Path, held: Repository, **views: int) -> Encoder:
    """Open the run's network, and refuse a repository of another one."""
    from keras_actrec.evaluation import repository, video_codes

    encoder = video_codes.open_encoder(directory, **views)
    repository.load(_file(directory), repository.model_digest(encoder.network), held.code_size)
    return encoder


def _encode_all(
    encoder: Encoder, videos: Sequence[str], told: Callable[[VideoCode, float], None]
) -> tuple[list[VideoCode], int]:
    """Return the codes of the videos that could be read, and how many could not, each told in a line."""
    from keras_actrec.errors import UnreadableVideoError

    encoded, failed = [], 0
    for video in videos:
        began = time.perf_counter()
        try:
            found = encoder.encode(video)
        except UnreadableVideoError as error:
            failed += 1
            print(f"not readable: {video}: {error.reason}", file=sys.stderr)
            continue
        encoded.append(found)
        told(found, time.perf_counter() - began)
    return encoded, failed


def _fail(failed: int, videos: int, what: str) -> None:
    if failed:
        raise UserError(f"{failed} of {videos} videos could not be read; {videos - failed} were {what}.")


def _file(directory: Path) -> Path:
    from keras_actrec.evaluation import repository

    return directory / repository.FILE_NAME


def _boxes(found: VideoCode) -> str:
    return "" if found.boxes is None else f", person boxes: {found.boxes}"


def _gamma(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "none"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
