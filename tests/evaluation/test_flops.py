from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.evaluation import flop_rules, flops
from keras_actrec.layers import TimeDistributed, TransformerEncoder
from keras_actrec.layers.conv3d import Conv3D
from keras_actrec.layers.non_local import NonLocalBlock


def of(layer: Callable, *shape: int) -> flops.Flops:
    """Count a model of one layer."""
    given = keras.Input(shape)
    return flops.count(keras.Model(given, layer(given)))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Dense(5, use_bias=False), (7,), 2 * 7 * 5),
        (layers.Dense(5), (7,), 2 * 7 * 5 + 5),
        (layers.Dense(5, activation="relu"), (3, 7), 3 * (2 * 7 * 5 + 5 + 5)),
        (layers.Conv1D(4, 3, use_bias=False), (10, 6), 8 * 4 * 2 * 3 * 6),
        (layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False), (8, 8, 6), 4 * 4 * 4 * 2 * 9 * 6),
        (layers.Conv2D(4, 3, groups=2, use_bias=False), (8, 8, 6), 6 * 6 * 4 * 2 * 9 * 3),
        (layers.Conv2D(4, 3, dilation_rate=2, use_bias=False), (8, 8, 6), 4 * 4 * 4 * 2 * 9 * 6),
        (layers.Conv3D(4, (1, 3, 3), use_bias=False), (5, 8, 8, 6), 5 * 6 * 6 * 4 * 2 * 9 * 6),
        (layers.Conv2DTranspose(4, 3, strides=2, use_bias=False), (5, 5, 6), 25 * 9 * 2 * 6 * 4),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), (8, 8, 6), 36 * 9 * 2 * 12),
        (layers.SeparableConv2D(4, 3, use_bias=False), (8, 8, 6), 36 * (2 * 9 * 6 + 2 * 6 * 4)),
        (layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 5)), (3, 7), 2 * 3 * 7 * 2 * 5),
        (layers.EinsumDense("...c,cd->...d", output_shape=5), (3, 7), 2 * 3 * 7 * 5),
        (layers.Conv3D(4, 3, strides=(1, 2, 2), padding="same"), (5, 8, 8, 6), 5 * 4 * 4 * 4 * (2 * 27 * 6 + 1)),
        (layers.Conv3D(4, (3, 1, 1), activation="relu"), (5, 8, 8, 6), 3 * 8 * 8 * 4 * (2 * 3 * 6 + 1 + 1)),
        (layers.MaxPooling2D(2), (8, 8, 3), 16 * 3 * 4),
        (layers.MaxPooling3D((1, 2, 2)), (5, 8, 8, 3), 5 * 4 * 4 * 3 * 4),
        (layers.MaxPooling3D(3, strides=2, padding="same"), (5, 8, 8, 3), 3 * 4 * 4 * 3 * 27),
        (layers.AveragePooling3D((2, 7, 7), strides=1), (8, 7, 7, 3), 7 * 3 * 2 * 49),
        (layers.GlobalAveragePooling3D(), (5, 8, 8, 3), 5 * 64 * 3),
        (layers.ZeroPadding3D((0, 1, 1)), (5, 8, 8, 3), 0),
        (layers.Flatten(), (5, 8, 8, 3), 0),
        (layers.GlobalAveragePooling2D(), (8, 8, 3), 64 * 3),
        (layers.BatchNormalization(), (8, 3), 2 * 24),
        (layers.BatchNormalization(), (5, 8, 8, 3), 2 * 5 * 64 * 3),
        (layers.LayerNormalization(), (8, 3), 7 * 24),
        (layers.Softmax(), (10,), 30),
        (layers.Dropout(0.5), (10,), 0),
        (layers.Embedding(10, 4), (3,), 0),
        (layers.SimpleRNN(4), (6, 5), 6 * (2 * 5 * 4 + 2 * 4 * 4 + 3 * 4)),
        (layers.LSTM(4, return_sequences=True), (6, 5), 6 * (4 * (2 * 5 * 4 + 2 * 4 * 4) + 17 * 4)),
        (layers.GRU(4), (6, 5), 6 * (3 * (2 * 5 * 4 + 2 * 4 * 4) + 14 * 4)),
        (layers.RNN([layers.GRUCell(4), layers.LSTMCell(3)]), (6, 5), 6 * (216 + 56 + 4 * 2 * 3 * (4 + 3) + 51)),
        (layers.Bidirectional(layers.GRU(4)), (6, 5), 2 * 6 * (3 * (2 * 5 * 4 + 2 * 4 * 4) + 14 * 4)),
    ],
    ids=lambda value: value.name if isinstance(value, keras.Layer) else None,
)
def test_layers_cost_what_paper_and_pencil_say(layer: keras.Layer, shape: tuple[int, ...], expected: int) -> None:
    result = of(layer, *shape)
    assert result.unknown == ()
    assert result.total == expected


