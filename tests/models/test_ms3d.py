"""MS3D: the fixed kernel, the 3D module in NumPy, codes, connections that outlive a file, inflated weights, configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec import models
from keras_actrec.backbones.sparse_densenet3d import connections
from keras_actrec.config import load_config
from keras_actrec.errors import UserError
from keras_actrec.layers.resample_time import interpolation
from keras_actrec.models.codes import encoder_of
from keras_actrec.models.ms3d import orthogonal

ROOT = Path(__file__).parent.parent.parent
PAPER = ROOT / "configs" / "papers" / "ms3d"
SMALL = {
    **{"frames": 4, "size": 16, "tempos": (2, 3, 5), "pathway_filters": (4, 2, 3), "shared_filters": 6},
    **{"pathway_kernels": ((1, 3, 3), (3, 3, 3), (3, 5, 5)), "blocks": (3, 2), "growth": 4, "bottleneck": 2},
    "code_size": 5,
}


def build(**options: Any) -> keras.Model:
    """A small network with a random number in every weight but the fixed kernel's."""
    keras.utils.set_random_seed(0)
    network = models.build_model("ms3d", 3, **SMALL | options)
    rng = np.random.default_rng(1)
    for weight in network.weights:
        if "shared" not in weight.path:
            values = rng.normal(scale=0.3, size=weight.shape)
            weight.assign(np.abs(values) + 0.5 if weight.path.endswith(("variance", "gamma")) else values)
    return network


def clips(network: keras.Model, batch: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {tensor.name: rng.normal(size=(batch, *tensor.shape[1:])).astype("float32") for tensor in network.inputs}


def infer(network: keras.Model, x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(network(x, training=False))


def kernel_of(network: keras.Model) -> np.ndarray:
    return network.get_layer("shared").get_weights()[0]


# --- The fixed kernel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(27, 27), (27, 8), (9, 27)])
def test_the_drawn_matrix_is_orthonormal(rows: int, columns: int) -> None:
    matrix = orthogonal(rows, columns, seed=4)
    assert (matrix.shape, matrix.dtype) == ((rows, columns), np.float32)
    product = matrix.T @ matrix if columns <= rows else matrix @ matrix.T
    np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=1e-5)
    np.testing.assert_array_equal(matrix, orthogonal(rows, columns, seed=4))
    assert np.abs(matrix - orthogonal(rows, columns, seed=5)).max() > 0.1


def test_the_kernel_is_fixed_and_follows_its_own_seed_alone() -> None:
    one = kernel_of(build())
    keras.utils.set_random_seed(99)
    np.testing.assert_array_equal(one, kernel_of(models.build_model("ms3d", 3, **SMALL)))
    assert np.abs(one - kernel_of(build(shared_seed=1))).max() > 0.1
    np.testing.assert_allclose(one.reshape(27, 6).T @ one.reshape(27, 6), np.eye(6), atol=1e-5)


def test_training_leaves_the_kernel_alone() -> None:
    network = build()
    before, code = kernel_of(network), network.get_layer("code").get_weights()[0]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(0.1), loss)
    network.train_on_batch(clips(network, 4), np.array([0, 1, 2, 0]))
    np.testing.assert_array_equal(kernel_of(network), before)
    assert np.abs(network.get_layer("code").get_weights()[0] - code).max() > 0
    assert "shared" not in " ".join(weight.path for weight in network.trainable_weights)


