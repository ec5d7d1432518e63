"""No method fails for any registered network: it gives heat over the clip, or says why it does not apply."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from model_cases import CASES, CLASSES

from keras_actrec import models
from keras_actrec.explain import METHODS, Explanation, NotApplicable, Options, Subject, explain_subject, open_subject
from keras_actrec.explain.subject import walk

FRAME_WISE = {"convnet_rnn", "convnet_transformer", "frame_average", "late_fusion", "lrcn", "single_frame"}


@functools.cache
def explained(name: str) -> tuple[Subject, dict[str, Explanation | NotApplicable], np.ndarray]:
    """The network with a clip, what every method says, and the logits before."""
    keras.utils.set_random_seed(0)
    model = models.build_model(CASES[name].name, CLASSES, **CASES[name].options)
    subject = open_subject(model, np.random.default_rng(0).normal(size=model.input_shape[1:]))
    before = keras.ops.convert_to_numpy(subject.run(subject.clip))
    results = explain_subject(subject, METHODS, options=Options(steps=4))
    return subject, {result.method: result for result in results}, before


def test_every_registered_network_is_among_the_cases() -> None:
    assert {case.name for case in CASES.values()} == set(models.list_models())


@pytest.mark.parametrize("name", CASES)
def test_heat_over_the_clip_or_a_reason(name: str) -> None:
    subject, results, _ = explained(name)
    assert set(results) == set(METHODS)
    for result in results.values():
        if isinstance(result, NotApplicable):
            assert result.reason.endswith(".")
            continue
        assert result.heat.shape == subject.model.input_shape[1:4]
        assert result.heat.dtype == np.float32
        assert np.isfinite(result.heat).all()
        assert result.heat.min() >= 0


@pytest.mark.parametrize("name", CASES)
def test_the_network_is_left_as_it_was(name: str) -> None:
    subject, _, before = explained(name)
    assert not [path for path, layer in walk(subject.model) if "call" in vars(layer)]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(subject.run(subject.clip)), before)


@pytest.mark.parametrize("name", CASES)
def test_methods_apply_where_they_should(name: str) -> None:
    """Attention wants layers that attend, Grad-CAM a map of several positions, the others nothing that is missing."""
    subject, results, _ = explained(name)
    applied = {method for method, result in results.items() if isinstance(result, Explanation)}
    kinds = {type(layer).__name__ for _, layer in walk(subject.model)}
    assert ("attention" in applied) == ("attention_rollout" in applied) == ("MultiHeadAttention" in kinds)
    assert ("non_local" in applied) == ("NonLocalBlock" in kinds)
    assert {"activation", "integrated_gradients", "guided_backprop"} <= applied
    if CASES[name].name in FRAME_WISE:
        assert "grad_cam" in applied
