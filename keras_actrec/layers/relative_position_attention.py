"""Self-attention whose queries also meet a vector for where the key lies: RPE-STDT, Eq. 3.7 and 3.11, Fig. 3.3."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers import relative_position
from keras_actrec.layers.folding import Tensor
from keras_actrec.layers.relative_position import Mapping
from keras_actrec.layers.self_attention import SelfAttention

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class RelativePositionAttention(SelfAttention):
    """`SelfAttention` with relative-position embeddings on its queries: (B, N, D) -> (B, N, D).

        e_ij = (q_i . k_j + q_i . p_ij) / sqrt(d)

    p_ij is the vector of the cluster that i's distance to j belongs to along every axis of the grid of tokens
    (`keras_actrec.layers.relative_position`). Weight: `clusters`, (C, d) if all heads share them, else (h, C, d), where
    C = (2 reach + 1)^axes, plus one for the pairs with a class token.

    The N x N products with p are taken from the N x C products with the clusters. A one-hot matrix product takes them:
    the gradient of a lookup adds up in no fixed order on accelerators, and on TensorFlow the product is faster.

    Args:
        num_heads: number of heads h.
        grid: tokens along each axis, (H, W) or (T,). Along a single axis there may also be fewer tokens.
        class_token: whether a token without a position stands before them.
        mapping: "sectioned" (Eq. 3.8 and 3.9) or "clip".
        reach: largest integer that a distance is mapped onto, y.
        partition: b / y of the sectioned function.
        curvature: a / y of the sectioned function.
        share_heads: whether the heads share the vectors.
        initial_stddev: standard deviation of the vectors at the start; near 0, positions make no difference then, and
            near 1 as much as tokens do.
        **kwargs: as of `SelfAttention`.

    Raises:
        UserError: a number is out of range, or there are not as many tokens as the grid has.
    """

    def __init__(
        self,
        num_heads: int,
        grid: tuple[int, ...],
        class_token: bool = True,
        mapping: Mapping = "sectioned",
        reach: int = 3,
        partition: float = 0.5,
        curvature: float = 4.0,
        share_heads: bool = True,
        initial_stddev: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_heads, **kwargs)
        relative_position.check(mapping, reach, partition, curvature)
        self.grid, self.class_token, self.share_heads = tuple(grid), class_token, share_heads
        self.mapping, self.reach, self.partition, self.curvature = mapping, reach, partition, curvature
        self.initial_stddev = initial_stddev

    @property
    def number_of_clusters(self) -> int:
        """C."""
        return relative_position.number_of_clusters(len(self.grid), self.reach, self.class_token)

    def cluster_index(self) -> np.ndarray:
        """Return the cluster of every pair of tokens: int32 (N, N), the class token first."""
        return relative_position.cluster_index(
            self.grid, self.mapping, self.reach, self.partition, self.curvature, self.class_token
        )

    def build(self, input_shape: Shape) -> None:
        """Create sub-layers and clusters for inputs (B, N, D)."""
        self._check(input_shape[1])
        super().build(input_shape)
        heads = () if self.share_heads else (self.num_heads,)
        self.clusters = self.add_weight(
            name="clusters",
            shape=(*heads, self.number_of_clusters, self.width_of_head),
            initializer=keras.initializers.TruncatedNormal(stddev=self.initial_stddev),
        )
        self._index = self.cluster_index()

    def score_bias(self, query: Tensor) -> Tensor:
        """Return q_i . p_ij / sqrt(d), (B, h, N, N), of queries (B, N, h, d)."""
        tokens = query.shape[1]
        clusters = "cd" if self.share_heads else "hcd"
        products = ops.einsum(f"bnhd,{clusters}->nbhc", query * self.width_of_head**-0.5, self.clusters)
        # Of query n, column m of this matrix chooses the cluster of (n, m).
        choice = ops.one_hot(self._index[:tokens, :tokens], self.number_of_clusters, axis=1, dtype=products.dtype)
        chosen = ops.matmul(ops.reshape(products, (tokens, -1, self.number_of_clusters)), choice)
        return ops.transpose(ops.reshape(chosen, (tokens, -1, self.num_heads, tokens)), (1, 2, 0, 3))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("grid", "class_token", "mapping", "reach", "partition", "curvature", "share_heads", "initial_stddev")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _check(self, tokens: int | None) -> None:
        wanted = math.prod(self.grid) + self.class_token
        fewer = len(self.grid) == 1 and tokens is not None and tokens < wanted
        if tokens != wanted and not fewer:
            grid = " x ".join(map(str, self.grid))
            extra = " and a class token" if self.class_token else ""
            raise UserError(f"a grid of {grid}{extra} makes {wanted} tokens, got {tokens}.")