def test_all_twenty_seven_filters_lose_nothing() -> None:
    """The length of what is seen is the length of the answer, at every place."""
    network = build(shared_filters=27)
    clip = np.random.default_rng(0).normal(size=(1, 2, 16, 16, 3)).astype("float32")
    found = infer(network.get_layer("shared"), clip)
    padded = np.pad(clip, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    seen = sum(padded[:, :, i : i + 16, j : j + 16] ** 2 for i, j in np.ndindex(3, 3)).sum(-1)
    np.testing.assert_allclose((found**2).sum(-1), seen, rtol=1e-4)


# --- The 3D module ----------------------------------------------------------------------------------------------------


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """As Keras pads: with stride 2 on 16 pixels one row less at the start than at the end, for odd kernels."""
    size = x.shape[2]
    out = -(-size // stride)
    total = [kernel.shape[0] - 1] + [max((out - 1) * stride + side - size, 0) for side in kernel.shape[1:3]]
    x = np.pad(x, [(0, 0), *((amount // 2, amount - amount // 2) for amount in total), (0, 0)])
    frames, reach = x.shape[1] - total[0], (out - 1) * stride + 1
    return sum(
        x[:, t : t + frames, i : i + reach : stride, j : j + reach : stride] @ kernel[t, i, j]
        for t, i, j in np.ndindex(kernel.shape[:3])
    )


def module(network: keras.Model, x: dict[str, np.ndarray]) -> np.ndarray:
    """Each pathway by itself, in NumPy, joined."""
    paths = []
    for number in (1, 2, 3):
        maps = convolve(x[f"tempo{number}"], kernel_of(network), 1)
        maps = convolve(maps, network.get_layer(f"pathway{number}_conv").get_weights()[0], 2)
        gamma, beta, mean, variance = network.get_layer(f"pathway{number}_bn").get_weights()
        maps = np.maximum(0, (maps - mean) / np.sqrt(variance + 1.001e-5) * gamma + beta)
        paths.append(np.einsum("ft,bthwc->bfhwc", interpolation(maps.shape[1], 4), maps))
    return np.concatenate(paths, axis=-1)


def test_the_module_is_piled_up_of_three_pathways() -> None:
    network = build()
    x = clips(network)
    piled = keras.Model(network.inputs, network.get_layer("pile_up").output)
    expected = module(network, x)
    assert expected.shape == (2, 4, 8, 8, 4 + 2 + 3)
    np.testing.assert_allclose(infer(piled, x), expected, atol=1e-4)
    pooled = infer(keras.Model(network.inputs, network.get_layer("pool1").output), x)
    assert pooled.shape == (2, 4, 4, 4, 9)
    np.testing.assert_allclose(pooled[:, :, 0, 0], expected[:, :, :3, :3].max(axis=(2, 3)), atol=1e-4)


@pytest.mark.parametrize("name", ["tempo1", "tempo2", "tempo3"])
def test_every_pathway_is_heard_and_knows_the_order_of_its_frames(name: str) -> None:
    network = build()
    x = clips(network)
    reversed_ = {**x, name: x[name][:, ::-1]}
    assert np.abs(infer(network, reversed_) - infer(network, x)).max() > 1e-3


def test_one_frame_at_a_time_goes_through_the_fixed_kernel() -> None:
    """What the kernel makes of a frame does not depend on its neighbours."""
    network = build()
    clip = clips(network)["tempo3"]
    alone = np.concatenate([infer(network.get_layer("shared"), clip[:, t : t + 1]) for t in range(5)], axis=1)
    np.testing.assert_allclose(infer(network.get_layer("shared"), clip), alone, atol=1e-5)


# --- Codes ------------------------------------------------------------------------------------------------------------


def test_the_code_is_what_the_classifier_sees() -> None:
    network = build(head_dropout=0.3)
    x = clips(network)
    codes = infer(encoder_of(network), x)
    np.testing.assert_array_equal(codes, infer(keras.Model(network.inputs, network.get_layer("code").output), x))
    assert codes.shape == (2, 5)
    kernel, bias = network.get_layer("logits").get_weights()
    np.testing.assert_allclose(infer(network, x), codes @ kernel + bias, atol=1e-5)


def test_codes_are_exact_under_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = build()
    finally:
        keras.config.set_dtype_policy("float32")
    code = encoder_of(network)(clips(network))
    assert keras.backend.standardize_dtype(code.dtype) == "float32"
    assert network.get_layer("conv2_block1_1_conv").compute_dtype == "bfloat16"
    assert kernel_of(network).dtype == np.float32


# --- Connections ------------------------------------------------------------------------------------------------------


def test_a_saved_network_keeps_its_connections(tmp_path: Path) -> None:
    network = build(connection_seed=6, blocks=(6, 2))
    other = build(connection_seed=7, blocks=(6, 2))
    x = clips(network)
    network.save(tmp_path / "network.keras")
    np.testing.assert_array_equal(infer(models.load_model(tmp_path / "network.keras"), x), infer(network, x))
    network.save_weights(tmp_path / "network.weights.h5")
    again = build(connection_seed=6, blocks=(6, 2))
    again.load_weights(tmp_path / "network.weights.h5")
    np.testing.assert_array_equal(infer(again, x), infer(network, x))
    expected = connections(6, 0.7, seed=6, block=0)[5]
    names = ["pool1", *(f"conv2_block{number}_2_conv" for number in range(1, 6))]
    assert received(network)["conv2_block6_received"] == [names[source] for source in expected]
    assert received(other) != received(network)
    assert received(network) == received(models.load_model(tmp_path / "network.keras"))


def received(network: keras.Model) -> dict[str, list[str]]:
    """By name of each joint in the graph the layers whose outputs it joins."""
    made_by = {id(layer.output): layer.name for layer in network.layers if layer.name != "shared"}
    joints = [layer for layer in network.layers if layer.name.endswith("_received")]
    return {joint.name: [made_by[id(tensor)] for tensor in joint.input] for joint in joints}


# --- Full size --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_full_size_with_the_weights_of_a_file(tmp_path: Path) -> None:
    """10.5 M parameters; the dense blocks start as DenseNet-121, cut and inflated, stem and head at random."""
    source = keras.applications.DenseNet121(weights=None, include_top=False, input_shape=(32, 32, 3))
    source.save_weights(tmp_path / "densenet121.weights.h5")
    config = models.make_config("ms3d", 400, size=32, weights=str(tmp_path / "densenet121.weights.h5"))
    network = models.build_from_config("ms3d", config)
    assert network.count_params() == 10_494_633
    assert [tensor.shape[1] for tensor in network.inputs] == [7, 17, 25]
    assert network.get_layer("code").output.shape == (None, 256)
    assert network.get_layer("pool1").output.shape[1:] == (16, 8, 8, 64)
    channels = config.network().received(64)["conv3_block5_1_conv"]
    kernel = source.get_layer("conv3_block5_1_conv").get_weights()[0]
    ours = network.get_layer("conv3_block5_1_conv").get_weights()[0]
    assert len(channels) < kernel.shape[2]
    np.testing.assert_allclose(ours, kernel[None][:, :, :, channels], rtol=1e-6)
    assert np.abs(kernel_of(network).reshape(27, 27).T @ kernel_of(network).reshape(27, 27) - np.eye(27)).max() < 1e-5


def test_without_a_network_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**options: Any) -> keras.Model:
        raise Exception("URL fetch failure on https://...: None -- Name or service not known")

    monkeypatch.setattr(keras.applications, "DenseNet121", offline)
    with pytest.raises(UserError, match=r"could not be downloaded.*or weights: PATH of a local file"):
        models.build_model("ms3d", 3, size=32, weights="imagenet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ("rgb", "depth")}, "looks at one modality"),
        ({"tempos": ()}, "expected the frames of each pathway"),
        ({"tempos": (2, 3)}, "pathway_kernels: expected one for each of the 2 tempos, got 3"),
        ({"pathway_filters": (4, 4)}, "pathway_filters: expected one for each of the 3 tempos, got 2"),
        ({"alpha": 1.5}, "alpha"),
        ({"weights": "imagenet"}, r"weights: imagenet are DenseNet-121's.*'growth': 4"),
        ({"weights": "absent.weights.h5"}, "there is no weights file absent.weights.h5"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build_model("ms3d", 3, **SMALL | options)


# --- Configs ----------------------------------------------------------------------------------------------------------

CLAIMS = {
    "kinetics": ("82.9", "92.1"),
    "hmdb51_pretrained": ("72.1", "74.3"),
    "hmdb51_scratch": ("70.1", "72.2"),
    "ucf101_pretrained": ("92.4", "94.5"),
    "ucf101_scratch": ("80.4", "91.2"),
    "baseball_multi_sensor": ("94.5", "97.7"),
}


def test_rows_of_the_tables() -> None:
    assert sorted(path.stem for path in PAPER.glob("*.yaml")) == sorted(CLAIMS)


@pytest.mark.parametrize("stem", CLAIMS)
def test_settings_of_the_text(stem: str) -> None:
    config, text = load_config(PAPER / f"{stem}.yaml"), (PAPER / f"{stem}.yaml").read_text()
    data, training = config.data, config.training
    assert "# Claimed: top-1 {} %, top-5 {} %".format(*CLAIMS[stem]) in text
    assert (data.tempos, data.selection, data.size) == ((7, 17, 25), "variance_rate", 224)
    assert data.tailor is not None
    assert (training.objective, training.optimizer.name) == ("n_pair", "adam")
    assert (training.batch_size, training.epochs) == (64, 500)
    assert training.repository is not None
    assert data.cameras == ((0, 1, 2) if stem == "baseball_multi_sensor" else ())
    assert (training.init_from is not None) == stem.endswith("pretrained")
    network = models.make_config_for("ms3d", 51, data, config.model.options)
    assert (network.alpha, network.code_size, network.frames) == (0.7, 256, 16)


def test_defaults_are_the_papers() -> None:
    config = models.make_config("ms3d", 51)
    assert (config.tempos, config.size, config.alpha, config.code_size) == ((7, 17, 25), 224, 0.7, 256)
    assert config.pathway_kernels == ((3, 3, 3), (3, 5, 5), (3, 7, 7))
    assert (config.shared_kernel, config.blocks, config.growth) == (3, (6, 12, 24, 16), 32)
    assert sum(config.pathway_filters) == 64, "what DenseNet-121's first block takes"


def test_the_two_small_runs_differ_in_the_objective_alone() -> None:
    pair, entropy = (
        load_config(ROOT / "configs" / "stick_actions" / f"{name}.yaml") for name in ("ms3d", "ms3d_cross_entropy")
    )
    assert (pair.training.objective, entropy.training.objective) == ("n_pair", "cross_entropy")
    assert (pair.data, pair.model, pair.evaluation) == (entropy.data, entropy.model, entropy.evaluation)
    same = {"objective": "n_pair", "metric": pair.training.metric}
    assert entropy.training.model_copy(update=same) == pair.training
