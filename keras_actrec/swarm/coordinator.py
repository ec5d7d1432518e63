"""The server's mind: who is where, when a round is closed, who is started again, when the swarm ends. No Keras here.

It is a state machine without threads: the particles' requests call its methods, and `tick` is called several times
per second. All that must survive a kill is in the journal before a particle is told of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.swarm import barrier, table
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.launcher import Launcher
from keras_actrec.swarm.open_rounds import OpenRounds
from keras_actrec.swarm.players import OUT, Player, describe
from keras_actrec.swarm.settings import name_of
from keras_actrec.swarm.state import Command, Move, Phase, Publication, Sign, Standing
from keras_actrec.swarm.store import StorageFullError, Store

OVER = frozenset({Standing.STOPPED, Standing.FINISHED, Standing.FAILED})
STOP_SEC = 30.0
"""Time that particles have to end in order before they are killed."""
LEFT_BEHIND = "had failed, and cannot take part again: what it needs of its last round was removed since."
PROGRESS_SEC = 5.0
"""Time between two lines about the preparation of the data."""


class RefusedError(UserError):
    """A request that does not fit: an unknown particle, or one that cannot take part any more."""


class OccupiedError(RefusedError):
    """Another process plays this particle, or did so a moment ago."""


class Coordinator:
    """One swarm.

    Args:
        swarm: the directory, locked.
        store: positions and journal.
        launcher: of the particles; None when they are started by hand.
        clock: seconds, never going back.

    Attributes:
        standing: of the swarm.
        message: why it failed or stopped.
        store: positions and journal.
    """

    def __init__(
        self,
        swarm: SwarmDirectory,
        store: Store,
        launcher: Launcher | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.swarm, self.store, self.launcher = swarm, store, launcher
        self.config = swarm.config
        self.standing, self.message = Standing.STARTING, None
        self._clock = clock
        self._lock = threading.RLock()
        self._rounds = self.config.training.epochs
        self._failure: str | None = None
        self._asked_to_stop = 0.0
        self._paused_at = 0.0
        self._progress, self._progress_due = "", self._clock() + PROGRESS_SEC
        self._oldest = self.store.journal.get("oldest", 1)
        self._players = [self._recall(index) for index in range(self.config.swarm.particles)]
        self._open = OpenRounds(self.config, self.store.journal, clock)
        self._started_at = self.store.journal.get("started_at") or time.time()
        self.store.journal.set("started_at", self._started_at)
        self._said = self._rounds_done()

    # what people do

    def start(self) -> None:
        """Start the particles that have not finished."""
        with self._lock:
            self.standing = Standing.RUNNING
            for player in self._players:
                if player.phase is Phase.FAILED:
                    self._note("warning", player.message, player.index)
            for player in filter(lambda player: player.active, self._players):
                player.seen = self._clock()
                self._launch(player)

    def pause(self) -> None:
        """Let the particles rest after the batch that they are at."""
        with self._lock:
            if self.standing is Standing.RUNNING:
                self.standing, self._paused_at = Standing.PAUSED, self._clock()
                self._note("info", "paused")

    def resume(self) -> None:
        """Go on after a pause."""
        with self._lock:
            if self.standing is Standing.PAUSED:
                self.standing = Standing.RUNNING
                self._open.rested(self._clock() - self._paused_at)
                self._note("info", "continued")

    def stop(self, failure: str | None = None) -> None:
        """End all particles in order; the swarm can be resumed.

        Args:
            failure: why the swarm cannot go on; None when somebody wanted it.
        """
        with self._lock:
            if self.standing in OVER or self.standing is Standing.STOPPING:
                return
            self.standing, self._failure, self._asked_to_stop = Standing.STOPPING, failure, self._clock()
            if failure:
                self._try_to_note("error", failure)
            else:
                self._try_to_note("info", "stopping")

    @property
    def ending(self) -> bool:
        """Whether particles are to end."""
        return self.standing is Standing.STOPPING or self.over

    @property
    def over(self) -> bool:
        """Whether the swarm has ended, in whatever way."""
        return self.standing in OVER

    # what particles tell

    def join(self, index: int, name: str, pid: int, host: str) -> dict[str, Any]:
        """A process plays a particle from now on; one that played it before is told to leave.

        Raises:
            OccupiedError: that one has not been silent for long enough, and was started by hand as well.
            RefusedError: there is no such particle, or the others have gone on too far without it.
        """
        with self._lock:
            player = self._player(index)
            if player.phase is Phase.FAILED and self._left_behind(index):
                raise RefusedError(f"{name_of(index)} {LEFT_BEHIND}")
            busy = player.joined and player.player != name and self._silent_sec(player) < self._silence_sec
            if busy and self.launcher is None:
                raise OccupiedError(f"{name_of(index)} is being played by process {player.pid} on {player.host}.")
            player.player, player.pid, player.host, player.joined = name, pid, host, True
            player.message = None
            self._heard(player, player.phase if player.phase is Phase.FINISHED else Phase.STARTING)
            self.store.journal.set_particle(index, host=host, pid=pid)
            return {"last_round": self.store.journal.last_round(index)}

    def alive(self, index: int, name: str, sign: Sign) -> Command:
        """A sign of life; the answer is what to do."""
        with self._lock:
            player = self._played(index, name)
            if player.active:
                self._heard(player, sign.phase)
                player.round, player.batch, player.batches = sign.round, sign.batch, sign.batches
            if self.standing is Standing.PAUSED:
                return Command.PAUSE
            return Command.STOP if self.ending else Command.RUN

    def publish(self, index: int, name: str, publication: Publication) -> Publication:
        """Commit a round of a particle; return what is committed."""
        with self._lock:
            player = self._played(index, name)
            committed = self.store.journal.add_publication(publication)
            player.deaths = 0
            self._heard(player, Phase.WAITING)
            self._open.began(publication.round)
            self._close_rounds()
            self._prune()
            self._tell_rounds()
            return committed

    def publications(self, index: int, name: str, round_number: int) -> list[Publication] | None:
        """Return the publications of a round's members and of the one who asks; None while the round is open."""
        with self._lock:
            self._heard(self._played(index, name), Phase.WAITING)
            members = self.store.journal.members(round_number)
            if members is None or self.standing is Standing.PAUSED:
                return None
            published = self.store.journal.published(round_number)
            return [published[member] for member in sorted({*members, index}) if member in published]

    def moved(self, index: int, name: str, move: Move) -> Move:
        """Commit a move; return what is committed."""
        with self._lock:
            self._heard(self._played(index, name), Phase.TRAINING)
            return self.store.journal.add_move(move)

    def finish(self, index: int, name: str, result: dict[str, Any]) -> None:
        """A particle has been evaluated."""
        with self._lock:
            player = self._played(index, name)
            if player.phase is Phase.FINISHED and player.result == result:
                return  # told again, because the answer was lost
            player.result = result
            self.store.journal.set_particle(index, result=result)
            self._heard(player, Phase.FINISHED)
            self._note("info", f"finished: test top-1 {100 * result['test_top1']:.1f} %", index)
            self._prune()

    def fail(self, index: int, name: str, message: str, kind: str) -> None:
        """A particle cannot go on, or was stopped."""
        with self._lock:
            player = self._played(index, name)
            if kind == "storage":
                self.stop(f"{name_of(index)}: {message}")
            elif kind == "user" and player.phase is not Phase.FAILED:
                self._give_up(player, message)

    # what happens by itself

    def tick(self) -> None:
        """Look after processes, deadlines and the end."""
        with self._lock:
            if self.over:
                return
            try:
                self._look_after_players()
                self._tell_preparation()
                self._close_rounds()
                self._end()
            except StorageFullError as error:
                self.stop(str(error))

    def _look_after_players(self) -> None:
        for player in self._players:
            if player.active and self.standing in (Standing.RUNNING, Standing.PAUSED):
                self._look_after(player)

    def _look_after(self, player: Player) -> None:
        ended = self.launcher.ended(player.index) if self.launcher else None
        waits = self.launcher.waits(player.index) if self.launcher else None
        limit = self._silence_sec if player.joined else self.config.swarm.start_sec
        if ended is not None:
            self._restart(player, ended.reason, ended.is_fault)
        elif waits is not None:
            self._wait_for_place(player, waits)
        elif self._silent_sec(player) > limit:
            self._restart(player, f"it has given no sign of life for {limit:.0f} s")

    def _wait_for_place(self, player: Player, reason: str) -> None:
        """That no machine has room is nobody's fault; after a time the swarm stops, and can be resumed."""
        player.seen = self._clock()
        if player.message is None:
            player.message, player.waits_since = reason, self._clock()
            self._note("info", reason, player.index)
        limit = self.config.swarm.ray.wait_sec
        if self._clock() - player.waits_since > limit:
            self.stop(f"{name_of(player.index)} could not be started for {limit:.0f} s: {reason}.")

    def _restart(self, player: Player, reason: str, is_fault: bool = True) -> None:
        if self.launcher is None:
            self._lose(player, reason)
            return
        self.launcher.kill(player.index)
        player.deaths += is_fault
        if player.deaths > self.config.swarm.restarts:
            self._give_up(player, f"{reason}, {player.deaths} times in a row; see {self.swarm.console(player.index)}")
            return
        player.restarts += 1
        self._note("warning", f"{reason}; started again from its last committed round", player.index)
        self._launch(player)

    def _lose(self, player: Player, reason: str) -> None:
        """A particle that was started by hand is waited for, but not for ever once it is the only one left."""
        if player.phase is not Phase.LOST:
            player.phase, player.message = Phase.LOST, reason
            self._note("warning", f"lost: {reason}; start it again by hand", player.index)
        others = {other.phase for other in self._players if other is not player}
        alone = Phase.FINISHED in others and others <= OUT | {Phase.LOST}
        if alone and self._silent_sec(player) > self.config.swarm.server_sec:
            player.phase, player.message = Phase.FAILED, "it has not come back, and all others have finished"
            self._note("error", player.message, player.index)

    def _launch(self, player: Player) -> None:
        player.phase, player.joined, player.player, player.seen = Phase.STARTING, False, None, self._clock()
        player.message = None
        if self.launcher is not None:
            player.pid = self.launcher.start(player.index)

    def _give_up(self, player: Player, message: str) -> None:
        """A particle does not come back."""
        player.phase, player.message = Phase.FAILED, message
        self._note("error", f"cannot go on: {message}", player.index)
        if not any(other.active or other.phase is Phase.FINISHED for other in self._players):
            self.stop(f"no particle can go on: {message}")
        elif self.config.swarm.on_failure == "stop":
            self.stop(f"{name_of(player.index)} cannot go on: {message}")
        self._close_rounds()

    def _close_rounds(self) -> None:
        """Close each open round that all have published; or whose deadline has passed, if they were let to work."""
        active = [player.index for player in self._players if player.active]
        for number, members, late in self._open.due(active, deadlines=self.standing is Standing.RUNNING):
            if late:
                self._note("warning", f"round {number} goes on without {', '.join(map(name_of, late))}")
            self.store.journal.close_round(number, members)

    def _prune(self) -> None:
        journal = self.store.journal
        last = {player.index: journal.last_round(player.index) for player in self._players}
        active = [player.index for player in self._players if player.active]
        oldest = barrier.oldest_needed(active, last)
        if oldest > self._oldest:
            self.store.journal.set("oldest", oldest)
            self._oldest = oldest
        rounds = range(oldest, self._rounds + 1)
        recent = [publication for number in rounds for publication in journal.published(number).values()]
        self.store.prune(oldest, barrier.best_needed(recent, oldest))

    def _end(self) -> None:
        """Leave the last standing once every process has ended."""
        if self.standing is Standing.STOPPING:
            running = [player for player in self._players if self.launcher and self.launcher.runs(player.index)]
            if running and self._clock() - self._asked_to_stop < STOP_SEC:
                return
            if self.launcher:
                self.launcher.kill_all()
            self.message = self._failure
            self.standing = Standing.FAILED if self._failure else Standing.STOPPED
        elif not any(player.active for player in self._players):
            files.write_json(self.swarm.result, self.result())
            self.swarm.link_best(self.result()["best"])
            self._note("info", "the swarm has finished")
            self.standing = Standing.FINISHED

    # what others see

    def result(self) -> dict[str, Any] | None:
        """Return the final numbers of all particles; None before the end."""
        if any(player.active for player in self._players) or not any(player.result for player in self._players):
            return None
        return table.result(self.config, self.store.journal, {p.index: p.result for p in self._players})

    def snapshot(self) -> dict[str, Any]:
        """Return the state of the swarm as JSON, for the page."""
        with self._lock:
            return {
                "name": self.swarm.path.name,
                "directory": str(self.swarm.path),
                "standing": self.standing,
                "message": self.message or self._failure,
                "round": self.round,
                "rounds": self._rounds,
                "started_at": self._started_at,
                "now": time.time(),
                "elapsed_sec": time.time() - self._started_at,
                "settings": self.config.swarm.model_dump(mode="json", exclude={"token"}),
                "model": self.config.model.name,
                "data": self.config.data.source,
                "seed": self.config.seed,
                "particles": [self._describe(player) for player in self._players],
                "result": self.result(),
            }

    @property
    def round(self) -> int:
        """The round that the swarm is in."""
        return min(self._rounds_done() + 1, self._rounds)

    def _describe(self, player: Player) -> dict[str, Any]:
        silent_sec = round(self._silent_sec(player), 1) if player.active else None
        return describe(player, self.config, self.store.journal, silent_sec) | {
            "run": str(self.swarm.run(player.index))
        }

    def _rounds_done(self) -> int:
        """Return how many rounds all that count have published."""
        counting = [player for player in self._players if player.phase is not Phase.FAILED] or self._players
        return min(self.store.journal.last_round(player.index) for player in counting)

    def _tell_rounds(self) -> None:
        """Say a line for each round that is complete."""
        while self._said < self._rounds_done():
            self._said += 1
            published = self.store.journal.published(self._said)
            self.swarm.say(table.round_line(self.config, self._said, published))

    def _tell_preparation(self) -> None:
        """Repeat now and then what a particle says while it renders or prepares the data for all."""
        busy = next((player for player in self._players if player.phase is Phase.PREPARING), None)
        if busy is None or self.launcher is None or self._clock() < self._progress_due:
            return
        self._progress_due = self._clock() + PROGRESS_SEC
        line = self.launcher.last_line(busy.index)
        if line and line != self._progress:
            self._progress = line
            self.swarm.say(f"{name_of(busy.index)}: {line}")

    def _recall(self, index: int) -> Player:
        """Return what the journal knows of a particle."""
        known = self.store.journal.particle(index)
        player = Player(index, round=self.store.journal.last_round(index), host=known.get("host"))
        if known.get("result"):
            player.result, player.phase = known["result"], Phase.FINISHED
        elif self._left_behind(index):
            player.phase, player.message = Phase.FAILED, f"it {LEFT_BEHIND}"
        return player

    def _left_behind(self, index: int) -> bool:
        """Whether positions that a particle would have to read were removed, as it had failed."""
        return max(self.store.journal.last_round(index), 1) < self._oldest

    def _player(self, index: int) -> Player:
        if not 0 <= index < len(self._players):
            raise RefusedError(f"this swarm has particles 1 to {len(self._players)}, not {index + 1}.")
        return self._players[index]

    def _played(self, index: int, name: str) -> Player:
        """Return the particle that a process plays."""
        player = self._player(index)
        if player.player is None and self.launcher is None:  # the server was resumed under a particle that lives on
            player.player, player.joined = name, True
        if player.player != name:
            raise LeaveRequest
        return player

    def _heard(self, player: Player, phase: Phase) -> None:
        player.seen, player.phase = self._clock(), phase

    def _silent_sec(self, player: Player) -> float:
        return self._clock() - player.seen

    @property
    def _silence_sec(self) -> float:
        return self.config.swarm.silence_sec

    def _note(self, level: str, text: str, particle: int | None = None) -> None:
        """Write an event to the journal and to the console."""
        self.store.journal.add_event(level, text, particle)
        self.swarm.say(f"{name_of(particle)}: {text}" if particle is not None else text)

    def _try_to_note(self, level: str, text: str) -> None:
        """Write an event where there is space for it."""
        try:
            self._note(level, text)
        except (StorageFullError, OSError):
            print(text, flush=True)


class LeaveRequest(Exception):  # noqa: N818 (no error: an answer)
    """The process that asks does not play its particle any more."""
