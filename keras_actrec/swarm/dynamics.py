"""How a particle moves by the weights of others: Dynamics 1 and 2 of Phong and Ribeiro (2023). NumPy only, pure.

"Video Action Recognition Collaborative Learning with Dynamics via PSO-ConvNet Transformer", Section 2.1. A particle's
position is its vector of weights (D,). The symbols, and what stands for them here:

    x^(n)(t)      before   the weights before the training of a round (an epoch)
    phi^(n)(t+1)  after    the weights after it
    psi^(n)(t+1)  after - before, the displacement; after one plain step of gradient descent it is -eta * gradient
    P^(n)         own_best, the particle's `after` of its best round
    P_g^(n)       neighbourhood_best, the best of those of the neighbourhood; also P_nbest of Eq. (7)
    N(n, t)       `nearest`: the particle itself and the k others nearest to it, Eq. (1)
    f             `Neighbour.coupling` (M_ij of Table 3, times M) / (1 + distance)^beta, Eq. (5) and (6)

Each dynamic comes as `paper`, what is printed, and as `released`, what the authors' notebooks compute. Deviations of
`paper` from the print, and how its gaps are settled:

- psi is the displacement of a whole round, as released, not of one gradient step.
- The sum of Eq. (3) holds the particle's own displacement with weight 1, as released, where f(0) would be M. Hence
  before + psi = after, and an update whose coefficients are all zero gives `after` bit for bit.
- r(t) is one number for both pulls of Eq. (3); here there are r1 and r2, as in the released code.
- Eq. (4) minimises the loss over all past neighbourhoods; here over the past of the present neighbourhood, by whatever
  fitness is configured, and the positions compared are those after training (phi), whose fitness is known.
- Eq. (7) prints ||x_j - x_j||^2, read as ||x_i - x_j||^2; its sum leaves the particle itself out; x_j - grad L(x_j) is
  `after` of particle j; it begins at `after`, since it has no term for the particle's own training.
- Eq. (7) adds weighted positions, not differences, so it also pushes away from zero. `attract` is what its text says: a
  pull back, with after_j - after_i in place of after_j.
- `distance="rms"` divides distances by sqrt(D): else f all but vanishes in networks with millions of weights.

`released`: distances between the `after`s, to the power 1 in both dynamics; all starts from `after`; no pull to the own
best; Dynamic 2 is Dynamic 1 plus the neighbours' positions times f and the particle's own learning rate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.swarm import chunks
from keras_actrec.swarm.chunks import Plan, Source, Term

NEIGHBOURS, OWN_BEST, NEIGHBOURHOOD_BEST = "neighbours", "own_best", "neighbourhood_best"
"""Groups of terms of an update, and names of the two best positions."""
VARIANTS = {"dynamic_1": ("paper", "released"), "dynamic_2": ("paper", "released", "attract")}
DISTANCES = ("euclidean", "rms")


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbour:
    """Another particle of the neighbourhood.

    Attributes:
        before: (D,) its weights before the round's training.
        after: (D,) its weights after it.
        coupling: M_ij, how much the moving particle i learns from it.
    """

    before: np.ndarray
    after: np.ndarray
    coupling: float


@dataclasses.dataclass(frozen=True)
class Influence:
    """A neighbour as far as the equations see it: where its vectors are, and its weight f of Eq. (5)."""

    before: Source
    after: Source
    factor: float


def nearest(distances: Sequence[float], k: int) -> list[int]:
    """Return the neighbourhood of a particle, Eq. (1): itself, then the k nearest others, nearest first.

    Args:
        distances: to all particles; the first one at distance 0 is the particle itself.
        k: number of others, at most one less than there are particles.

    Returns:
        Indices into `distances`, k + 1 of them; of equally near ones the lower index comes first.

    Raises:
        UserError: there are fewer than k others, or no distance is 0, or one is negative or not finite.
    """
    found = [float(value) for value in distances]
    if not all(math.isfinite(value) and value >= 0 for value in found) or 0.0 not in found:
        raise UserError(f"expected finite distances of a particle with 0 for itself, got {found}; measure them again")
    if not 0 <= k < len(found):
        raise UserError(
            f"expected 0 to {len(found) - 1} neighbours among {len(found)} particles, got {k}; choose fewer"
        )
    itself = found.index(0.0)
    others = [index for index in range(len(found)) if index != itself]
    return [itself, *sorted(others, key=found.__getitem__)[:k]]


def best_of(order: Sequence[int], fitness: Sequence[float] | Mapping[int, float]) -> int:
    """Return the particle of `order` with the highest fitness, Eq. (4); of equals the earlier in `order`.

    Args:
        order: particles, as from `nearest`.
        fitness: of each particle's best position, indexed by particle; higher is better, NaN the lowest.
    """
    if not order:
        raise UserError("expected a neighbourhood of at least one particle, got none; put the particle itself in it")
    return max(order, key=lambda particle: -math.inf if math.isnan(fitness[particle]) else fitness[particle])


def factor(coupling: float, distance: float, beta: float, *, squared: bool = False) -> float:
    """Return f, the weight of a neighbour: Eq. (6), or that of Eq. (7) with the squared distance.

    Args:
        coupling: M or M_ij.
        distance: z, at least 0.
        beta: exponent.
        squared: whether the distance is squared, as in Eq. (7).
    """
    with np.errstate(over="ignore"):  # infinitely far is a weight of 0
        return float(coupling / np.float_power(1.0 + np.float_power(distance, 2 if squared else 1), beta))


def dynamic_1(
    before: np.ndarray,
    after: np.ndarray,
    neighbours: Sequence[Neighbour],
    neighbourhood_best: np.ndarray,
    own_best: np.ndarray,
    *,
    c1: float,
    c2: float,
    r1: float,
    r2: float,
    beta: float = 1.0,
    variant: str = "paper",
    distance: str = "euclidean",
) -> np.ndarray:
    """Return the next position of a particle by Dynamic 1, Eq. (3), (5), (6).

    `paper`: after + sum_l f(||before - before_l||) (after_l - before_l) + c1 r1 (own_best - after)
    + c2 r2 (neighbourhood_best - after).
    `released`: after + sum_l f(||after - after_l||) (after_l - before_l) + c2 r2 (neighbourhood_best - after).

    Args:
        before: (D,) float, weights before training.
        after: (D,) float, weights after it.
        neighbours: the other particles of the neighbourhood, without the particle itself.
        neighbourhood_best: (D,) best position of the neighbourhood.
        own_best: (D,) best position of the particle; unused by `released`.
        c1: strength of the pull to `own_best`.
        c2: strength of the pull to `neighbourhood_best`.
        r1: random factor of the former, in [0, 1).
        r2: random factor of the latter.
        beta: exponent of Eq. (6).
        variant: "paper" or "released".
        distance: "euclidean", or "rms" for distances divided by sqrt(D).

    Returns:
        (D,) in the type of `after`.

    Raises:
        UserError: vectors of different lengths, or an unknown variant or distance.
    """
    _check_name("variant", variant, VARIANTS["dynamic_1"])
    arrays = _arrays(before, after, neighbours, neighbourhood_best, own_best)
    influences = _influences(arrays, neighbours, beta, "dynamic_1", variant, distance)
    return chunks.apply(Plan("after", terms_1(influences, c1=c1, c2=c2, r1=r1, r2=r2, variant=variant)), arrays)


def dynamic_2(
    before: np.ndarray,
    after: np.ndarray,
    neighbours: Sequence[Neighbour],
    neighbourhood_best: np.ndarray,
    *,
    learning_rate: float,
    c: float,
    r: float,
    beta: float = 1.0,
    variant: str = "paper",
    distance: str = "euclidean",
) -> np.ndarray:
    """Return the next position of a particle by Dynamic 2, Eq. (7).

    `paper`: after + sum_l f(||before - before_l||^2) after_l + c r (neighbourhood_best - before).
    `attract`: the same with after_l - after in place of after_l.
    `released`: after + sum_l f(||after - after_l||) ((after_l - before_l) + learning_rate * after_l)
    + c r (neighbourhood_best - after).

    Args:
        before: (D,) float, weights before training.
        after: (D,) float, weights after it.
        neighbours: the other particles of the neighbourhood, without the particle itself.
        neighbourhood_best: (D,) best position of the neighbourhood.
        learning_rate: the particle's own of this round; used by `released` alone.
        c: strength of the pull to `neighbourhood_best`.
        r: its random factor, in [0, 1).
        beta: exponent.
        variant: "paper", "attract" or "released".
        distance: "euclidean", or "rms" for distances divided by sqrt(D).

    Returns:
        (D,) in the type of `after`.

    Raises:
        UserError: vectors of different lengths, or an unknown variant or distance.
    """
    _check_name("variant", variant, VARIANTS["dynamic_2"])
    arrays = _arrays(before, after, neighbours, neighbourhood_best)
    influences = _influences(arrays, neighbours, beta, "dynamic_2", variant, distance)
    return chunks.apply(
        Plan("after", terms_2(influences, learning_rate=learning_rate, c=c, r=r, variant=variant)), arrays
    )


def towards_best(after: np.ndarray, neighbourhood_best: np.ndarray, *, c2: float, r2: float) -> np.ndarray:
    """Return after + c2 r2 (neighbourhood_best - after), the pull to the best alone (D,): a control."""
    arrays = _checked({"after": after, NEIGHBOURHOOD_BEST: neighbourhood_best})
    return chunks.apply(Plan("after", terms_towards_best(c2=c2, r2=r2)), arrays)


def average(afters: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of the positions of all members of a neighbourhood (D,), itself included: a control."""
    arrays = _checked({("after", index): after for index, after in enumerate(afters)})
    return chunks.apply(Plan(("after", 0), mean=tuple(arrays)), arrays)