def attention(frames: int, keys: int, width: int, heads: int, key_dim: int) -> int:
    project = 2 * width * heads * key_dim
    scores = heads * frames * keys
    biases = heads * key_dim * (frames + 2 * keys) + frames * width
    return project * (2 * frames + 2 * keys) + biases + scores * (4 * key_dim + 3)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_attention_costs_the_same_fused_or_not(dropout: float) -> None:
    layer = layers.MultiHeadAttention(2, 5, dropout=dropout)
    assert of(lambda x: layer(x, x), 6, 8).total == attention(6, 6, 8, 2, 5)


def test_cross_attention_and_attention_over_one_of_two_axes() -> None:
    layer = layers.MultiHeadAttention(2, 5)
    assert of(lambda x: layer(x[:, :2], x), 6, 8).total == attention(2, 6, 8, 2, 5)
    layer = layers.MultiHeadAttention(2, 5, attention_axes=(2,))
    assert of(lambda x: layer(x, x), 3, 6, 8).total == 3 * attention(6, 6, 8, 2, 5)


def test_transformer_encoder_is_the_sum_of_its_parts() -> None:
    result = of(TransformerEncoder(2, 16, key_dim=5), 6, 8)
    feed_forward = 6 * (2 * 8 * 16 + 2 * 16) + 6 * (2 * 16 * 8 + 8)
    assert result.total == attention(6, 6, 8, 2, 5) + feed_forward + 2 * 7 * 6 * 8
    assert result.unknown == ()


