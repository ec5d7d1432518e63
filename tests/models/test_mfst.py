"""MFST: the sizes of Table 2.3, what each field changes, and the runs of the chapter's tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from case import CLASSES
from cases_mfst import ONE_STAGE, TINY

from keras_actrec import layers, models
from keras_actrec.config import load_config
from keras_actrec.errors import UserError
from keras_actrec.models import mfst

ROOT = Path(__file__).parent.parent.parent
RUNS = ROOT / "configs" / "papers" / "thesis_mfst"
BM = {"stem_kind": "vanilla", "residual": False, "temporal_scales": [1]}
"""The baseline model lacks central differences, residual connections and the multi-scale Transformer."""


def config(**options: Any) -> Any:
    return models.make_config("mfst", CLASSES, **options)


def built(base: dict[str, Any] = ONE_STAGE, **changes: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    return models.build_model("mfst", CLASSES, **base | changes)


def answer(model: keras.Model, weights: list[np.ndarray]) -> np.ndarray:
    model.set_weights(weights)
    clips = [np.random.default_rng(0).normal(size=(2, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    return keras.ops.convert_to_numpy(model(clips, training=False))


def random_weights(model: keras.Model) -> list[np.ndarray]:
    """Every bias and statistic takes part; all are positive enough to be variances."""
    rng = np.random.default_rng(1)
    return [weight + np.abs(rng.normal(scale=0.1, size=weight.shape)) for weight in model.get_weights()]


def compare(base: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the largest difference between two networks that have the same weights."""
    first, second = built(base, **one), built(base, **other)
    weights = random_weights(first)
    return float(np.abs(answer(first, weights) - answer(second, weights)).max())


# --- Sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "parameters", "reported"),
    [({"stages": 3}, 32_436_636, 32.6e6), ({}, 49_830_748, 49.7e6), (BM, 49_649_756, None)],
    ids=["Base", "Large", "BM"],
)
def test_sizes_of_the_paper(options: dict[str, Any], parameters: int, reported: float | None) -> None:
    """Table 2.3, with the 60 classes of NTU RGB+D. The docstring states these numbers."""
    found = models.build_model("mfst", 60, **options).count_params()
    assert found == parameters
    assert f"{found:,}" in mfst.__doc__
    assert reported is None or abs(found / reported - 1) < 0.01


def test_stages_have_the_maps_of_the_docstring() -> None:
    model = models.build_model("mfst", 60)
    shapes = {
        name: model.get_layer(name).output.shape[1:] for name in ("stem_pool2", *map("stage{}_map".format, "1234"))
    }
    assert shapes == {
        "stem_pool2": (32, 28, 28, 192),
        "stage1_map": (32, 14, 14, 192),
        "stage2_map": (32, 7, 7, 256),
        "stage3_map": (32, 7, 7, 512),
        "stage4_map": (32, 7, 7, 512),
    }


def test_multi_scale_and_plain_transformer_have_the_same_weights() -> None:
    """Table 2.6 compares them with the same layers, heads and widths."""
    assert built(temporal_scales=[1]).count_params() == built(temporal_scales=[1, 2]).count_params()


# --- The stem ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modalities", "kind"), [(["rgb"], "st"), (["depth"], "t"), (["rgb", "depth"], "st"), (["depth", "rgb"], "st")]
)
def test_the_stem_follows_the_modality_unless_told(modalities: list[str], kind: str) -> None:
    assert config(modalities=modalities).difference == kind
    assert config(modalities=modalities, stem_kind="vanilla").difference == "vanilla"
    model = built(ONE_STAGE | {"modalities": modalities})
    stem = [layer for layer in model.layers if isinstance(layer, layers.CentralDifferenceConv3D)]
    assert [(layer.name, layer.kind, layer.theta) for layer in stem] == [
        ("stem_conv1_conv", kind, 0.5),
        ("stem_conv3_conv", kind, 0.5),
    ]


@pytest.mark.parametrize("kind", ["st", "t"])
def test_theta_of_zero_is_a_plain_stem(kind: str) -> None:
    assert compare(ONE_STAGE, {"stem_kind": kind, "theta": 0.0}, {"stem_kind": "vanilla"}) < 1e-4
    assert compare(ONE_STAGE, {"stem_kind": kind, "theta": 0.6}, {"stem_kind": "vanilla"}) > 1e-3


