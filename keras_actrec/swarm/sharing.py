"""What a particle lays out for others after a round: copies at the precision of the exchange, and a sketch.

A particle always moves from its own exact positions. Where `swarm.exchange` is float32 those are what it publishes;
else they stay in a store of its own, and rounded copies go into the swarm's. Imports no Keras.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from keras_actrec.swarm import dynamics, precision, sketch
from keras_actrec.swarm.passes import Passes
from keras_actrec.swarm.positions import Position
from keras_actrec.swarm.settings import SwarmConfig, generator
from keras_actrec.swarm.sketch import Projection
from keras_actrec.swarm.state import Kind
from keras_actrec.swarm.store import Store


def share(
    own: Store,
    store: Store,
    config: SwarmConfig,
    particle: int,
    number: int,
    best_round: int,
    exact: Mapping[Kind, str] | None = None,
    best: str | None = None,
) -> dict[str, str]:
    """Publish what others may need of a finished round, and return the digests of all that a publication names.

    Args:
        own: holds the particle's exact positions; the very store of the swarm where these are what is exchanged.
        store: of the swarm.
        config: of the swarm.
        particle: index from 0.
        number: of the round, from 1.
        best_round: of the particle so far.
        exact: digests of the exact `before` and `after` of the round; None: of those that are there.
        best: digest of `best` in the swarm's store, if it is of an earlier round; None: of the one that is there.

    Returns:
        `before`, `after`, `best`, of what is in the swarm's store, and `sketch`, which is empty where there is none.
    """
    exact = exact or {kind: own.digest(particle, kind, number) for kind in (Kind.BEFORE, Kind.AFTER)}
    shared = exact if own is store else _publish_copies(own, store, config, particle, number, exact)
    if best_round == number:
        best = shared[Kind.AFTER]
        if own is not store:
            store.alias(particle, (Kind.AFTER, number), (Kind.BEST, number), best)
    return {
        "before": shared[Kind.BEFORE],
        "after": shared[Kind.AFTER],
        "best": best or store.digest(particle, Kind.BEST, best_round),
        "sketch": _publish_sketch(own, store, config, particle, number, exact),
    }


def projection(config: SwarmConfig, number: int) -> Projection:
    """Return the projection of a round: the same for all particles, another one in each round."""
    return Projection(config.swarm.sketch_size, (config.seed, number, *b"sketch"))


def prune(own: Store, store: Store, particle: int, number: int, best_round: int) -> None:
    """Remove a particle's exact positions of rounds before `number`, except the best; the server prunes the swarm's."""
    if own is not store:
        own.prune(number, {particle: (best_round,)})


def _publish_copies(
    own: Store, store: Store, config: SwarmConfig, particle: int, number: int, exact: Mapping[Kind, str]
) -> dict[Kind, str]:
    """Publish rounded copies of `before` and `after`, and return the digests of those."""
    digests = {}
    for kind in (Kind.BEFORE, Kind.AFTER):
        position = own.get(particle, kind, number, exact[kind])
        parts = _rounded(position, config, particle, number)
        digests[kind] = store.put(particle, kind, number, parts, len(position.array))
    return digests


def _rounded(position: Position, config: SwarmConfig, particle: int, number: int) -> Iterator[np.ndarray]:
    random = generator(config.seed, number, particle, "rounding")  # the same for before and after: see `precision`
    with Passes(1) as passes:
        passes.add("exact", position)
        for piece in passes.walk("exact"):
            yield precision.rounded(piece, config.swarm.exchange, random)


def _publish_sketch(
    own: Store, store: Store, config: SwarmConfig, particle: int, number: int, exact: Mapping[Kind, str]
) -> str:
    if not needs_sketch(config, number):
        return ""
    kind = Kind(dynamics.measured_on(config.swarm.variant))
    found = sketch.of_position(own.get(particle, kind, number, exact[kind]), projection(config, number))
    return store.put(particle, Kind.SKETCH, number, [found], len(found))


def needs_sketch(config: SwarmConfig, number: int) -> bool:
    """Return whether distances are estimated after a round: not where all are neighbours, or nobody moves."""
    swarm = config.swarm
    moves = swarm.dynamic != "none" and swarm.warmup_rounds < number < config.training.epochs
    return moves and swarm.nearest_by == "sketch" and swarm.nearest < swarm.particles - 1
