"""Non-local maps: where in space and time a position of a feature map looks (Wang et al. 2018, Fig. 3).

The row of a non-local block's matrix f / C that belongs to one query position, laid over the clip. Where f is no
softmax the row can hold negative numbers; they are left out of the heat.
"""

from __future__ import annotations

import math

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.explain import attention_scores as attended
from keras_actrec.explain import feature_maps
from keras_actrec.explain.explanation import Explanation, InapplicableError, Options
from keras_actrec.explain.grad_cam import grad_cam
from keras_actrec.explain.subject import Subject

Place = tuple[int, int, int]


def non_local(subject: Subject, target: int, options: Options) -> Explanation:
    """Return the glance of one position of `options.layer`, or of the last non-local block.

    The position is `options.query`, or where Grad-CAM is warmest, or the centre where Grad-CAM does not apply.

    Raises:
        InapplicableError: there is no non-local block, or its keys do not lie on a grid that can be found.
        UserError: there is no such layer, or the query lies outside of the clip.
    """
    scores = attended.map_attended(subject, options.layer)
    queries = scores.call.input_shape[1:4]
    query = _query(subject, target, options.query)
    cell = tuple(place * cells // size for place, cells, size in zip(query, queries, subject.grid, strict=True))
    row = scores.weights.mean(axis=0)[np.ravel_multi_index(cell, queries)]
    keys = _key_grid(scores, queries)
    heat = feature_maps.resample(np.maximum(row, 0).reshape(keys), subject.grid)
    facts = {"query": list(query), "query_cell": list(cell), "query_grid": list(queries), "grid": list(keys)}
    return Explanation("non_local", target, heat, layer=scores.call.path, facts=facts)


def _query(subject: Subject, target: int, query: Place | None) -> Place:
    """Return frame, row and column in pixels of the network's input."""
    if query is not None:
        if not all(0 <= place < size for place, size in zip(query, subject.grid, strict=True)):
            raise UserError(f"the query {query} lies outside of the clip of frames, rows and columns {subject.grid}.")
        return query
    try:
        heat = grad_cam(subject, target, Options()).heat
    except InapplicableError:
        heat = np.zeros(subject.grid)
    if not heat.any():
        return tuple(size // 2 for size in subject.grid)
    return tuple(int(place) for place in np.unravel_index(heat.argmax(), heat.shape))


def _key_grid(scores: attended.Scores, queries: Place) -> Place:
    """Return the keys in T, H and W: as the block itself says, or as many as there are queries."""
    said = getattr(scores.call.layer, "key_grid", None)
    grid = tuple(said(scores.call.input_shape)) if said else queries
    if math.prod(grid) != scores.weights.shape[-1]:
        raise InapplicableError(f"the keys of '{scores.call.path}' do not lie on a grid of {grid} cells.")
    return grid