def test_the_two_differences_differ() -> None:
    assert compare(ONE_STAGE, {"stem_kind": "st"}, {"stem_kind": "t"}) > 1e-3


# --- The stages -------------------------------------------------------------------------------------------------------


def test_all_keys_kept_is_plain_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, sparse = built(spatial_keys_kept=1.0), built(spatial_keys_kept=0.5)
    weights = random_weights(plain)
    every, half = answer(plain, weights), answer(sparse, weights)
    monkeypatch.setattr(layers.NearestKeysAttention, "keep", layers.SelfAttention.keep)
    np.testing.assert_allclose(every, answer(built(spatial_keys_kept=0.5), weights), atol=1e-5)
    assert np.abs(every - half).max() > 1e-4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"temporal_scales": [1]}, {"temporal_scales": [1, 2]}),
        ({"temporal_scales": [1, 2]}, {"temporal_scales": [1, 4]}),
        ({"modalities": ["rgb", "depth"]}, {"modalities": ["depth", "rgb"]}),
    ],
    ids=["multi-scale", "which scales", "order of modalities"],
)
def test_same_weights_and_another_answer(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert compare(ONE_STAGE, one, other) > 1e-4


def test_what_enters_the_second_stage_is_added_to_what_leaves_it() -> None:
    """Of two models with the same weights otherwise, the shortcut of one being zero, both say the same."""
    small = TINY | {"temporal_layers": 1}
    joined, straight = built(small), built(small, residual=False)
    theirs = dict(zip((weight.path for weight in straight.weights), random_weights(straight), strict=True))
    zeros = {weight.path: np.zeros(weight.shape) for weight in joined.weights}
    shortcut = [weight.path for weight in joined.weights if "shortcut" in weight.path]
    assert shortcut == ["stage2_shortcut/kernel", "stage2_shortcut/bias"]
    ours = {**zeros, **theirs}
    expected = answer(straight, list(theirs.values()))
    np.testing.assert_allclose(answer(joined, [ours[weight.path] for weight in joined.weights]), expected, atol=1e-5)
    kernel = ours["stage2_shortcut/kernel"]
    ours["stage2_shortcut/kernel"] = np.random.default_rng(2).normal(size=kernel.shape)
    assert np.abs(answer(joined, [ours[weight.path] for weight in joined.weights]) - expected).max() > 1e-4


def test_equal_stages_are_joined_without_weights() -> None:
    """In the fourth stage neither map nor width change."""
    wide = TINY | {"pool_strides": [1, 1], "widths": [8, 8], "temporal_layers": 1}
    assert built(wide).count_params() == built(wide, residual=False).count_params()
    assert compare(wide, {}, {"residual": False}) > 1e-4


def test_space_is_seen_within_frames_and_time_at_places() -> None:
    """Before the first temporal block, a frame's tokens depend on that frame alone where the stem does, too."""
    model = built(stem_temporal_kernels=[1, 1], stem_temporal_stride=1, stem_kind="st")
    space = keras.Model(model.inputs, model.get_layer("stage1_map").output)
    both = keras.Model(model.inputs, model.get_layer("stage1_frames_first").output)
    clip = np.random.default_rng(0).normal(size=(1, 8, 32, 32, 3)).astype("float32")
    other = clip.copy()
    other[:, 3] += 1
    changed = [
        np.abs(keras.ops.convert_to_numpy(part(clip) - part(other))).max(axis=(0, 2, 3, 4)) > 1e-5
        for part in (space, both)
    ]
    assert changed[0].tolist() == [frame == 3 for frame in range(8)]
    assert changed[1].all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # Two heads of 3 on 8 wide tokens; a layer has 3 * 9 * 6 + 7 * 8 weights of attention, 9 * 7 + 8 * 8 dense ones
        # and 4 * 8 of normalisations: 377.
        ({"spatial_layers": 3}, 2 * 377),
        ({"temporal_layers": 3}, 2 * 377),
        ({"share_scales": False}, 2 * 377),
        ({"heads": 4}, 2 * (4 * 6 * 8 + 3 * 6)),
        ({"head_dim": 4}, 2 * (4 * 2 * 8 + 3 * 2)),
        ({"dense_dim": 8}, 2 * (8 + 1 + 8)),
        ({"head_units": 10}, 8 + 1 + CLASSES),
        ({"stem_temporal_kernels": [5, 5]}, 2 * 49 * 3 * 4),
        ({"stem_temporal_kernels": [3, 3]}, -2 * 9 * 5 * 6),
        ({"modalities": ["rgb", "depth"]}, 3 * 49 * 4),
        ({"stem_widths": [4, 6, 6]}, (4 + 4) + 45 * 6),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_each_width_adds(change: dict[str, Any], expected: int) -> None:
    assert built(**change).count_params() - built().count_params() == expected


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"dropout": 0.25}, lambda model: model.get_layer("stage1_space1").layer.dropout),
        ({"dropout": 0.25}, lambda model: model.get_layer("stage1_time").layer.dropout),
        ({"head_dropout": 0.25}, lambda model: model.get_layer("dropout").rate),
        ({"rematerialize": True}, lambda model: model.get_layer("stage1_space1").layer.rematerialize),
        ({"rematerialize": True}, lambda model: model.get_layer("stage1_time").layer.rematerialize),
        ({"spatial_keys_kept": 0.25}, lambda model: model.get_layer("stage1_space1").layer.attention.keys_kept),
    ],
    ids=["dropout-space", "dropout-time", "head", "remat-space", "remat-time", "keys"],
)
def test_fields_without_weights_reach_their_layers(change: dict[str, Any], seen: Callable[[keras.Model], Any]) -> None:
    assert seen(built(**change)) == next(iter(change.values()))
    assert seen(built()) != next(iter(change.values()))


