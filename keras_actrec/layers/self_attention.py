"""Multi-head self-attention: Vaswani et al. 2017, Sec. 3.2, as in Vision Transformers (Dosovitskiy et al. 2021)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class SelfAttention(keras.layers.Layer):
    """Lets every token see every other one: (B, N, D) -> (B, N, D).

        e_ij = q_i . k_j / sqrt(d) + b_ij;   z_i = W_o sum_j softmax_j(e_ij) v_j

    with q, k, v linear in the tokens, h heads of width d, and b = 0 here; kinds of attention that change how q, k and v
    are made, what is added to the scores, or which keys count, are subclasses that replace `project`, `score_bias` or
    `keep`. Runs through `keras.ops.dot_product_attention`, which is fused (flash attention) where backend and device
    have it, as long as nobody needs the scores themselves: not with `dropout` in training, nor with a `keep`.

    Sub-layers: `query`, `key`, `value` (D -> h d) and `output` (h d -> D), all dense.

    Args:
        num_heads: number of heads h.
        head_dim: width of each head d; None: D / h.
        use_bias: whether queries, values and output have a bias.
        key_bias: whether keys have one; it changes no score's rank, and VideoMAE's weights have none.
        dropout: share of the attention weights that is dropped.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: a number is out of range, or the width is no multiple of the number of heads.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int | None = None,
        use_bias: bool = True,
        key_bias: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, number in (("num_heads", num_heads), ("head_dim", head_dim)):
            if number is not None and number < 1:
                raise UserError(f"{name} of self-attention must be at least 1, got {number}.")
        self.num_heads, self.head_dim = num_heads, head_dim
        self.use_bias, self.key_bias, self.dropout = use_bias, key_bias, dropout

    def build(self, input_shape: Shape) -> None:
        """Create the sub-layers for inputs of width D."""
        width = input_shape[-1]
        if self.head_dim is None and width % self.num_heads:
            raise UserError(f"a width of {width} cannot be shared by {self.num_heads} heads; choose a divisor of it.")
        self.width_of_head = self.head_dim or width // self.num_heads
        inner = self.num_heads * self.width_of_head
        self.build_projections(input_shape, inner)
        self.output_projection = self.dense("output", width, self.use_bias, (*input_shape[:-1], inner))
        self.drop = keras.layers.Dropout(self.dropout, name="drop", dtype=self.dtype_policy)

    def build_projections(self, input_shape: Shape, inner: int) -> None:
        """Create what `project` uses, for queries, keys and values of width `inner`."""
        self.query = self.dense("query", inner, self.use_bias, input_shape)
        self.key = self.dense("key", inner, self.use_bias and self.key_bias, input_shape)
        self.value = self.dense("value", inner, self.use_bias, input_shape)

    def dense(self, name: str, width: int, use_bias: bool, input_shape: Shape) -> keras.layers.Dense:
        """Return a built dense layer."""
        layer = keras.layers.Dense(width, use_bias=use_bias, name=name, dtype=self.dtype_policy)
        layer.build(input_shape)
        return layer

    def project(self, inputs: Tensor, training: bool | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (B, N, h d)."""
        return self.query(inputs), self.key(inputs), self.value(inputs)

    def score_bias(self, query: Tensor) -> Tensor | None:
        """Return what is added to the scaled scores, (B or 1, h, N, N), of queries (B, N, h, d); None for nothing."""
        return None

    def keep(self, scores: Tensor) -> Tensor:
        """Return the scores (B, h, N, N) before the softmax, those of keys that may not count far below the others."""
        return scores

    def call(
        self, inputs: Tensor, training: bool | None = None, return_attention_scores: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend.

        Args:
            inputs: (B, N, D).
            training: whether dropout is active.
            return_attention_scores: also return softmax(e).

        Returns:
            (B, N, D), or that and the scores (B, h, N, N), whose rows sum to 1.
        """
        query, key, value = map(self.split_heads, self.project(inputs, training))
        if return_attention_scores or self._needs_scores(training):
            scores = self._scores(query, key)
            attended = ops.einsum("bhnm,bmhd->bnhd", self.drop(scores, training=training), value)
        else:
            scores, attended = None, ops.dot_product_attention(query, key, value, bias=self.score_bias(query))
        tokens = attended.shape[1]
        flat = ops.reshape(attended, (-1, tokens, self.num_heads * self.width_of_head))
        outputs = self.output_projection(flat)
        return (outputs, scores) if return_attention_scores else outputs

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, N, h d) -> (B, N, h, d)."""
        return ops.reshape(x, (-1, x.shape[1], self.num_heads, self.width_of_head))

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, return_attention_scores: bool = False
    ) -> Any:
        """Return the symbolic output, or that and the scores'."""
        outputs = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return outputs
        batch, tokens = inputs.shape[:2]
        return outputs, keras.KerasTensor((batch, self.num_heads, tokens, tokens), dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("num_heads", "head_dim", "use_bias", "key_bias", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _needs_scores(self, training: bool | None) -> bool:
        dropping = self.dropout > 0 and training is not False
        return dropping or type(self).keep is not SelfAttention.keep

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Return softmax(e), (B, h, N, N); the softmax in float32 whatever the policy."""
        products = ops.einsum("bnhd,bmhd->bhnm", query * self.width_of_head**-0.5, key)
        bias = self.score_bias(query)
        products = ops.cast(products if bias is None else products + bias, "float32")
        return ops.cast(ops.softmax(self.keep(products), axis=-1), self.compute_dtype)
