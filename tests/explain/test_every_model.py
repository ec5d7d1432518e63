"""No method fails for any registered network: it gives heat over the clip, or says why it does not apply."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from case import CLASSES, Case
from model_cases import CASES

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.explain import METHODS, Explanation, NotApplicable, Options, Subject, explain_subject, open_subject
from keras_actrec.explain.subject import walk

ONE_INPUT = [name for name, case in CASES.items() if len(case.inputs) == 1]
# Rows that differ from their architecture's in options alone take as long, and seldom tell more.
EACH = [name if name == CASES[name].name else pytest.param(name, marks=pytest.mark.slow) for name in ONE_INPUT]
TRANSFORMERS = {"ctn", "rpe_stdt", "timesformer", "videomae", "vivit"}
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


@pytest.mark.parametrize("name", sorted(set(CASES) - set(ONE_INPUT)))
def test_several_inputs_are_refused(name: str) -> None:
    model = models.build_model(CASES[name].name, CLASSES, **CASES[name].options)
    names = ", ".join(name for name, _ in CASES[name].inputs)
    with pytest.raises(UserError, match=f"takes the inputs {names}; only networks of one clip"):
        open_subject(model, np.zeros(model.inputs[0].shape[1:]))


@pytest.mark.parametrize("name", EACH)
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


@pytest.mark.parametrize("name", EACH)
def test_the_network_is_left_as_it_was(name: str) -> None:
    subject, _, before = explained(name)
    assert not [path for path, layer in walk(subject.model) if "call" in vars(layer)]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(subject.run(subject.clip)), before)


@pytest.mark.parametrize("name", EACH)
def test_methods_apply_where_they_should(name: str) -> None:
    """Attention wants layers that attend over the clip's tokens, Grad-CAM a map of several positions, and so on."""
    _, results, _ = explained(name)
    case = CASES[name]
    applied = {method for method, result in results.items() if isinstance(result, Explanation)}
    assert ("attention" in applied) == ("attention_rollout" in applied) == attends_over_the_clip(case)
    assert ("non_local" in applied) == (case.name == "non_local")
    assert ("relative_position" in applied) == (case.name == "rpe_stdt" and case.options.get("position") is None)
    assert "integrated_gradients" in applied
    assert ("guided_backprop" in applied) == (case.name not in TRANSFORMERS), "their activations are no ReLUs"
    assert ("activation" in applied) == has_a_convolution(case)
    if case.name in FRAME_WISE:
        assert "grad_cam" in applied


def attends_over_the_clip(case: Case) -> bool:
    """Whether each layer's attention is over all tokens of the clip, rather than within frames or over time."""
    over_all = {"vivit": "encoder", "timesformer": "attention"}
    if case.name in over_all:
        return case.options.get(over_all[case.name], {"vivit": "joint"}.get(case.name)) == "joint"
    return case.name in {"convnet_transformer", "ctn", "videomae"}


def has_a_convolution(case: Case) -> bool:
    """Whether there is a convolution, whose output is a map: Transformers have none but CTN's stem."""
    return case.name not in TRANSFORMERS or (case.name == "ctn" and case.options.get("tokens") != "tubelets")
