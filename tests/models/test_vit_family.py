"""ViViT, TimeSformer and VideoMAE: sizes at the published width, what each can and cannot see, and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.evaluation import flops
from keras_actrec.explain import NotApplicable, explain_subject, open_subject

SMALL: dict[str, Any] = {"frames": 4, "size": 8, "patch": 4, "width": 8, "depth": 2, "heads": 2, "dense_dim": 12}
NAMES = ("vivit", "timesformer", "videomae")
D = 768
NORM = 2 * D
BLOCK = 4 * (D * D + D) + (D * 4 * D + 4 * D) + (4 * D * D + D) + 2 * NORM
DIVIDED = BLOCK + 4 * (D * D + D) + NORM + (D * D + D)
PLACES = 14 * 14


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


def small(name: str, **options: Any) -> keras.Model:
    """A small network with random weights everywhere: none of zero, such as TimeSformer's dense layers over time."""
    model = models.build_model(name, 3, **SMALL | options)
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(scale=0.3, size=weight.shape))
    return model


def clips(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 4, 8, 8, channels)).astype("float32")


def infer(model: keras.Model, x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(x if isinstance(x, dict) else {"rgb": x}, training=False))


# --- Sizes ------------------------------------------------------------------------------------------------------------


def of_twelve_layers(count: Any) -> int:
    """From networks of one and of two layers, as all layers are alike: building twelve takes a third of a gigabyte."""
    one, two = count(1), count(2)
    return one + 11 * (two - one)


def parameters(name: str, classes: int, **options: Any) -> int:
    return of_twelve_layers(lambda depth: models.build_model(name, classes, depth=depth, **options).count_params())


def test_a_layer_of_vit_b() -> None:
    assert BLOCK == 7_087_872
    assert DIVIDED == 10_042_368


def test_parameters_of_vivit_b() -> None:
    """The publication's "88.9 M" is that of 32 frames and 400 classes (Arnab et al. 2021, Table 2)."""
    embedding = 16 * 16 * 2 * 3 * D + D
    head = NORM + 400 * (D + 1)
    expected = 12 * BLOCK + embedding + D + (1 + 16 * PLACES) * D + head
    assert expected == 88_954_000
    assert parameters("vivit", 400, frames=32) == expected
    assert expected - parameters("vivit", 400) == 8 * PLACES * D
    assert expected - 8 * PLACES * D == 87_749_776


def test_parameters_of_the_factorised_encoder() -> None:
    """Table 2 of the publication prints 115.1 M."""
    embedding = 16 * 16 * 2 * 3 * D + D
    space = D + (1 + PLACES) * D + NORM
    time = D + (1 + 16) * D + 4 * BLOCK + NORM
    expected = 12 * BLOCK + embedding + space + time + 400 * (D + 1)
    assert parameters("vivit", 400, frames=32, encoder="factorised") == expected
    assert round(expected / 1e6, 1) == 115.1


def test_parameters_of_timesformer_b() -> None:
    """The paper prints 121.4 M: a classifier of Something-Something's 174 classes; of Kinetics' 400 it is 121.6 M."""
    body = 12 * DIVIDED + (16 * 16 * 3 * D + D) + D + (1 + PLACES) * D + 8 * D + NORM
    assert body == 121_258_752
    assert parameters("timesformer", 174) == body + 174 * (D + 1) == 121_392_558
    assert body + 400 * (D + 1) == 121_566_352


def test_parameters_of_timesformer_s() -> None:
    width = 384
    attention = 4 * (width * width + width)
    layer = 2 * attention + 8 * width * width + 5 * width + (width * width + width) + 3 * 2 * width
    rest = (16 * 16 * 3 * width + width) + width + (1 + PLACES) * width + 8 * width + 2 * width
    assert parameters("timesformer", 101, width=width, heads=6) == 12 * layer + rest + 101 * (width + 1)


def test_parameters_of_videomae_b() -> None:
    """No class token, no trained positions, no bias of keys."""
    expected = 12 * (BLOCK - D) + (16 * 16 * 2 * 3 * D + D) + NORM + 400 * (D + 1)
    assert parameters("videomae", 400) == expected == 86_534_800


@pytest.mark.parametrize(("encoder", "published"), [("joint", 455.2e9), ("factorised", 284.4e9)])
def test_operations_of_vivit_b(encoder: str, published: float) -> None:
    """Table 2 of the publication counts a multiplication and an addition as one."""

    def count(depth: int) -> int:
        return flops.count(models.build_model("vivit", 400, frames=32, depth=depth, encoder=encoder)).total

    assert of_twelve_layers(count) / 2 == pytest.approx(published, rel=0.03)


# --- What they see ----------------------------------------------------------------------------------------------------

