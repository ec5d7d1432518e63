"""The step of semi-supervised training against Eq. (7) in NumPy; what reaches the weights and what must not."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from semi_toys import CLASSES, SHAPES, make_batch, make_learner, network, settings

from keras_actrec.errors import UserError
from keras_actrec.training import objectives
from keras_actrec.training.metric_learning import CodeLearner
from keras_actrec.training.semi_batches import INDEX, LABEL, TRUTH, strong_name, weak_name
from keras_actrec.training.semi_learner import PREFIX, SemiSupervisedLearner, class_shares


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def says(learner: SemiSupervisedLearner, role: str, clips: np.ndarray, what: str = "logits") -> np.ndarray:
    clips = clips.reshape(-1, *SHAPES[role])
    outputs = learner._networks[role](clips)
    return ops.convert_to_numpy(outputs["logits"] if what == "logits" else learner._projections[role](outputs[what]))


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return -np.log(probabilities(logits)[np.arange(len(targets)), targets])


def expected_terms(learner: SemiSupervisedLearner, inputs: dict, targets: dict, roles: tuple[str, ...]) -> dict:
    """Eqs. (2) to (6), one clip at a time."""
    config, terms = learner._settings, {}
    for role in roles:
        name = PREFIX[role] + "rgb"
        other = next((known for known in roles if known != role), role)
        own = cross_entropy(says(learner, role, inputs[name]), targets[LABEL].argmax(axis=1))
        terms[PREFIX[role] + "supervised_loss"] = own.mean()
        given = probabilities(says(learner, other, inputs[weak_name(PREFIX[other] + "rgb")]))
        strong = says(learner, role, inputs[strong_name(name)])
        total = 0.0
        for q, row in zip(given, strong, strict=True):
            if q.max() >= config.threshold:
                total += cross_entropy(row[None], np.array([q.argmax()]))[0]
        terms[PREFIX[role] + "pseudo_loss"] = total / len(given)
    if len(roles) == 2 and config.contrastive_weight:
        z = [says(learner, role, inputs[weak_name(PREFIX[role] + "rgb")], "code") for role in roles]
        terms["contrastive_loss"] = contrast(z[0], z[1], config.temperature)
    return terms


def contrast(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    def h(u: np.ndarray, v: np.ndarray) -> float:
        return np.exp(u @ v / np.linalg.norm(u) / np.linalg.norm(v) / temperature)

    total = 0.0
    for own, other in ((first, second), (second, first)):
        for i in range(len(own)):
            rest = sum(h(own[i], z[k]) for z in (own, other) for k in range(len(own)) if k != i)
            pair = h(own[i], other[i])
            total -= np.log(pair / (pair + rest))
    return total / (2 * len(first))


@pytest.mark.parametrize(
    ("roles", "changes"),
    [
        (("primary", "auxiliary"), {}),
        (("primary", "auxiliary"), {"contrastive_weight": 0.0}),
        (("primary", "auxiliary"), {"projection": 0, "temperature": 0.2, "pseudo_weight": 0.7}),
        (("primary",), {"auxiliary": None, "contrastive_weight": 0.0}),
    ],
)
def test_the_loss_is_that_of_the_paper(roles: tuple[str, ...], changes: dict[str, Any]) -> None:
    learner = make_learner(roles, **changes)
    inputs, targets = make_batch()
    terms = expected_terms(learner, inputs, targets, roles)
    assert terms["pseudo_loss"] > 0
    gamma, beta = learner._settings.pseudo_weight, learner._settings.contrastive_weight
    factors = {"supervised_loss": 1, "pseudo_loss": gamma, "contrastive_loss": beta}
    total = sum(factors[name.removeprefix("auxiliary_")] * value for name, value in terms.items())
    logs = learner.train_on_batch(inputs, targets, return_dict=True)
    assert logs["loss"] == pytest.approx(total, rel=1e-4)
    for name, value in terms.items():
        assert logs[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_the_factors_of_unlabelled_clips_rise_from_nothing() -> None:
    inputs, targets = make_batch()
    learner = make_learner(ramp_epochs=2.0)  # of one step each
    for share in (0.0, 0.5, 1.0, 1.0):
        terms = expected_terms(learner, inputs, targets, ("primary", "auxiliary"))
        factors = {"supervised_loss": 1.0, "pseudo_loss": 2.0 * share, "contrastive_loss": 2.0 * share}
        total = sum(factors[name.removeprefix("auxiliary_")] * value for name, value in terms.items())
        learner.reset_metrics()
        logs = learner.train_on_batch(inputs, targets, return_dict=True)
        assert logs["loss"] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_takes_the_same_step(policy: str) -> None:
    options = {"ramp_epochs": 8192.0, "teacher": 0.5, "alignment": True, "class_thresholds": True, "threshold": 0.1}
    inputs, targets = make_batch()
    found = []
    for precision in ("float32", policy):
        keras.config.set_dtype_policy(precision)
        learner = make_learner(**options)
        learner._step.assign(4096.0)  # which half precision cannot count on from
        # On the batch itself: a scale of the loss, which float16 needs, may skip the first steps of an optimiser.
        outputs = learner({name: ops.convert_to_tensor(array) for name, array in inputs.items()}, training=True)
        found.append(float(learner.compute_loss(y=targets, y_pred=outputs)))
        assert float(ops.convert_to_numpy(learner._step)) == 4097.0
        assert keras.backend.standardize_dtype(outputs["primary"]["projected"].dtype) == "float32"
    assert found[1] == pytest.approx(found[0], rel=0.02)


def test_the_truth_about_unlabelled_clips_never_reaches_the_weights() -> None:
    inputs, targets = make_batch()
    weights = []
    for shift in (0, 1):
        learner = make_learner()
        told = {**targets, TRUTH: np.roll(targets[TRUTH], shift, axis=-1)}
        logs = [learner.train_on_batch(inputs, told, return_dict=True) for _ in range(2)]
        weights.append((logs[-1]["pseudo_precision"], learner.get_weights()))
    assert weights[0][0] != weights[1][0]
    for first, second in zip(weights[0][1], weights[1][1], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("contrastive", [0.0, 2.0])
def test_no_gradient_flows_through_what_gives_pseudo_labels(contrastive: float) -> None:
    import tensorflow as tf

    learner = make_learner(threshold=0.0, contrastive_weight=contrastive)
    inputs, targets = make_batch()
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    watched = {name: tensor for name, tensor in tensors.items() if name != INDEX}
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs = learner(tensors, training=True)
        pseudo = sum(
            ops.sum(outputs[role]["strong"] * ops.one_hot(outputs[other]["targets"], CLASSES))
            for role, other in (("primary", "auxiliary"), ("auxiliary", "primary"))
        )
        loss = pseudo + learner.compute_loss(y=targets, y_pred=outputs) * 0
    gradients = tape.gradient(loss, watched)
    for role in SHAPES:
        weak, strong = (gradients[kind(PREFIX[role] + "rgb")] for kind in (weak_name, strong_name))
        assert weak is None or not np.any(weak.numpy())
        assert np.any(strong.numpy())


def test_every_term_but_the_contrastive_one_leaves_the_weak_views_alone() -> None:
    """Shifted weak views that give the same pseudo-labels give the same step, but for how sums are rounded."""
    inputs, targets = make_batch()

    def stepped(factor: float, contrast: float) -> list[np.ndarray]:
        learner = make_learner(contrastive_weight=contrast)
        moved = {
            name: array * factor if name.startswith("unlabelled_") and "strong" not in name and name != INDEX else array
            for name, array in inputs.items()
        }
        learner.train_on_batch(moved, targets)
        return [ops.convert_to_numpy(weight) for weight in learner.trainable_variables]

    def apart(contrast: float) -> float:
        pairs = zip(stepped(1.0, contrast), stepped(1.0001, contrast), strict=True)
        return max(float(np.abs(first - second).max()) for first, second in pairs)

    assert apart(contrast=0.0) < 2e-7 < 1e-6 < apart(contrast=2.0)


def test_the_teacher_gives_the_labels_where_one_is_kept() -> None:
    learner = make_learner(teacher=0.9, contrastive_weight=0.0, threshold=0.0)
    inputs, _targets = make_batch()
    for variable in learner._networks["auxiliary"].trainable_variables:
        variable.assign(ops.zeros_like(variable) - 1.0)  # the network itself now says nonsense, the teacher not yet
    before = says(learner, "auxiliary", inputs[weak_name("auxiliary_rgb")])
    outputs = learner({name: ops.convert_to_tensor(array) for name, array in inputs.items()}, training=True)
    clips = inputs[weak_name("auxiliary_rgb")].reshape(-1, *SHAPES["auxiliary"])
    slow = ops.convert_to_numpy(learner._teachers["auxiliary"].copy(clips))
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs["auxiliary"]["targets"]), slow.argmax(axis=1))
    assert not np.allclose(slow, before)
    copied = {id(variable) for variable in learner._teachers["auxiliary"].copy.variables}
    assert not copied & {id(variable) for variable in learner.trainable_variables}


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_teacher_moves_once_per_update_whatever_the_number_of_its_batches(accumulate: int) -> None:
    keras.utils.set_random_seed(3)
    alone = network("primary")
    learner = SemiSupervisedLearner(
        {"primary": alone},
        settings(auxiliary=None, teacher=0.9, contrastive_weight=0.0),
        unlabelled=20,
        prior=np.full(CLASSES, 1 / CLASSES),
        accumulate=accumulate,
    )
    kernel, slow = (model.get_layer("logits").kernel for model in (alone, learner._teachers["primary"].copy))
    start = ops.convert_to_numpy(kernel)
    kernel.assign(start + 1.0)
    inputs, _targets = make_batch()
    batch = {name: ops.convert_to_tensor(array) for name, array in inputs.items()}
    for _ in range(accumulate):
        learner(batch, training=True)
    np.testing.assert_allclose(ops.convert_to_numpy(slow), start + 0.1, atol=1e-5)


def test_what_cannot_be_contrasted_is_named_with_its_remedy() -> None:
    networks = {"primary": network("primary"), "auxiliary": network("auxiliary", width=8)}
    prior = np.full(CLASSES, 1 / CLASSES)
    with pytest.raises(UserError, match=r"projection: 0 .* one width; these have 12 and 8. Set projection: 128"):
        SemiSupervisedLearner(networks, settings(projection=0), unlabelled=20, prior=prior)
    SemiSupervisedLearner(networks, settings(projection=0, contrastive_weight=0.0), unlabelled=20, prior=prior)
    frames = keras.Input(SHAPES["primary"], name="rgb")
    pooled = keras.layers.Dense(CLASSES, name="logits")(keras.layers.Reshape((2, -1))(frames))
    networks["primary"] = keras.Model(frames, keras.layers.GlobalAveragePooling1D()(pooled))
    with pytest.raises(UserError, match=r"contrastive_weight compares what .* Or set contrastive_weight: 0"):
        SemiSupervisedLearner(networks, settings(), unlabelled=20, prior=prior)


def test_validation_sees_labelled_clips_alone() -> None:
    learner = make_learner()
    inputs, targets = make_batch()
    seen = {name: inputs[name] for name in ("rgb", "auxiliary_rgb")}
    logs = learner.test_on_batch(seen, targets[LABEL], return_dict=True)
    expected = cross_entropy(says(learner, "primary", inputs["rgb"]), targets[LABEL].argmax(axis=1)).mean()
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    found = says(learner, "auxiliary", inputs["auxiliary_rgb"]).argmax(axis=1) == targets[LABEL].argmax(axis=1)
    assert logs["auxiliary_accuracy"] == pytest.approx(found.mean())
    row = objectives.row_of({f"val_{name}": value for name, value in logs.items()}, (), learner.training_only)
    assert set(row) == {"val_loss", "val_accuracy", "val_top5", "val_auxiliary_accuracy"}


def test_shares_of_the_classes() -> None:
    np.testing.assert_allclose(class_shares(["b", "a", "b", "b"], ("a", "b", "c")), [0.25, 0.75, 0.0])


def test_a_learner_of_codes_in_the_same_process_changes_nothing() -> None:
    """Keras changes the bases of a model class for good once one is built from inputs and outputs."""
    code = keras.layers.Dense(3, name="code")(inputs := keras.Input((2,)))
    CodeLearner(inputs, {"logits": keras.layers.Dense(2)(code), "code": code})
    batch, targets = make_batch()
    assert np.isfinite(make_learner().train_on_batch(batch, targets, return_dict=True)["loss"])
