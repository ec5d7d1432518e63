"""Tidying up in the background: it does not hold up who asks, and its errors are told once."""

from __future__ import annotations

import threading
import time

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.swarm.pruning import TidiedLater
from keras_actrec.swarm.state import Kind
from keras_actrec.swarm.store import MemoryStore

VECTOR = np.ones(3, np.float32)


def filled() -> MemoryStore:
    store = MemoryStore()
    for number in range(1, 6):
        store.put(0, Kind.AFTER, number, [VECTOR], 3)
    return store


def test_it_returns_at_once_and_the_last_wish_counts() -> None:
    store, go, asked = filled(), threading.Event(), []
    prune = store.prune

    def slow(oldest: int, best: dict[int, tuple[int, ...]]) -> None:
        asked.append(oldest)
        go.wait(30)
        prune(oldest, best)

    store.prune = slow
    later = TidiedLater(store, print)
    later.prune(2, {})
    while not asked:
        time.sleep(0.005)
    for oldest in (3, 4, 5):
        later.prune(oldest, {0: {1}})
    assert later.rounds(0, Kind.AFTER) == [1, 2, 3, 4, 5]
    go.set()
    later.close()
    assert asked == [2, 5]
    assert store.rounds(0, Kind.AFTER) == [5]


def test_errors_are_told_once_and_later_wishes_are_tried() -> None:
    store, told = filled(), []
    prune, broken = store.prune, [True, True, False]

    def bad(oldest: int, best: dict[int, tuple[int, ...]]) -> None:
        if broken.pop(0):
            raise UserError("the store is away")
        prune(oldest, best)

    store.prune = bad
    later = TidiedLater(store, told.append)
    for oldest in (2, 3, 4):
        left = len(broken)
        later.prune(oldest, {})
        while len(broken) == left:
            time.sleep(0.005)
    later.close()
    assert told == ["old positions could not be removed: the store is away"]
    assert store.rounds(0, Kind.AFTER) == [4, 5]
