"""The non-local block: Wang et al. 2018, "Non-local Neural Networks" (arXiv 1711.07971), Sec. 3 and Fig. 2.

    y_i = 1 / C(x) * sum_j f(x_i, x_j) g(x_j);   z_i = W_out y_i + x_i

What was ambiguous, and how it was settled:
- Sub-sampling ("a max pooling layer after phi and g" in the text, a sub-sampled x in its formula) pools x before phi
  and g, as the formula and the released code do; it costs less than pooling after them.
- The published formulas do not scale theta^T phi; the released code divides it by the square root of the inner width:
  `scaled`.
- The released code starts all convolutions from a Gaussian of deviation 0.01. Here theta and phi start so that their
  products have the variance 1 where the inputs have: at the published widths that is the same deviation, and narrow
  blocks do not start without any contrast. g and out start from LeCun's distribution.
- The batch normalisation behind W_out starts at gamma 0 (Sec. 3.3 and 4.1), so that the block starts as an identity.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
from keras import ops

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.layers.folding import Tensor, fold_time, unfold_time

Shape = tuple[int | None, ...]
Kind = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]
KINDS: tuple[str, ...] = get_args(Kind)
SOFTMAX_KINDS = ("embedded_gaussian", "gaussian")


@keras.saving.register_keras_serializable(package="keras_actrec")
class NonLocalBlock(keras.layers.Layer):
    """Lets every place of a clip see every other one, with a residual: (B, T, H, W, D) -> (B, T, H, W, D).

    With N = T*H*W queries i, and M keys j (M = N, or a quarter of it where sub-sampled), the kinds of f and C are

        embedded_gaussian   exp(theta_i . phi_j), C = sum_j f (a softmax; Eq. 3)
        gaussian            exp(x_i . x_j), C = sum_j f (Eq. 2)
        dot_product         theta_i . phi_j, C = M (Eq. 4)
        concatenation       ReLU(w_f . [theta_i, phi_j]), C = M (Eq. 5)

    Sub-layers: `theta`, `phi`, `g`, `out` (1x1x1 convolutions with bias) and `bn`; the Gaussian kind has neither theta
    nor phi, and concatenation has the weight `w_f` (2 * inner).

    Args:
        kind: of f.
        subsample: max-pool what phi and g see over 1x2x2 (over 1 where a side is 1).
        inner_width: channels of theta, phi and g; None: D / 2, as published.
        scaled: divide the dot products of a softmax by the square root of their width.
        initial_gamma: where the batch normalisation's gamma starts; 0 makes the new block an identity.
        momentum, epsilon: of the batch normalisation.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: for an unknown kind or an inner width below 1.
    """

    def __init__(
        self,
        kind: Kind = "embedded_gaussian",
        subsample: bool = True,
        inner_width: int | None = None,
        scaled: bool = False,
        initial_gamma: float = 0.0,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise UserError(f"there is no non-local block of kind '{kind}'.{did_you_mean(kind, KINDS)}")
        if inner_width is not None and inner_width < 1:
            raise UserError(f"inner_width of a non-local block must be at least 1, got {inner_width}.")
        self.kind, self.subsample, self.inner_width, self.scaled = kind, subsample, inner_width, scaled
        self.initial_gamma, self.momentum, self.epsilon = initial_gamma, momentum, epsilon

    def build(self, input_shape: Shape) -> None:
        """Create the sub-layers for inputs of width D."""
        width = input_shape[-1]
        inner = self.inner_width or max(width // 2, 1)
        self.g = self._point_convolution("g", inner, input_shape, "lecun_normal")
        if self.kind != "gaussian":
            start = keras.initializers.RandomNormal(stddev=width**-0.5 * inner**-0.25)
            self.theta = self._point_convolution("theta", inner, input_shape, start.clone())
            self.phi = self._point_convolution("phi", inner, input_shape, start.clone())
        if self.kind == "concatenation":
            start = keras.initializers.RandomNormal(stddev=(2 * inner) ** -0.5)
            self.w_f = self.add_weight(name="w_f", shape=(2 * inner,), initializer=start)
        self.out = self._point_convolution("out", width, (*input_shape[:-1], inner), "lecun_normal")
        self.bn = keras.layers.BatchNormalization(
            momentum=self.momentum,
            epsilon=self.epsilon,
            gamma_initializer=keras.initializers.Constant(self.initial_gamma),
            name="bn",
            dtype=self.dtype_policy,
        )
        self.bn.build(input_shape)

    def call(
        self, inputs: Tensor, training: bool | None = None, return_attention_scores: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Add to each place what it gathers from all places.

        Args:
            inputs: (B, T, H, W, D).
            training: whether the batch normalisation uses the batch's statistics.
            return_attention_scores: also return f / C.

        Returns:
            (B, T, H, W, D), or that and the scores (B, N, M). Queries, and keys on their grid (`key_grid`), are counted
            row by row: T, then H, then W. Rows of the softmax kinds sum to 1.
        """
        keys = self._subsampled(inputs)
        values = _flat(self.g(keys))
        if self.kind == "dot_product" and not return_attention_scores:
            gathered, scores = self._dot_product_without_scores(inputs, keys, values), None
        else:
            scores = self._scores(inputs, keys)
            gathered = ops.matmul(scores, values)
        y = self.out(_unflat(gathered, inputs))
        outputs = inputs + self.bn(y, training=training)
        return (outputs, scores) if return_attention_scores else outputs

    def key_grid(self, input_shape: Shape) -> tuple[int, int, int]:
        """Return how many keys there are in T, H and W for an input (B, T, H, W, D)."""
        frames, height, width = input_shape[1:4]
        return (frames, max(height // 2, 1), max(width // 2, 1)) if self.subsample else (frames, height, width)

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, return_attention_scores: bool = False
    ) -> Any:
        """Return the symbolic output, or that and the scores'."""
        outputs = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return outputs
        (frames, height, width), (t, h, w) = inputs.shape[1:4], self.key_grid(inputs.shape)
        shape = (inputs.shape[0], frames * height * width, t * h * w)
        return outputs, keras.KerasTensor(shape, dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("kind", "subsample", "inner_width", "scaled", "initial_gamma", "momentum", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _point_convolution(
        self, name: str, width: int, input_shape: Shape, start: str | keras.initializers.Initializer
    ) -> keras.Layer:
        layer = keras.layers.Conv3D(width, 1, kernel_initializer=start, name=name, dtype=self.dtype_policy)
        layer.build(input_shape)
        return layer

    def _subsampled(self, x: Tensor) -> Tensor:
        if not self.subsample:
            return x
        window = (min(x.shape[2], 2), min(x.shape[3], 2))
        # Frame by frame: see `MaxPooling3D` for why not in three dimensions.
        return unfold_time(ops.max_pool(fold_time(x), window, window), like=x) if window != (1, 1) else x

    def _scores(self, inputs: Tensor, keys: Tensor) -> Tensor:
        """Return f / C: (B, N, M)."""
        if self.kind == "gaussian":
            return self._softmax(_flat(inputs), _flat(keys))
        queries, keys = _flat(self.theta(inputs)), _flat(self.phi(keys))
        if self.kind == "embedded_gaussian":
            return self._softmax(queries, keys)
        if self.kind == "dot_product":
            return _products(queries, keys) / _count(keys)
        return self._concatenation(queries, keys) / _count(keys)

    def _softmax(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Compute it in float32 whatever the policy: unscaled products are too far apart for half precision."""
        if self.scaled:
            queries = queries * float(queries.shape[-1]) ** -0.5
        products = ops.cast(_products(queries, keys), "float32")
        return ops.cast(ops.softmax(products, axis=-1), self.compute_dtype)

    def _concatenation(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Split w_f . [theta_i, phi_j] into a number per query and one per key: no pair is ever laid side by side."""
        of_queries, of_keys = ops.split(ops.cast(self.w_f, queries.dtype), 2)
        one, other = ops.matmul(queries, of_queries), ops.matmul(keys, of_keys)
        return ops.relu(ops.expand_dims(one, axis=2) + ops.expand_dims(other, axis=1))

    def _dot_product_without_scores(self, inputs: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Multiply phi and g first, which needs no N x M numbers and is equal because the product is associative."""
        keys = _flat(self.phi(keys))
        summed = ops.matmul(ops.transpose(keys / _count(keys), (0, 2, 1)), values)
        return ops.matmul(_flat(self.theta(inputs)), summed)


def _products(queries: Tensor, keys: Tensor) -> Tensor:
    return ops.matmul(queries, ops.transpose(keys, (0, 2, 1)))


def _count(keys: Tensor) -> float:
    return float(keys.shape[1])


def _flat(x: Tensor) -> Tensor:
    """(B, T, H, W, D) -> (B, T*H*W, D)."""
    _, frames, height, width, channels = x.shape
    return ops.reshape(x, (-1, frames * height * width, channels))


def _unflat(x: Tensor, like: Tensor) -> Tensor:
    """(B, T*H*W, D) -> (B, T, H, W, D)."""
    return ops.reshape(x, (-1, *like.shape[1:4], x.shape[-1]))
