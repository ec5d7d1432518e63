"""The sparse DenseNet: who receives what, a forward pass in NumPy, and inflation from a 2-D DenseNet."""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_actrec.backbones import clip_weights
from keras_actrec.backbones.inflate import inflate
from keras_actrec.backbones.sparse_densenet3d import EPSILON, SparseDenseNet3D, connections, sparse_densenet3d
from keras_actrec.errors import UserError

DENSENET121 = (6, 12, 24, 16)
SMALL = {"blocks": (4, 2), "growth": 3, "bottleneck": 2, "compression": 0.7, "alpha": 0.5, "connection_seed": 1}


def build(shape: tuple[int, ...], network: SparseDenseNet3D) -> keras.Model:
    module = keras.Input(shape)
    return keras.Model(module, sparse_densenet3d(module, network))


def infer(network: keras.Model, x: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(network(x, training=False))


def scatter(network: keras.Model) -> None:
    """Put a random number into every weight, moving statistics included."""
    rng = np.random.default_rng(7)
    for weight in network.weights:
        if weight.path.endswith(("gamma", "variance")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(rng.normal(scale=max(np.prod(weight.shape[:-1]), 4) ** -0.5, size=weight.shape))


# --- Connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(4))
def test_a_layer_receives_its_neighbour_and_its_share_of_the_others(block: int) -> None:
    """Eq. (2): with the block's input as layer 1, dense layer n is l = n + 1 and receives (l - 2) alpha others."""
    found = connections(DENSENET121[block], 0.7, seed=0, block=block)
    assert len(found) == DENSENET121[block]
    for number, sources in enumerate(found, 1):
        layer = number + 1
        assert sources[-1] == number - 1, "the neighbour"
        assert len(sources) - 1 == round((layer - 2) * 0.7)
        assert list(sources) == sorted(set(sources))
        assert all(0 <= source < number for source in sources)


def test_numbers_of_others_by_hand() -> None:
    """0, 0.7, 1.4, 2.1, 2.8, 3.5, 4.2 and 4.9, rounded."""
    counts = [len(sources) - 1 for sources in connections(8, 0.7, seed=3, block=0)]
    assert counts == [0, 1, 1, 2, 3, 4, 4, 5]


def test_the_ends_are_a_chain_and_a_densenet() -> None:
    assert connections(4, 0, seed=9, block=1) == ((0,), (1,), (2,), (3,))
    assert connections(4, 1, seed=9, block=1) == ((0,), (0, 1), (0, 1, 2), (0, 1, 2, 3))


def test_draws_belong_to_seed_block_and_layer() -> None:
    drawn = connections(12, 0.5, seed=4, block=0)
    assert drawn == connections(12, 0.5, seed=4, block=0)
    assert drawn[:5] == connections(5, 0.5, seed=4, block=0), "a longer block begins alike"
    assert drawn != connections(12, 0.5, seed=5, block=0)
    assert drawn != connections(12, 0.5, seed=4, block=1)


def test_draws_are_those_of_files_that_were_saved() -> None:
    """A file of weights alone fits a network that is built again: these numbers must never change."""
    assert connections(6, 0.7, seed=0, block=0) == (
        *((0,), (0, 1), (1, 2), (0, 2, 3)),
        *((0, 1, 2, 4), (0, 1, 2, 4, 5)),
    )


def test_every_earlier_layer_is_drawn_equally_often() -> None:
    """Layer 8 draws 3 of 7 others: each in 3/7 of 2000 networks, within four standard deviations."""
    seen = np.zeros(7)
    for seed in range(2000):
        *others, neighbour = connections(8, 0.4, seed, block=0)[-1]
        assert neighbour == 7
        assert len(others) == 3
        seen[others] += 1
    assert np.abs(seen / 2000 - 3 / 7).max() < 4 * np.sqrt(3 / 7 * 4 / 7 / 2000)


def test_the_network_draws_by_its_own_seed() -> None:
    one, same, other = (SparseDenseNet3D(connection_seed=seed).connections(2) for seed in (1, 1, 2))
    assert one == same == connections(24, 0.7, seed=1, block=2) != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": ()}, "one number of layers"),
        ({"blocks": (2, 0)}, "1 or more"),
        ({"alpha": 1.2}, "between 0 and 1"),
        ({"compression": 0.0}, "above 0"),
    ],
)
def test_mistakes(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SparseDenseNet3D(**options)


# --- The forward pass -------------------------------------------------------------------------------------------------


def normalized(network: keras.Model, name: str, x: np.ndarray) -> np.ndarray:
    gamma, beta, mean, variance = network.get_layer(name).get_weights()
    return np.maximum(0, (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta)


def convolved(x: np.ndarray, kernel: np.ndarray, edge: bool) -> np.ndarray:
    """Eq. (3), place by place of the kernel."""
    half = tuple(size // 2 for size in kernel.shape[:3])
    padded = np.pad(x, [(0, 0), (half[0],) * 2, (0, 0), (0, 0), (0, 0)], mode="edge" if edge else "constant")
    padded = np.pad(padded, [(0, 0), (0, 0), (half[1],) * 2, (half[2],) * 2, (0, 0)])
    _, frames, height, width, _ = x.shape
    return sum(
        padded[:, t : t + frames, i : i + height, j : j + width] @ kernel[t, i, j]
        for t, i, j in np.ndindex(kernel.shape[:3])
    )


def halved(x: np.ndarray) -> np.ndarray:
    for axis in (1, 2, 3):
        if x.shape[axis] > 1:
            even = x.shape[axis] // 2 * 2
            x = (np.take(x, range(0, even, 2), axis) + np.take(x, range(1, even, 2), axis)) / 2
    return x


def oracle(network: keras.Model, x: np.ndarray, blocks: list[tuple[tuple[int, ...], ...]], edge: bool) -> np.ndarray:
    def kernel(name: str) -> np.ndarray:
        return network.get_layer(name).get_weights()[0]

    for stage, block in enumerate(blocks, 2):
        if stage > 2:
            x = halved(convolved(normalized(network, f"pool{stage - 1}_bn", x), kernel(f"pool{stage - 1}_conv"), edge))
        outputs = [x]
        for number, sources in enumerate(block, 1):
            name = f"conv{stage}_block{number}"
            seen = np.concatenate([outputs[source] for source in sources], axis=-1)
            inside = convolved(normalized(network, f"{name}_0_bn", seen), kernel(f"{name}_1_conv"), edge)
            outputs.append(convolved(normalized(network, f"{name}_1_bn", inside), kernel(f"{name}_2_conv"), edge))
        x = np.concatenate(outputs, axis=-1)
    return normalized(network, "bn", x)


@pytest.mark.parametrize("padding", ["zeros", "edge"])
@pytest.mark.parametrize("frames", [1, 5])
def test_forward_pass(frames: int, padding: str) -> None:
    description = SparseDenseNet3D(**SMALL, temporal_padding=padding)
    network = build((frames, 5, 4, 7), description)
    scatter(network)
    x = np.random.default_rng(0).normal(size=(2, frames, 5, 4, 7)).astype("float32")
    found = infer(network, x)
    blocks = [description.connections(0), description.connections(1)]
    # int((7 + 4 x 3) x 0.7) = 13 channels, then two layers more; one step of time stays one, five become two.
    assert found.shape == (2, max(1, frames // 2), 2, 2, 13 + 2 * 3)
    np.testing.assert_allclose(found, oracle(network, x, blocks, padding == "edge"), atol=1e-4)


# --- 2-D weights ------------------------------------------------------------------------------------------------------


@functools.cache
def densenet121() -> keras.Model:
    """The network of keras.applications with a random number in every weight; it stands for that of ImageNet."""
    network = keras.applications.DenseNet121(weights=None, include_top=False, input_shape=(64, 64, 3))
    scatter(network)
    return network


def stem_and_maps(network: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """What goes into the first dense block, (1, 16, 16, 64), and what comes out of the last, (1, 2, 2, 1024)."""
    image = np.random.default_rng(2).normal(size=(1, 64, 64, 3)).astype("float32")
    both = keras.Model(network.input, [network.get_layer("pool1").output, network.output])
    return tuple(keras.ops.convert_to_numpy(x) for x in both(image, training=False))


def test_a_repeated_frame_gives_the_answer_of_densenet121() -> None:
    """With all connections, Eq. (4) and edges repeated, the network in time is the one of images."""
    module, maps = stem_and_maps(densenet121())
    assert maps.std() > 1e-3
    network = build((4, 16, 16, 64), SparseDenseNet3D(alpha=1, temporal_padding="edge"))
    inflate(densenet121(), network, "first")
    found = infer(network, np.repeat(module[:, None], 4, axis=1))
    assert found.shape == (1, 1, 2, 2, 1024)
    np.testing.assert_allclose(found[:, 0], maps, atol=1e-3 * np.abs(maps).max())


def test_what_is_not_received_is_what_is_cut() -> None:
    """A DenseNet whose bottlenecks do not look at the dropped layers gives the answer of the sparse network."""
    description = SparseDenseNet3D(alpha=0.7, temporal_padding="edge", connection_seed=5)
    deaf = keras.models.clone_model(densenet121())
    deaf.set_weights(densenet121().get_weights())
    width = 64
    for block, depth in enumerate(DENSENET121):
        for number, sources in enumerate(description.connections(block), 1):
            convolution = deaf.get_layer(f"conv{block + 2}_block{number}_1_conv")
            kernel = convolution.get_weights()[0]
            for source in set(range(number)) - set(sources):
                start = width + 32 * (source - 1)
                kernel[:, :, slice(0, width) if source == 0 else slice(start, start + 32)] = 0
            convolution.set_weights([kernel])
        width = (width + 32 * depth) // 2
    module, maps = stem_and_maps(deaf)
    network = build((2, 16, 16, 64), description)
    inflate(densenet121(), network, "first", description.received(64))
    found = infer(network, np.repeat(module[:, None], 2, axis=1))
    np.testing.assert_allclose(found[:, 0], maps, atol=1e-3 * np.abs(maps).max())
    apart = np.abs(maps - stem_and_maps(densenet121())[1]).max()
    assert apart > 1e-2 * np.abs(maps).max(), "the dropped connections made no difference"


def test_a_file_of_2d_weights(tmp_path: Path) -> None:
    """Of the kind that wants a network to load it into; `test_clip_weights.py` reads each kind."""
    path = tmp_path / "densenet121.weights.h5"
    densenet121().save_weights(path)
    description = SparseDenseNet3D(connection_seed=2)
    network = build((2, 4, 4, 64), description)
    before = [weight.copy() for weight in network.get_weights()]

    def original(weights: str | None) -> keras.Model:
        return keras.applications.DenseNet121(include_top=False, weights=weights, input_shape=(224, 224, 3))

    clip_weights.load(network, str(path), "first", original, description.received(64))
    moved = [not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True)]
    assert all(moved)
    kernel = densenet121().get_layer("conv5_block16_2_conv").get_weights()[0]
    expected = np.stack([5 / 3 * kernel, -kernel / 3, -kernel / 3])
    np.testing.assert_allclose(network.get_layer("conv5_block16_2_conv").get_weights()[0], expected, rtol=1e-5)


def test_a_network_of_another_growth_is_refused_and_nothing_is_changed() -> None:
    description = SparseDenseNet3D(growth=16)
    network = build((1, 4, 4, 64), description)
    before = network.get_weights()
    with pytest.raises(UserError, match="does not fit"):
        inflate(densenet121(), network, "first", description.received(64))
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
