"""What relative positions do to attention: RPE-STDT, Eq. 3.7, in one clip.

The score of query i and key j is (q_i . k_j + q_i . p_ij) / sqrt(d), so that the position of j multiplies the weight
that i gives to j by exp(q_i . p_ij / sqrt(d)), before the weights are divided by their sum. This factor is the heat,
averaged over the heads, for one query in every frame; 1 changes nothing. Places of one cluster have one factor: Figure
3.5 of the thesis, which `cluster_map` draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.explain import feature_maps, taps
from keras_actrec.explain.explanation import Explanation, InapplicableError, Options
from keras_actrec.explain.subject import Call, Subject


def relative_position(subject: Subject, target: int, options: Options) -> Explanation:
    """Return the factors of `options.layer`, or of the last layer with relative positions over patches.

    The query is the patch at row and column of `options.query`, in pixels, or else the middle one. The class does not
    matter.

    Raises:
        InapplicableError: no layer has relative positions over the patches of frames.
        UserError: there is no such layer, or the query lies outside of the clip.
    """
    call = _choose(subject, options.layer)
    layer, (rows, columns) = call.layer, call.layer.grid
    query = options.query or tuple(size // 2 for size in subject.grid)
    if not all(0 <= place < size for place, size in zip(query, subject.grid, strict=True)):
        raise UserError(f"the query {query} lies outside of the clip of frames, rows and columns {subject.grid}.")
    cell = (query[1] * rows // subject.grid[1], query[2] * columns // subject.grid[2])
    token = cell[0] * columns + cell[1] + layer.class_token
    bias = _bias(subject, layer)[:, :, token, int(layer.class_token) :]
    factors = np.exp(bias).mean(axis=1).reshape(-1, rows, columns)
    facts = {
        "query": list(query),
        "query_cell": list(cell),
        "grid": [rows, columns],
        "clusters": layer.number_of_clusters,
        "mapping": layer.mapping,
        "reach": layer.reach,
    }
    heat = feature_maps.resample(factors, subject.grid)
    return Explanation("relative_position", target, heat, layer=call.path, facts=facts)


def _choose(subject: Subject, name: str | None) -> Call:
    calls = [call for call in subject.calls if len(getattr(call.layer, "grid", ())) == 2 and _positions(call.layer)]
    if not calls:
        raise InapplicableError(f"'{subject.model.name}' has no relative positions over the patches of frames.")
    if name is None:
        return calls[-1]
    named = subject.find(name)
    found = [call for call in calls if call.layer is named.layer]
    if not found:
        paths = ", ".join(dict.fromkeys(call.path for call in calls))
        raise InapplicableError(f"the layer '{named.path}' has no relative positions over patches; these do: {paths}.")
    return found[-1]


def _positions(layer: Any) -> bool:
    return hasattr(layer, "cluster_index")


def _bias(subject: Subject, layer: Any) -> np.ndarray:
    """Return q_i . p_ij / sqrt(d) of a layer that runs once, (B, h, N, N)."""
    found: list[np.ndarray] = []

    def see(_: Any, __: Any, output: Any) -> None:
        bias = layer.score_bias(layer.split_heads(output))
        found.append(ops.convert_to_numpy(ops.cast(bias, "float32")))

    with taps.watched([layer.query], see):
        subject.run(subject.clip)
    return found[-1]
