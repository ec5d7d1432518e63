"""A store that is tidied up in the background, for a server that must not wait for a network. Imports no Keras."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from keras_actrec.errors import UserError

if TYPE_CHECKING:
    from keras_actrec.swarm.store import Store

CLOSE_SEC = 10.0
"""Time that the last tidying up may take when the store is closed."""


class TidiedLater:
    """A store whose `prune` returns at once; everything else is the store's own.

    Of several calls that wait, the last one counts, because it asks for less than those before it. What could not be
    removed is told once and tried again with the next call: it takes space and does no other harm.

    Args:
        store: the store.
        tell: is given a sentence about what went wrong, from another thread.
    """

    def __init__(self, store: Store, tell: Callable[[str], None]) -> None:
        self._store, self._tell = store, tell
        self._wanted: tuple[int, Mapping[int, Collection[int]]] | None = None
        self._changed, self._closed, self._told = threading.Condition(), False, ""
        self._thread = threading.Thread(target=self._work, name="tidying", daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def prune(self, oldest_needed: int, best_needed: Mapping[int, Collection[int]]) -> None:
        """Remove later what nobody can need any more; see `Store.prune`."""
        with self._changed:
            self._wanted = oldest_needed, {particle: tuple(rounds) for particle, rounds in best_needed.items()}
            self._changed.notify()

    def close(self) -> None:
        """Finish the tidying up, if it is quick, and close the journal."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_SEC)
        self._store.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._wanted is None:
                    return
                wanted, self._wanted = self._wanted, None
            self._prune(*wanted)

    def _prune(self, oldest_needed: int, best_needed: Mapping[int, Collection[int]]) -> None:
        try:
            self._store.prune(oldest_needed, best_needed)
        except (UserError, OSError) as error:
            if str(error) != self._told:
                self._told = str(error)
                with contextlib.suppress(OSError):
                    self._tell(f"old positions could not be removed: {error}")
