"""Swarms of the past: directories with a configuration and a journal, which is opened for reading only."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.settings import name_of
from keras_actrec.swarm.state import Phase, Publication, Standing

CONFIG, JOURNAL, RESULT = "config.yaml", "swarm.sqlite", "result.json"
NEWEST = 200
"""So many directories are listed."""
_FACTS = ("restarts", "pid", "host", "run", "message")


@dataclasses.dataclass(frozen=True)
class PastSwarm:
    """A line of the list of past swarms.

    Attributes:
        name: of the directory.
        changed_at: when its journal was changed last, seconds since 1970.
        dynamic: how its particles moved, with the variant.
        particles, rounds: planned numbers.
        round: rounds that at least one particle has finished.
        best_fitness: higher is better; None: no round is finished.
        finished: whether it has a result.
        problem: why it cannot be shown; None: it can.
    """

    name: str
    changed_at: float
    dynamic: str = ""
    particles: int = 0
    rounds: int = 0
    round: int = 0
    best_fitness: float | None = None
    finished: bool = False
    problem: str | None = None


def find(output: Path) -> list[Path]:
    """Return the directories of swarms in `output`, newest first."""
    if not output.is_dir():
        return []
    return sorted(_swarms(output), key=lambda child: (-(child / JOURNAL).stat().st_mtime_ns, child.name))[:NEWEST]


def directory(output: Path, name: str) -> Path:
    """Return the directory of a past swarm; only a name that stands in `output` itself can be asked for."""
    for child in _swarms(output) if output.is_dir() else ():
        if child.name == name:
            return child
    raise UserError(f"expected the name of a swarm in {output}, but there is no {name!r}: see the list of past swarms")


def listing(output: Path) -> list[PastSwarm]:
    """Return what there is to say about each past swarm in one line, newest first."""
    return [_line(child) for child in find(output)]


@contextlib.contextmanager
def journal_of(swarm: Path) -> Iterator[Journal]:
    """Open the journal of a past swarm for reading."""
    journal = Journal.open_readonly(swarm / JOURNAL)
    try:
        yield journal
    finally:
        journal.close()


def state(swarm: Path, journal: Journal) -> dict[str, Any]:
    """Return the state of a past swarm, in the form of the coordinator's snapshot, as far as its files tell it."""
    config = _config(swarm)
    latest: dict[int, Publication] = {p.particle: p for _, p in journal.publications()}
    events = journal.events()
    times = [event.at for event in events] or [(swarm / JOURNAL).stat().st_mtime]
    result = _result(swarm)
    rounds = int(config["training"].get("epochs", 0))
    count = max([int(config["swarm"].get("particles", 0)), *(index + 1 for index in latest)])
    facts = journal.particles()
    return {
        "name": config["name"],
        "directory": str(swarm),
        "standing": Standing.FINISHED if result else Standing.STOPPED,
        "message": "",
        "round": max((p.round for p in latest.values()), default=0),
        "rounds": rounds,
        "started_at": times[0],
        "now": times[-1],
        "elapsed_sec": times[-1] - times[0],
        "settings": {name: value for name, value in config["swarm"].items() if name != "token"},
        "model": config["model"].get("name", ""),
        "data": config["data"].get("source", ""),
        "seed": config["seed"],
        "particles": [_particle(index, latest.get(index), facts.get(index, {}), rounds) for index in range(count)],
        "result": result,
    }


def _particle(index: int, last: Publication | None, facts: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    number = last.round if last else 0
    return {
        "index": index,
        "name": name_of(index),
        "phase": Phase.FINISHED if number >= rounds else Phase.LOST,
        "round": number,
        "batch": 0,
        "batches": 0,
        "learning_rate": last.learning_rate if last else None,
        "fitness": last.fitness if last else None,
        "best_fitness": last.best_fitness if last else None,
        "best_round": last.best_round if last else 0,
        "silent_sec": None,
        **{name: facts.get(name) for name in _FACTS},
    }


def _line(swarm: Path) -> PastSwarm:
    changed_at = (swarm / JOURNAL).stat().st_mtime
    try:
        with journal_of(swarm) as journal:
            config = _config(swarm)
            publications = [p for _, p in journal.publications()]
    except UserError as error:
        return PastSwarm(swarm.name, changed_at, problem=str(error))
    section = config["swarm"]
    return PastSwarm(
        name=swarm.name,
        changed_at=changed_at,
        dynamic=" ".join(str(section[key]) for key in ("dynamic", "variant") if key in section),
        particles=int(section.get("particles", 0)),
        rounds=int(config["training"].get("epochs", 0)),
        round=max((p.round for p in publications), default=0),
        best_fitness=max((p.best_fitness for p in publications), default=None),
        finished=_result(swarm) is not None,
    )


def _swarms(output: Path) -> list[Path]:
    return [child for child in output.iterdir() if (child / JOURNAL).is_file() and (child / CONFIG).is_file()]


def _config(swarm: Path) -> dict[str, Any]:
    # Not the strict configuration: a swarm of an older version is shown, too.
    path = swarm / CONFIG
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"expected the configuration of a swarm in {path}, but it cannot be read: {error}") from None
    document = document if isinstance(document, dict) else {}
    sections = {name: document.get(name) for name in ("swarm", "training", "model", "data")}
    return {
        "name": str(document.get("name") or swarm.name),
        "seed": document.get("seed"),
        **{name: section if isinstance(section, dict) else {} for name, section in sections.items()},
    }


def _result(swarm: Path) -> dict[str, Any] | None:
    path = swarm / RESULT
    try:
        document = files.read_json(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"expected the result of a swarm in {path}, but it is damaged: {error}") from None
    return document if isinstance(document, dict) and "particles" in document else None
