"""Names and axes, by worked examples."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec.porting import layouts, recognition, rules
from keras_actrec.porting.families import FAMILIES
from keras_actrec.porting.family import depths, known


def place(shape: tuple[int, ...]) -> layouts.Place:
    return layouts.Place("layer/kernel", shape, keras.Sequential())


def test_numbers_in_a_name_are_shifted() -> None:
    rule = rules.Rule(r"layer(?P<s>\d)\.(?P<b>\d+)\.w", "conv{s:+1}_block{b:+1}_{s}/kernel", layouts.unchanged)
    assert rule.apply("layer3.10.w") == "conv4_block11_3/kernel"
    assert rule.apply("layer3.10.w2") is None
    assert rule.apply("xlayer3.10.w") is None


def test_a_convolution_moves_its_channels_last() -> None:
    theirs = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    ours = layouts.convolution(theirs, place((4, 5, 6, 3, 2)))
    assert ours.shape == (4, 5, 6, 3, 2)
    assert ours[3, 4, 5, 2, 1] == theirs[1, 2, 3, 4, 5]


def test_a_matrix_is_transposed_and_a_point_convolution_is_a_matrix() -> None:
    theirs = np.arange(6).reshape(2, 3)
    assert np.array_equal(layouts.dense(theirs, place((3, 2))), theirs.T)
    assert np.array_equal(layouts.dense(theirs.reshape(2, 3, 1, 1, 1), place((3, 2))), theirs.T)


ALL_LAYOUTS = [
    *(layouts.convolution, layouts.frame_convolution, layouts.dense, layouts.unchanged),
    *(layouts.flat, layouts.rows),
]


@pytest.mark.parametrize("layout", ALL_LAYOUTS)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 2), (2, 3, 4, 5, 6)])
def test_no_layout_fails_on_axes_that_it_does_not_know(layout: layouts.Layout, shape: tuple[int, ...]) -> None:
    assert layout(np.zeros(shape), place((1,))).size == np.zeros(shape).size


def test_a_convolution_over_images_gets_an_axis_of_time() -> None:
    theirs = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    ours = layouts.frame_convolution(theirs, place((1, 4, 5, 3, 2)))
    assert ours.shape == (1, 4, 5, 3, 2)
    assert ours[0, 3, 4, 2, 1] == theirs[1, 2, 3, 4]


def test_a_token_and_a_table_lose_their_axis_of_one() -> None:
    table = np.arange(6).reshape(1, 2, 3)
    assert np.array_equal(layouts.rows(table, place((2, 3))), table[0])
    assert np.array_equal(layouts.flat(table[:, :1], place((3,))), [0, 1, 2])
    assert layouts.flat(table, place((3,))).shape == (1, 2, 3)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_fused_map_is_cut_in_three_and_each_part_transposed(number: int) -> None:
    theirs = np.arange(12).reshape(6, 2)
    part = layouts.third(number)
    assert np.array_equal(part(theirs, place((2, 2))), theirs[2 * number : 2 * number + 2].T)
    assert np.array_equal(part(theirs[:, 0], place((2,))), theirs[2 * number : 2 * number + 2, 0])
    assert part(theirs[:5], place((2, 2))).shape == (5, 2)
    assert part(np.array(1.0), place((2, 2))).shape == ()


def test_a_flattened_map_is_read_in_the_other_order() -> None:
    clip = keras.Input((2, 3, 4, 5))
    x = keras.layers.Flatten()(keras.layers.Identity(name="map")(clip))
    network = keras.Model(clip, keras.layers.Dense(6, use_bias=False)(x))
    theirs = np.random.default_rng(0).normal(size=(6, 5 * 2 * 3 * 4)).astype(np.float32)
    network.layers[-1].kernel.assign(
        layouts.dense_after("map")(theirs, layouts.Place("dense/kernel", (120, 6), network))
    )
    values = np.random.default_rng(1).normal(size=(1, 2, 3, 4, 5)).astype(np.float32)
    channels_first = np.moveaxis(values, -1, 1).reshape(1, -1)
    assert np.allclose(network(values), channels_first @ theirs.T, atol=1e-4)


def test_depths_are_counted_and_a_missing_stage_tells_nothing() -> None:
    pattern = r"layer(?P<stage>\d)\.(?P<block>\d)\.w"
    names = ["layer1.0.w", "layer1.1.w", "layer2.0.w", "other"]
    assert depths(dict.fromkeys(names), pattern, stages=2) == (2, 1)
    assert depths(dict.fromkeys(names), pattern, stages=3) == ()
    assert known(a=(), b=None, c=False) == {"c": False}


def test_wrappers_are_taken_off_unless_two_names_become_one() -> None:
    assert recognition.unwrapped({"module.model.fc.weight": None, "_orig_mod.fc.bias": None}) == {
        "fc.weight": "module.model.fc.weight",
        "fc.bias": "_orig_mod.fc.bias",
    }
    both = {"module.fc.weight": None, "fc.weight": None}
    assert recognition.unwrapped(both) == {name: name for name in both}


def test_families_have_names_of_their_own_and_models_that_exist() -> None:
    from keras_actrec import models

    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert set(family.models) <= set(models.REGISTRY)
        assert all(rule.apply("") is None for rule in family.rules)