def test_strides_decide_the_map() -> None:
    assert built().get_layer("stage1_map").output.shape[1:4] == (4, 4, 4)
    assert built(pool_strides=[2]).get_layer("stage1_map").output.shape[1:4] == (4, 2, 2)
    assert built(stem_temporal_stride=1).get_layer("stage1_map").output.shape[1:4] == (8, 4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 5}, "inception_widths describes 4 stages, but there are 5"),
        ({"stages": 2, "widths": [8]}, "widths describes 1 stages, but there are 2"),
        ({"stem_temporal_kernels": [4, 3]}, "stem_temporal_kernels must be odd, got [4, 3]"),
        ({"modalities": ["depth"], "stem_temporal_kernels": [1, 1]}, "stem_kind t takes differences between frames"),
        ({"frames": 18}, "18 frames behind the stem cannot be divided by temporal_scales [1, 2, 4]"),
        ({"stem_kind": "cdc"}, "stem_kind"),
        ({"theta": 1.5}, "theta"),
        ({"spatial_keys_kept": 0.0}, "spatial_keys_kept"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        config(**options)
    assert message in str(caught.value)


# --- Runs of the chapter ----------------------------------------------------------------------------------------------

# Table: file -> data source, protocol, modality, what differs from MFST-Large, claimed accuracy.
CS, CV, ISOGD = ("ntu_rgbd", "cross_subject"), ("ntu_rgbd", "cross_view"), ("isogd", "cross_subject")
ROWS: dict[str, tuple[tuple[str, str], str, dict[str, Any], str]] = {
    "ntu_cross_subject_rgb": (CS, "rgb", {}, "92.1"),
    "ntu_cross_subject_depth": (CS, "depth", {}, "93.8"),
    "ntu_cross_view_rgb": (CV, "rgb", {}, "95.8"),
    "ntu_cross_view_depth": (CV, "depth", {}, "97.3"),
    "isogd_rgb": (ISOGD, "rgb", {}, "61.26"),
    "isogd_depth": (ISOGD, "depth", {}, "61.29"),
    "ntu_cross_subject_rgb_base": (CS, "rgb", {"stages": 3}, "90.5"),
    "ntu_cross_subject_rgb_stem_vanilla": (CS, "rgb", {"stem_kind": "vanilla"}, "90.4"),
    "ntu_cross_subject_rgb_stem_t_06": (CS, "rgb", {"stem_kind": "t"}, "89.6"),
    "ntu_cross_subject_rgb_stem_st_08": (CS, "rgb", {"stem_kind": "st", "theta": 0.8}, "91.0"),
    "ntu_cross_subject_rgb_stem_t_08": (CS, "rgb", {"stem_kind": "t", "theta": 0.8}, "89.9"),
    "ntu_cross_subject_depth_stem_vanilla": (CS, "depth", {"stem_kind": "vanilla"}, "91.2"),
    "ntu_cross_subject_depth_stem_st_06": (CS, "depth", {"stem_kind": "st"}, "91.6"),
    "ntu_cross_subject_depth_stem_st_08": (CS, "depth", {"stem_kind": "st", "theta": 0.8}, "91.0"),
    "ntu_cross_subject_depth_stem_t_08": (CS, "depth", {"stem_kind": "t", "theta": 0.8}, "92.4"),
    "ntu_cross_subject_rgb_base_no_residual": (CS, "rgb", {"stages": 3, "residual": False}, "90.2"),
    "ntu_cross_subject_rgb_no_residual": (CS, "rgb", {"residual": False}, "91.1"),
    "ntu_cross_subject_rgb_vanilla_transformer": (CS, "rgb", {"temporal_scales": [1]}, "91.0"),
    "ntu_cross_subject_depth_vanilla_transformer": (CS, "depth", {"temporal_scales": [1]}, "92.2"),
    "ntu_cross_subject_rgb_bm": (CS, "rgb", BM, "no accuracy"),
}


def test_every_row_of_the_tables_has_a_run() -> None:
    assert {path.stem for path in RUNS.glob("*.yaml")} == set(ROWS)


@pytest.mark.parametrize("stem", ROWS)
def test_settings_of_the_chapter(stem: str) -> None:
    (source, protocol), modality, options, claim = ROWS[stem]
    run, text = load_config(RUNS / f"{stem}.yaml"), (RUNS / f"{stem}.yaml").read_text()
    assert (run.data.source, run.data.protocol, run.data.modalities) == (source, protocol, (modality,))
    assert (run.model.name, run.model.options) == ("mfst", options)
    assert f"# Claimed: {claim}" in text
    assert (run.data.frames, run.data.size, run.training.epochs) == (32, 224, 100)
    optimizer, schedule, drawn = run.training.optimizer, run.training.schedule, run.data.augmentation
    assert (optimizer.name, optimizer.momentum, optimizer.learning_rate) == ("sgd", 0.9, 0.01)
    # The chapter's 3e-4 within PyTorch's momentum.
    assert optimizer.weight_decay * (1 - optimizer.momentum) == pytest.approx(3e-4)
    assert (schedule.name, schedule.warmup_epochs) == ("cosine", 3)
    assert (drawn.rotation_deg, drawn.flip, drawn.mixup > 0) == (10, 0.5, True)


@pytest.mark.parametrize("name", ["ntu_cross_subject", "ntu_cross_view", "isogd"])
def test_both_modalities_are_fused_afterwards(name: str) -> None:
    """Table 2.1 and 2.2, RGB+DEP: the header of the run on depth names the command, with the names of both runs."""
    text = (RUNS / f"{name}_depth.yaml").read_text()
    names = [load_config(RUNS / f"{name}_{modality}.yaml").name for modality in ("rgb", "depth")]
    assert f"# python -m keras_actrec evaluate --fuse runs/{names[0]}-... runs/{names[1]}-..." in text.replace(
        "#  ", "#"
    )


@pytest.mark.parametrize(("stem", "modalities"), [("", ("rgb",)), ("_depth", ("depth",)), ("_rgbd", ("rgb", "depth"))])
def test_small_runs_differ_in_what_they_look_at(stem: str, modalities: tuple[str, ...]) -> None:
    folder = ROOT / "configs" / "stick_actions"
    ours, plain = load_config(folder / f"mfst{stem}.yaml"), load_config(folder / "mfst.yaml")
    assert ours.data.modalities == modalities
    assert ours.data.model_copy(update={"modalities": ("rgb",)}) == plain.data
    assert (ours.model, ours.training, ours.evaluation) == (plain.model, plain.training, plain.evaluation)