BLIND: dict[str, tuple[str, dict[str, Any]]] = {
    "vivit": ("vivit", {"tubelet_frames": 1, "position": "none"}),
    "factorised": ("vivit", {"tubelet_frames": 1, "position": "none", "encoder": "factorised"}),
    "timesformer": ("timesformer", {"position": "space"}),
    "timesformer, joint": ("timesformer", {"position": "space", "attention": "joint"}),
    "timesformer, space": ("timesformer", {"attention": "space"}),
    "videomae": ("videomae", {"tubelet_frames": 1, "position": "none"}),
}
SEEING = {
    "vivit": ("vivit", {"tubelet_frames": 1}),
    "vivit, sinusoidal": ("vivit", {"tubelet_frames": 1, "position": "sinusoidal"}),
    "factorised": ("vivit", {"tubelet_frames": 1, "encoder": "factorised"}),
    "timesformer": ("timesformer", {}),
    "timesformer, joint": ("timesformer", {"attention": "joint"}),
    "videomae": ("videomae", {"tubelet_frames": 1}),
}


@pytest.mark.parametrize(("name", "options"), BLIND.values(), ids=BLIND)
def test_without_positions_in_time_the_order_of_frames_is_unknown(name: str, options: dict[str, Any]) -> None:
    model, x = small(name, **options), clips()
    np.testing.assert_allclose(infer(model, x[:, [2, 0, 3, 1]]), infer(model, x), atol=1e-4)


@pytest.mark.parametrize(("name", "options"), SEEING.values(), ids=SEEING)
def test_with_positions_the_order_of_frames_counts(name: str, options: dict[str, Any]) -> None:
    model, x = small(name, **options), clips()
    assert np.abs(infer(model, x[:, ::-1]) - infer(model, x)).max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_without_positions_places_may_be_exchanged(name: str) -> None:
    model, x = small(name, position="none"), clips()
    mirrored = np.concatenate([x[:, :, :, 4:], x[:, :, :, :4]], axis=3)  # the two columns of patches
    np.testing.assert_allclose(infer(model, mirrored), infer(model, x), atol=1e-4)
    seeing = small(name)
    assert np.abs(infer(seeing, mirrored) - infer(seeing, x)).max() > 1e-2


def test_space_only_is_the_mean_of_frames_before_the_norm() -> None:
    """Four times the same frame gives what any of its frames alone gives."""
    model, x = small("timesformer", attention="space"), clips()
    one = small("timesformer", attention="space", frames=1)
    one.set_weights(model.get_weights())
    before_norm = [keras.Model(network.input, network.get_layer("norm").input) for network in (model, one)]
    frames = [infer(before_norm[1], x[:, [frame]]) for frame in range(4)]
    np.testing.assert_allclose(infer(before_norm[0], x), np.mean(frames, axis=0), atol=1e-4)


def test_a_new_timesformer_treats_frames_one_by_one_but_for_its_class_token() -> None:
    model = models.build_model("timesformer", 3, **SMALL)
    starts = [layer.time_dense.get_weights() for layer in model.layers if hasattr(layer, "time_dense")]
    assert len(starts) == 2
    assert not any(weight.any() for weights in starts for weight in weights)


# --- Options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("modalities", "channels"), [(["depth"], 1), (["rgb", "depth"], 4)])
def test_modalities(name: str, modalities: list[str], channels: int) -> None:
    model = small(name, modalities=modalities)
    assert [tensor.name for tensor in model.inputs] == modalities
    assert model.get_layer("patches").kernel.shape[3] == channels
    x = {"rgb": clips(3), "depth": clips(1)}
    given = {key: x[key] for key in modalities}
    found = infer(model, given)
    for key in modalities:
        assert np.abs(infer(model, given | {key: given[key] * 2}) - found).max() > 1e-2, f"{key} is not looked at"


def test_stochastic_depth_rises_over_each_stack() -> None:
    model = models.build_model("vivit", 3, **SMALL | {"depth": 3, "encoder": "factorised", "drop_path": 0.2})
    rates = {layer.name: layer.drop_path for layer in model.layers if hasattr(layer, "drop_path")}
    rising = [pytest.approx(rate) for rate in (0, 0.2 / 3, 0.4 / 3, 0.2)]
    assert [rates[f"time_block{number}"] for number in (1, 2, 3, 4)] == rising
    assert [rates[f"space_block{number}"] for number in (1, 2, 3)] == [0, pytest.approx(0.1), pytest.approx(0.2)]


