"""Self-attention to the nearest keys alone: k-NN attention, Wang et al. 2022 ("KVT"), as in MFST, Eq. 2.8."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor
from keras_actrec.layers.self_attention import SelfAttention

NEVER = -1e9
"""A score that the softmax turns into an exact zero in float32."""


@keras.saving.register_keras_serializable(package="keras_actrec")
class NearestKeysAttention(SelfAttention):
    """`SelfAttention` in which each query sees only the k keys with its largest scores: (B, N, D) -> (B, N, D).

    The other scores are left out of the softmax, so that they get neither weight nor gradient. Keys whose scores equal
    the k-th largest all count, so that the answer does not depend on the order of the tokens.

    Args:
        num_heads: number of heads.
        keys_kept: how many keys count: a float is a share of the N keys (rounded down, at least one key), in (0, 1]; an
            int is a number, at most N of which are there.
        **kwargs: of `SelfAttention`.

    Raises:
        UserError: keys_kept is out of range.
    """

    def __init__(self, num_heads: int, keys_kept: float | int = 0.7, **kwargs: Any) -> None:
        super().__init__(num_heads, **kwargs)
        share = isinstance(keys_kept, float)
        if not keys_kept > 0 or (share and keys_kept > 1):
            raise UserError(f"keys_kept is a share in (0, 1] or a number of at least 1 key, got {keys_kept}.")
        self.keys_kept = keys_kept

    def keep(self, scores: Tensor) -> Tensor:
        """Return the scores (B, h, N, N), those below the k-th largest of their row as good as minus infinity."""
        count = self.count_kept(scores.shape[-1])
        if count == scores.shape[-1]:
            return scores
        smallest_kept = ops.top_k(ops.stop_gradient(scores), count, sorted=True)[0][..., -1:]
        return ops.where(scores < smallest_kept, NEVER, scores)

    def count_kept(self, keys: int) -> int:
        """Return k for a number of keys."""
        if not isinstance(self.keys_kept, float):
            return min(self.keys_kept, keys)
        # A share such as 0.29 of 100 is a hair less than 29 in binary.
        return max(1, math.floor(self.keys_kept * keys + 1e-9))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "keys_kept": self.keys_kept}
