"""What relative positions do to attention, and the map of clusters of Figure 3.5."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from small import clip_network, noise

from keras_actrec import cli, models
from keras_actrec.errors import UserError
from keras_actrec.explain import (
    Explanation,
    NotApplicable,
    Options,
    cluster_map,
    explain,
    explain_subject,
    feature_maps,
    open_subject,
)
from keras_actrec.layers.relative_position import sectioned

TINY = {
    "frames": 2,
    "size": 32,
    "patch": 8,
    "width": 12,
    "depth": 2,
    "heads": 3,
    "temporal_depth": 1,
    "temporal_heads": 2,
    "reach": 2,
    "subsample_after": [1],
    "position_stddev": 1.0,
}


def network(**options: object) -> keras.Model:
    keras.utils.set_random_seed(2)
    return models.build_model("rpe_stdt", 3, **TINY | options)


# --- The factors in a clip --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share_heads", [True, False])
def test_factors_of_the_query(share_heads: bool) -> None:
    """exp(q . p / sqrt(d)), patch by patch; the query at row 9 and column 31 lies in patch (1, 3)."""
    model = network(heads_share_positions=share_heads)
    clip = noise(model)
    found = explain(model, clip, "relative_position", query=(1, 9, 31))
    block = model.get_layer("space_block2")
    tokens = keras.Model(model.inputs, block.input)([clip[None]])
    query = keras.ops.convert_to_numpy(block.attention.query(block.attention_norm(tokens))).reshape(2, 17, 3, 4)
    clusters = np.broadcast_to(np.asarray(block.attention.clusters), (3, 26, 4))
    factors = np.zeros((2, 4, 4))
    for frame, row, column, head in np.ndindex(2, 4, 4, 3):
        down, right = (int(sectioned(np.array(distance), 2)) for distance in (1 - row, 3 - column))
        p = clusters[head, (down + 2) * 5 + right + 2]
        factors[frame, row, column] += np.exp(query[frame, 1 + 1 * 4 + 3, head] @ p / 2) / 3
    np.testing.assert_allclose(found.heat, feature_maps.resample(factors.astype("float32"), (2, 32, 32)), rtol=1e-3)
    assert (found.layer, found.facts["query_cell"], found.facts["clusters"]) == ("space_block2/attention", [1, 3], 26)


def test_embeddings_of_zero_change_nothing() -> None:
    model = network()
    model.get_layer("space_block2").attention.clusters.assign(np.zeros((26, 4)))
    np.testing.assert_allclose(explain(model, noise(model), "relative_position").heat, 1, atol=1e-6)


def test_the_layer_and_the_middle_patch_are_chosen_unless_named() -> None:
    model = network()
    default = explain(model, noise(model), "relative_position")
    assert (default.layer, default.facts["query"]) == ("space_block2/attention", [1, 16, 16])
    named = explain(model, noise(model), "relative_position", layer="space_block1/attention")
    assert named.layer == "space_block1/attention"
    assert not np.allclose(named.heat, default.heat)
    chosen = Options(layer="space_block1/attention")
    results = explain_subject(open_subject(model, noise(model)), ["relative_position", "activation"], options=chosen)
    assert results[0].layer == "space_block1/attention"


def test_networks_without_them_say_so() -> None:
    for model in (network(position="none"), network(position="absolute"), clip_network()):
        assert isinstance(explain(model, noise(model), "relative_position"), NotApplicable)
    model = network()
    time = explain(model, noise(model), "relative_position", layer="time_block1/attention")
    assert "has no relative positions over patches; these do: space_block1/attention" in time.reason
    assert isinstance(explain(model, noise(model), "relative_position"), Explanation)


def test_a_query_outside_of_the_clip_is_refused() -> None:
    model = network()
    with pytest.raises(UserError, match="outside of the clip"):
        explain(model, noise(model), "relative_position", query=(0, 32, 0))


# --- The map ----------------------------------------------------------------------------------------------------------


def test_map_of_figure_three_five() -> None:
    """14 x 14 patches seen from (7, 7): 49 clusters, each a rectangle, that of the reference a single patch."""
    ids = cluster_map.cluster_map()
    assert ids.shape == (14, 14)
    assert set(ids.ravel()) == set(range(49))
    assert (ids == ids[7, 7]).sum() == 1
    steps = [-int(sectioned(np.array(place - 7), 3)) for place in range(14)]
    for row, column in np.ndindex(14, 14):
        assert ids[row, column] == (steps[row] + 3) * 7 + steps[column] + 3
    assert len(np.unique(cluster_map.cluster_map(reference=(0, 0)))) == 16


def test_lengths_of_the_embeddings_lie_as_the_clusters_do() -> None:
    layer = network(heads_share_positions=False).get_layer("space_block1").attention
    ids, lengths = cluster_map.cluster_map((4, 4), (1, 2), reach=2), cluster_map.norms(layer, (1, 2))
    weights = np.asarray(layer.clusters)
    for row, column in np.ndindex(4, 4):
        expected = np.mean([np.sqrt((weights[head, ids[row, column]] ** 2).sum()) for head in range(3)])
        np.testing.assert_allclose(lengths[row, column], expected, rtol=1e-6)


def test_picture_has_one_colour_for_each_cluster_and_a_flag() -> None:
    ids = cluster_map.cluster_map()
    picture, cell = cluster_map.draw(ids), 32
    corners = picture[: 14 * cell].reshape(14, cell, 14, cell, 3)[:, -3, :, -3]
    colours = {tuple(int(part) for part in colour) for colour in corners.reshape(-1, 3)}
    assert len(colours) == 49
    for cluster in range(49):
        assert len(np.unique(corners[ids == cluster], axis=0)) == 1
    red = (picture[: 14 * cell] == cluster_map.FLAG).all(axis=-1)
    rows, columns = np.nonzero(red)
    assert {*(rows // cell), *(columns // cell)} == {7}


def test_picture_of_a_network() -> None:
    picture = cluster_map.draw_network(network())
    assert picture.shape == (448 + cluster_map.CAPTION, 3 * 448 + 2 * cluster_map.GAP, 3)
    with pytest.raises(UserError, match="no relative positions"):
        cluster_map.draw_network(network(position="none"))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clusters.png"
    assert cli.main(["clusters", "--grid", "6", "8", "--mapping", "clip", "--reach", "2", "--out", str(path)]) == 0
    ids = cluster_map.cluster_map((6, 8), mapping="clip", reach=2)
    expected = cluster_map.draw(ids, caption=f"{len(np.unique(ids))} clusters, clip")
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], expected)
    assert cli.main(["clusters", "--reference", "14", "0", "--out", str(path)]) == 1
    assert "(14, 0) lies outside of 14 x 14 patches" in capsys.readouterr().err
