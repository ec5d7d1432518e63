"""The largest distance at which a clip is still taken for an action: gamma, set on validation clips of known actions.

No clip of an unknown action is needed. Each validation clip is looked at as if its own action were not in the
repository (leave one class out): whatever it is then taken for is a false accept. Q clips, K actions; distances are
those to the actions' centres. A clip is accepted when its distance to the nearest centre is below gamma, so a gamma
that equals one of the distances accepts only what lies nearer.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_actrec.errors import UserError

RULES = ("global", "per_class")
_ROUNDING = 1e-9  # 0.29 * 100 is a little less than 29


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """What was found on validation clips.

    Attributes:
        gammas: float64 (K,), for each action; infinite where there was nothing to set it by.
        clips: number of validation clips, Q.
        false_accepts: share of them that would be accepted if their own action were unknown; None without any.
        known: number of validation clips whose action is in the repository.
        known_accepted: share of these that are accepted; None without any.
        known_right: share of these that are accepted and taken for their own action.
    """

    gammas: np.ndarray
    clips: int
    false_accepts: float | None
    known: int
    known_accepted: float | None
    known_right: float | None


def calibrate(distances: np.ndarray, owners: np.ndarray, rule: str, false_accepts: float) -> Calibration:
    """Set gamma such that at most a share `false_accepts` of the clips is accepted for an action that is not theirs.

    "global": one gamma for all: the quantile of each clip's distance to the nearest centre of another action.
    "per_class": for each action the quantile of the distances of all clips of other actions to its centre. At most the
    share lies within the gamma of each action; that the shares of several actions do not add up to more, the level of
    all quantiles is lowered until the clips that are accepted are no more than asked for either.

    With few clips the gammas are small rather than large: of fewer than 1 / `false_accepts` clips none is accepted.

    Args:
        distances: (Q, K), of each validation clip to each centre.
        owners: (Q,), the column that is the clip's own action; -1 for an action that has none.
        rule: "global" or "per_class".
        false_accepts: share, at least 0 and below 1.

    Raises:
        UserError: another rule, or a share out of range.
    """
    if rule not in RULES:
        raise UserError(f"gamma is set by one of the rules {', '.join(RULES)}; got '{rule}'.")
    if not 0 <= false_accepts < 1:
        raise UserError(f"the share of false accepts must be at least 0 and below 1, got {false_accepts:g}.")
    distances, owners = np.asarray(distances, np.float64), np.asarray(owners, np.int64)
    others = np.where(np.arange(distances.shape[1]) == owners[:, None], np.inf, distances)
    others = others[np.isfinite(others).any(axis=1)]
    gammas = _global(others, false_accepts) if rule == "global" else _per_class(others, false_accepts)
    return _summary(distances, owners, others, gammas)


def quantile(distances: np.ndarray, share: float) -> float:
    """Return the largest of the distances such that at most `share` of them are below it; infinite without any.

    Args:
        distances: (N,).
        share: at least 0 and below 1.
    """
    if not len(distances):
        return math.inf
    below = min(math.floor(share * len(distances) + _ROUNDING), len(distances) - 1)
    return float(np.sort(distances)[below])


def _global(others: np.ndarray, share: float) -> np.ndarray:
    nearest = others.min(axis=1) if len(others) else np.zeros(0)
    return np.full(others.shape[1], quantile(nearest, share))


def _per_class(others: np.ndarray, share: float) -> np.ndarray:
    """Return gammas at the highest level, in steps of one clip, that keeps all clips together within the share."""
    columns = [column[np.isfinite(column)] for column in others.T]
    low, high = 0, math.floor(share * len(others) + _ROUNDING)
    while low < high:
        middle = (low + high + 1) // 2
        if _accepted(others, _at_level(columns, middle / len(others))).mean() <= share + _ROUNDING:
            low = middle
        else:
            high = middle - 1
    return _at_level(columns, low / max(len(others), 1))


def _at_level(columns: list[np.ndarray], share: float) -> np.ndarray:
    return np.array([quantile(column, share) for column in columns], np.float64)


def _accepted(distances: np.ndarray, gammas: np.ndarray) -> np.ndarray:
    """Return bool (Q,): whether the nearest centre is nearer than its gamma."""
    return distances.min(axis=1) < gammas[distances.argmin(axis=1)]


def _summary(distances: np.ndarray, owners: np.ndarray, others: np.ndarray, gammas: np.ndarray) -> Calibration:
    known = owners >= 0
    accepted = _accepted(distances[known], gammas) if known.any() else np.zeros(0, bool)
    right = accepted & (distances[known].argmin(axis=1) == owners[known]) if known.any() else accepted
    return Calibration(
        gammas=gammas,
        clips=len(distances),
        false_accepts=float(_accepted(others, gammas).mean()) if len(others) else None,
        known=int(known.sum()),
        known_accepted=float(accepted.mean()) if len(accepted) else None,
        known_right=float(right.mean()) if len(right) else None,
    )
