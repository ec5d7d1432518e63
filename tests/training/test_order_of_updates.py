"""No weight of a step is read after the step has changed it, in the graph that TensorFlow really runs."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from semi_toys import make_batch, make_learner

from keras_actrec.training import objectives

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about TensorFlow's graphs")


def graph_of_a_step(**changes: Any) -> Any:
    """Return the optimised graph of one training step."""
    from tensorflow.python.eager import context

    learner = make_learner(**changes)
    # A step that XLA compiles is one node.
    learner.compile(keras.optimizers.SGD(0.1), jit_compile=False, **objectives.objectives(learner, 0.0, weighted=False))
    inputs, targets = make_batch()
    context.context().enable_run_metadata()
    try:
        learner.train_on_batch(inputs, targets)
        graphs = context.context().export_run_metadata().function_graphs
    finally:
        context.context().disable_run_metadata()
    return max((graph.post_optimization_graph for graph in graphs), key=lambda graph: len(graph.node))


def unordered(graph: Any) -> list[tuple[str, str]]:
    """Return which updates by an optimiser do not wait for which reads of the same variable."""
    sources = {node.name: {name.lstrip("^").split(":")[0] for name in node.input} for node in graph.node}
    reads: dict[str, set[str]] = {}
    for node in graph.node:
        if node.op == "ReadVariableOp":
            reads.setdefault(node.input[0], set()).add(node.name)
    found = []
    for node in graph.node:
        if node.op == "AssignSubVariableOp":
            before = ancestors(sources, node.name)
            after = {name for name in reads[node.input[0]] if node.name in ancestors(sources, name)}
            found += [(node.name, name) for name in reads[node.input[0]] - before - after]
    return found


def ancestors(sources: dict[str, set[str]], name: str) -> set[str]:
    seen, new = set(), {name}
    while new:
        new = set().union(*(sources[name] for name in new)) - seen
        seen |= new
    return seen


@pytest.mark.parametrize("changes", [{"contrastive_weight": 0.0}, {"teacher": 0.9, "alignment": True}])
def test_all_reads_come_before_the_update(changes: dict[str, Any]) -> None:
    graph = graph_of_a_step(**changes)
    assert sum(node.op == "AssignSubVariableOp" for node in graph.node) >= 8
    assert unordered(graph) == []