def frame_network() -> keras.Model:
    frame = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(frame)))
    return keras.Model(frame, layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize("wrapper", [TimeDistributed, layers.TimeDistributed])
@pytest.mark.parametrize("inner", [frame_network, lambda: layers.Conv2D(4, 3), lambda: layers.Flatten()])
def test_a_frame_network_costs_its_price_per_frame(wrapper: type[keras.Layer], inner: Callable) -> None:
    assert of(wrapper(inner()), 5, 8, 8, 3).total == 5 * of(inner(), 8, 8, 3).total


def test_a_layer_that_is_used_twice_counts_twice() -> None:
    given = keras.Input((7,))
    shared = layers.Dense(7, use_bias=False)
    inner = keras.Model(given, shared(shared(given)))
    outer = keras.Input((7,))
    assert flops.count(keras.Model(outer, inner(inner(outer)))).total == 4 * 2 * 49


def test_matrix_products_without_layers_count() -> None:
    given = keras.Input((6, 8))
    scores = ops.matmul(given, ops.transpose(given, (0, 2, 1)))
    mixed = ops.einsum("bts,bsd->btd", scores, given)
    assert flops.count(keras.Model(given, mixed)).total == 2 * 2 * 6 * 6 * 8
    flat = keras.Input((8,))
    assert flops.count(keras.Model(flat, ops.dot(flat, ops.ones((8, 3))))).total == 2 * 8 * 3
    assert flops.count(keras.Model(given, layers.Dot(axes=2)([given, given]))).total == 2 * 6 * 6 * 8
    assert flops.count(keras.Model(given, ops.tensordot(given, ops.ones((6, 8, 5)), 2))).total == 2 * 6 * 8 * 5


@keras.saving.register_keras_serializable("test_flops")
class Mystery(layers.Layer):
    """Has a weight of its own and uses it in a way that nobody can see."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.matrix = self.add_weight(shape=(shape[-1], 3), name="matrix")

    def call(self, x: object) -> object:
        return ops.sum(ops.expand_dims(x, -1) * self.matrix, axis=-2)


class Plain(Mystery):
    def call(self, x: object) -> object:
        return ops.matmul(x, self.matrix)


class Telling(Mystery):
    def count_flops(self, input_shapes: list, output_shapes: list) -> int:
        return 2 * input_shapes[0][-1] * output_shapes[0][-1]


def test_unknown_layers_with_weights_are_named() -> None:
    result = of(keras.Sequential([layers.Dense(4, use_bias=False), Mystery(name="odd")]), 7)
    assert result.unknown == ("odd (Mystery)",)
    assert result.total == 2 * 7 * 4


def test_own_layers_count_by_their_products_or_their_word() -> None:
    for layer in (Plain(), Telling()):
        result = of(layer, 7)
        assert (result.total, result.unknown) == (2 * 7 * 3, ())


def test_an_unknown_cell_is_named() -> None:
    class Cell(layers.SimpleRNNCell):
        pass

    assert of(layers.RNN(Cell(3, name="cell")), 4, 5).unknown == ("cell (Cell)",)


def test_several_inputs_and_open_shapes() -> None:
    left, right = keras.Input((None, 4), name="left"), keras.Input((None, 4), name="right")
    network = keras.Model({"left": left, "right": right}, layers.Dense(2, use_bias=False)(left + right))
    with pytest.raises(UserError, match="'left' has the open shape"):
        flops.count(network)
    assert flops.count(network, {"left": (3, 4), "right": (3, 4)}).total == 3 * 2 * 4 * 2 + 3 * 4


def test_keras_is_left_as_it_was() -> None:
    before = (keras.Operation.__call__, ops.matmul, ops.einsum, ops.nn.conv)
    network = frame_network()
    weights, data = network.get_weights(), np.ones((2, 8, 8, 3), np.float32)
    expected = network.predict_on_batch(data)
    flops.count(network)
    with pytest.raises(UserError):
        flops.count(keras.Model(given := keras.Input((None, 3)), layers.Dense(2)(given)))
    assert before == (keras.Operation.__call__, ops.matmul, ops.einsum, ops.nn.conv)
    assert all((old == new).all() for old, new in zip(weights, network.get_weights(), strict=True))
    np.testing.assert_array_equal(network.predict_on_batch(data), expected)


def test_the_names_of_later_layers_do_not_shift() -> None:
    """Names are counted by Keras; counting must not change those of a network built afterwards."""

    def names(count: bool) -> list[str]:
        keras.utils.clear_session()
        network = frame_network()
        if count:
            flops.count(network)
        return [layer.name for layer in frame_network().layers]

    assert names(True) == names(False)


def test_einsum_with_dots_and_broadcasting() -> None:
    assert flop_rules.einsum_flops("...ij, jk -> ...ik", (5, 1, 2, 3), (3, 4)) == 2 * 5 * 2 * 3 * 4
    assert flop_rules.einsum_flops("...ij,...jk->...ik", (5, 1, 2, 3), (6, 3, 4)) == 2 * 5 * 6 * 2 * 3 * 4


@pytest.mark.parametrize(
    ("name", "multiply_adds"),
    # As the papers and torchvision's tables print them: multiply-adds of convolutions and dense layers, 224 x 224.
    [("MobileNetV2", 0.300e9), ("ResNet50", 3.86e9), ("DenseNet121", 2.84e9)],
)
def test_known_networks(name: str, multiply_adds: float) -> None:
    network = getattr(keras.applications, name)(weights=None)
    kinds = flops.count(network).by_kind
    products = sum(kinds.get(kind, 0) for kind in ("Conv2D", "DepthwiseConv2D", "Dense"))
    assert products / 2 == pytest.approx(multiply_adds, rel=0.01)


@pytest.mark.parametrize(
    ("name", "multiply_adds"),
    # C3D: 38.5 G at 16 x 112 x 112, as printed with its Sports-1M weights; its convolutions alone, added up by hand:
    # 1.041, 11.098, 5.549, 11.098, 2.775, 5.549, 0.694, 0.694 G.
    [("c3d", 38.498e9)],
)
def test_known_networks_over_clips(name: str, multiply_adds: float) -> None:
    kinds = flops.count(models.build_model(name, num_classes=101)).by_kind
    assert kinds["Conv3D"] / 2 == pytest.approx(multiply_adds, rel=0.001)


def test_a_non_local_block_costs_its_convolutions_and_its_two_products() -> None:
    """With N = 2 * 4 * 4 queries, M = 2 * 2 * 2 keys, width 6 and inner width 3."""
    result = of(NonLocalBlock(inner_width=3), 2, 4, 4, 6)
    queries, keys = 32, 8
    convolutions = queries * (2 * 6 + 1) * 3 + 2 * keys * (2 * 6 + 1) * 3 + queries * (2 * 3 + 1) * 6
    products = 2 * queries * keys * 3 + 2 * queries * keys * 3
    assert result.unknown == ()
    assert result.by_kind["Conv3D"] == convolutions
    assert result.total == convolutions + products + 2 * queries * 6


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1), (3, 3, 3)])
@pytest.mark.parametrize("strides", [1, 2])
def test_a_convolution_costs_the_same_in_however_many_dimensions_it_runs(kernel: tuple[int, ...], strides: int) -> None:
    ours, original = (
        of(kind(4, kernel, strides=strides, padding="same"), 6, 8, 8, 3) for kind in (Conv3D, layers.Conv3D)
    )
    assert (ours.total, ours.unknown) == (original.total, ())


@pytest.mark.parametrize("kind", ["gaussian", "dot_product", "concatenation"])
def test_every_kind_of_non_local_block_is_known(kind: str) -> None:
    assert of(NonLocalBlock(kind=kind), 2, 4, 4, 6).unknown == ()


def test_against_the_profiler_of_tensorflow() -> None:
    tensorflow = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs Keras on TensorFlow")
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    clip = keras.Input((4, 24, 24, 3))
    x = layers.Conv3D(8, 3, padding="same", activation="relu")(clip)
    x = layers.Conv3D(8, (1, 3, 3), strides=(1, 2, 2))(x)
    x = layers.AveragePooling3D((1, 2, 2))(x)
    network = keras.Model(clip, layers.Dense(10)(layers.Flatten()(x)))
    graph = tensorflow.function(network).get_concrete_function(tensorflow.TensorSpec((1, *clip.shape[1:])))
    frozen = convert_variables_to_constants_v2(graph).graph
    profiler = tensorflow.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build()
    measured = profiler.profile(frozen, options=options).total_float_ops
    assert flops.count(network).total == pytest.approx(measured, rel=0.02)