def measured_on(variant: str) -> str:
    """Return between which positions a variant measures distances: "before" or "after"."""
    return "after" if variant == "released" else "before"


def scale(distance: str, size: int) -> float:
    """Return what Euclidean distances between vectors of `size` weights are divided by."""
    _check_name("distance", distance, DISTANCES)
    return math.sqrt(size) if distance == "rms" else 1.0


def squares_distance(dynamic: str, variant: str) -> bool:
    """Return whether f takes the squared distance: Eq. (7), but not the released code."""
    return dynamic == "dynamic_2" and variant != "released"


def terms_1(
    influences: Sequence[Influence], *, c1: float, c2: float, r1: float, r2: float, variant: str
) -> tuple[Term, ...]:
    """Return the summands of Dynamic 1, to be added to "after"; see `dynamic_1`."""
    pushes = [Term(NEIGHBOURS, one.factor, one.after, one.before) for one in influences]
    own = [Term(OWN_BEST, c1 * r1, OWN_BEST, "after")] if variant == "paper" else []
    return (*pushes, *own, Term(NEIGHBOURHOOD_BEST, c2 * r2, NEIGHBOURHOOD_BEST, "after"))


def terms_2(
    influences: Sequence[Influence], *, learning_rate: float, c: float, r: float, variant: str
) -> tuple[Term, ...]:
    """Return the summands of Dynamic 2, to be added to "after"; see `dynamic_2`."""
    found = []
    for one in influences:
        if variant == "released":
            found.append(Term(NEIGHBOURS, one.factor, one.after, one.before))
            found.append(Term(NEIGHBOURS, one.factor * learning_rate, one.after))
        else:
            found.append(Term(NEIGHBOURS, one.factor, one.after, "after" if variant == "attract" else None))
    pulled = "after" if variant == "released" else "before"
    return (*found, Term(NEIGHBOURHOOD_BEST, c * r, NEIGHBOURHOOD_BEST, pulled))