@pytest.mark.parametrize("name", NAMES)
def test_options_reach_the_layers(name: str) -> None:
    options = {"epsilon": 1e-4, "activation": "gelu_tanh", "attention_dropout": 0.1, "dropout": 0.2}
    model = models.build_model(name, 3, **SMALL | options)
    block = model.get_layer("block2")
    assert (block.epsilon, block.activation, block.dropout, block.attention.dropout) == (1e-4, "gelu_tanh", 0.2, 0.1)
    assert (block.dense_dim, block.attention.num_heads) == (12, 2)
    assert model.get_layer("position_dropout").rate == 0.2
    assert name == "videomae" or model.get_layer("norm").epsilon == 1e-4


def test_epsilons_of_videomae_are_told_apart() -> None:
    model = models.build_model("videomae", 3, **SMALL | {"epsilon": 1e-12, "head_epsilon": 1e-5})
    assert (model.get_layer("block1").epsilon, model.get_layer("norm").epsilon) == (1e-12, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_rematerialised_layers_compute_the_same(name: str) -> None:
    x = clips()
    plain, rematerialized = small(name), small(name, rematerialize=True)
    rematerialized.set_weights(plain.get_weights())
    assert rematerialized.get_layer("block2").rematerialize
    outputs = [keras.ops.convert_to_numpy(model({"rgb": x}, training=True)) for model in (plain, rematerialized)]
    np.testing.assert_allclose(*outputs, atol=1e-6)


def test_what_is_rematerialised_cannot_drop() -> None:
    with pytest.raises(UserError, match="cannot drop: set dropout and drop_path to 0"):
        models.build_model("vivit", 3, **SMALL | {"rematerialize": True, "drop_path": 0.1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 5}, "frames, 5, must be a multiple of the tubelet's, 2"),
        ({"size": 18}, "height, 18, must be a multiple of the tubelet's, 4"),
        ({"heads": 3}, "a width of 8 cannot be shared by 3 heads"),
    ],
)
def test_sizes_must_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build_model("vivit", 3, **SMALL | options)


def test_starts_from_the_file_of_another_run(tmp_path: Path) -> None:
    """Only the classifier of another number of classes is left alone."""
    before = small("vivit")
    before.save(tmp_path / "model.keras")
    model = models.build_model("vivit", 5, **SMALL, weights=str(tmp_path / "model.keras"))
    ours, theirs = (network.get_layer("block2").get_weights() for network in (model, before))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


# --- Where they look --------------------------------------------------------------------------------------------------

UNFOLDED = {
    "vivit": ("vivit", {}, (2, 2, 2), True),
    "timesformer, joint": ("timesformer", {"attention": "joint"}, (4, 2, 2), True),
    "videomae": ("videomae", {}, (2, 2, 2), False),
}


@pytest.mark.parametrize(("name", "options", "grid", "class_token"), UNFOLDED.values(), ids=UNFOLDED)
def test_attention_is_laid_over_the_clip(
    name: str, options: dict[str, Any], grid: tuple[int, ...], class_token: bool
) -> None:
    """The hottest pixel lies in the box of the token that is looked at most, and tokens lie frame by frame."""
    model, x = small(name, depth=1, **options), clips()[:1]
    attention, rollout = explain_subject(open_subject(model, x[0]), ["attention", "attention_rollout"])
    assert (attention.facts["grid"], rollout.facts["grid"]) == (list(grid), list(grid))
    weights = class_token_or_mean(model, x, class_token)
    assert weights.shape == (np.prod(grid),)
    hottest = np.unravel_index(attention.heat.argmax(), attention.heat.shape)
    box = [place * parts // size for place, parts, size in zip(hottest, grid, attention.heat.shape, strict=True)]
    assert tuple(box) == np.unravel_index(weights.argmax(), grid)


def class_token_or_mean(model: keras.Model, x: np.ndarray, class_token: bool) -> np.ndarray:
    """What the class token of the first layer, or the mean of all tokens, looks at."""
    block = model.get_layer("block1")
    tokens = keras.Model(model.input, block.input)({"rgb": x})
    _, scores = block.attention(block.attention_norm(tokens), return_attention_scores=True)
    mean = keras.ops.convert_to_numpy(scores)[0].mean(axis=0)
    return mean[0, 1:] if class_token else mean.mean(axis=0)


@pytest.mark.parametrize(("name", "options"), [("vivit", {"encoder": "factorised"}), ("timesformer", {})])
def test_attention_within_groups_is_refused(name: str, options: dict[str, Any]) -> None:
    """Slices of time, frames and places are folded into the batch: there is no one map over all tokens."""
    subject = open_subject(models.build_model(name, 3, **SMALL | options), clips()[0])
    (result,) = explain_subject(subject, ["attention"])
    assert isinstance(result, NotApplicable)
    assert "attends within groups of tokens" in result.reason