def terms_towards_best(*, c2: float, r2: float) -> tuple[Term, ...]:
    """Return the summand of `towards_best`."""
    return (Term(NEIGHBOURHOOD_BEST, c2 * r2, NEIGHBOURHOOD_BEST, "after"),)


def _arrays(
    before: np.ndarray,
    after: np.ndarray,
    neighbours: Sequence[Neighbour],
    best: np.ndarray,
    own: np.ndarray | None = None,
) -> dict[Source, np.ndarray]:
    named: dict[Source, np.ndarray] = {"after": after, "before": before, NEIGHBOURHOOD_BEST: best}
    if own is not None:
        named[OWN_BEST] = own
    for index, one in enumerate(neighbours):
        named["before", index], named["after", index] = one.before, one.after
    return _checked(named)


def _checked(named: dict[Source, np.ndarray]) -> dict[Source, np.ndarray]:
    arrays = {name: np.asarray(array) for name, array in named.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise UserError(
            f"expected vectors of one length, got shapes {sorted(shapes)}; give all particles the same model"
        )
    kinds = {array.dtype for array in arrays.values()}
    if any(kind.kind != "f" for kind in kinds):
        raise UserError(f"expected floating-point vectors, got {', '.join(sorted(map(str, kinds)))}; convert them")
    return arrays


def _influences(
    arrays: dict[Source, np.ndarray],
    neighbours: Sequence[Neighbour],
    beta: float,
    dynamic: str,
    variant: str,
    distance: str,
) -> list[Influence]:
    where, squared = measured_on(variant), squares_distance(dynamic, variant)
    own = arrays[where]
    found = []
    for index, one in enumerate(neighbours):
        apart = chunks.distance(own, arrays[where, index]) / scale(distance, len(own))
        weight = factor(one.coupling, apart, beta, squared=squared)
        found.append(Influence(("before", index), ("after", index), weight))
    return found


def _check_name(what: str, name: str, valid: Sequence[str]) -> None:
    if name not in valid:
        raise UserError(f"expected a {what} out of {', '.join(valid)}, got {name!r}.{did_you_mean(name, valid)}")
