"""One step of semi-supervised training: two networks of different architectures that label clips for each other.

Suresh Dass et al., "ActNetFormer" (2024). The primary network F and the auxiliary A look at the same videos at frame
rates of their own. On labelled clips both learn as usual; on an unlabelled clip the confident prediction of one on a
weakly changed view is the target of the other on a strongly changed one (Eqs. 4, 5), and their representations of the
weak views are drawn together, against those of other clips (Eq. 6):

    L = L_s^F + L_s^A + gamma (L_u^F + L_u^A) + beta L_c                                                       (Eq. 7)

FixMatch is one network that teaches itself; CMPL is two networks without L_c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_actrec import losses
from keras_actrec.config import SemiSupervisedConfig
from keras_actrec.errors import UserError
from keras_actrec.models import codes
from keras_actrec.models.codes import CODE
from keras_actrec.training import distribution
from keras_actrec.training.learner import LOGITS, Learner
from keras_actrec.training.pseudo_audit import PseudoAudit
from keras_actrec.training.pseudo_labels import PseudoLabels
from keras_actrec.training.semi_batches import INDEX, LABEL, TRUTH, strong_name, weak_name
from keras_actrec.training.teacher import Teacher

PRIMARY, AUXILIARY = "primary", "auxiliary"
PREFIX = {PRIMARY: "", AUXILIARY: "auxiliary_"}
"""What the names of a network's views and numbers begin with."""
Naming = Callable[[str], str]
_SUPERVISED, _PSEUDO, _CONTRASTIVE = "supervised_loss", "pseudo_loss", "contrastive_loss"


class SemiSupervisedLearner(Learner, keras.Model):
    """One network or two under training from labelled and unlabelled clips.

    Args:
        networks: "primary" and perhaps "auxiliary" -> the network.
        settings: of the regime.
        unlabelled: number of unlabelled clips.
        prior: shares of the classes among the labelled clips (K,).
        steps_per_epoch: batches of an epoch, by which the factors' rise is counted.
        label_smoothing: of the labelled clips' cross entropy.
        accumulate: batches of one update of the weights.

    Raises:
        UserError: representations cannot be contrasted, or a network cannot be copied for a teacher.
    """

    takes_all_views = True

    def __init__(
        self,
        networks: Mapping[str, keras.Model],
        settings: SemiSupervisedConfig,
        unlabelled: int,
        prior: np.ndarray,
        steps_per_epoch: int = 1,
        label_smoothing: float = 0.0,
        accumulate: int = 1,
    ) -> None:
        distribution.keep_order()
        super().__init__(name="semi_supervised")
        self._roles, self._settings, self._classes = tuple(networks), settings, len(prior)
        contrasts = settings.contrastive_weight > 0
        self._networks = {role: _telling(network, contrasts) for role, network in networks.items()}
        _check_widths(self._networks, settings.projection)
        self._projections = {role: _projection(own, settings.projection) for role, own in self._networks.items()}
        self._pseudo_labels = {role: _pseudo_labels(settings, prior, unlabelled) for role in networks}
        self._teachers = {role: _teacher(network, settings.teacher, accumulate) for role, network in networks.items()}
        self._label_smoothing = label_smoothing
        self._ramp_steps = settings.ramp_epochs * steps_per_epoch
        self._step = self._counter() if self._ramp_steps else None
        self._terms = {name: keras.metrics.Mean(name) for name in self._weights_of_terms()}
        self._audit = PseudoAudit(len(prior), self._roles) if settings.unlabelled_used else None
        self._accuracy = keras.metrics.CategoricalAccuracy("auxiliary_accuracy") if AUXILIARY in networks else None
        self.built = True

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return self._classes

    @property
    def audit(self) -> PseudoAudit | None:
        """What is known of the pseudo-labels of the current epoch; None where none are given."""
        return self._audit

    @property
    def training_only(self) -> tuple[str, ...]:
        """Names of the numbers that validation does not measure."""
        return (*self._terms, *(self._audit.result_names if self._audit else ()))

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Look at a batch.

        Args:
            inputs: as `semi_batches` gives them; without unlabelled clips in validation.
            training: whether this is a step of training.

        Returns:
            "logits" and "auxiliary_logits" (B, K) of the labelled clips. With unlabelled clips also, for each network
            by its role: "strong" logits (B r, K), "projected" (B r, D) where networks are contrasted, and the
            pseudo-labels that it gives, "targets" int32 (B r,) and "accepted" float32 (B r,).
        """
        if INDEX not in inputs:
            outputs = {role: self._see(role, inputs, training)[LOGITS] for role in self._roles}
            return {PREFIX[role] + LOGITS: logits for role, logits in outputs.items()}
        if training and self._step is not None:
            self._step.assign_add(1.0)
        indices, results = ops.reshape(inputs[INDEX], (-1,)), {}
        for role in self._roles:
            labelled, strong, weak, projected = self._look(role, inputs, training)
            targets, accepted = self._pseudo_labels[role](weak, indices, training=training)
            given = {"strong": strong, "targets": targets, "accepted": accepted}
            results[PREFIX[role] + LOGITS] = labelled
            results[role] = given if projected is None else {**given, "projected": projected}
        return results

    def regime_loss(self, labels: Any, outputs: dict[str, Any]) -> Any:
        """Return Eq. (7) of one batch.

        Args:
            labels: {"label": one-hot (B, K), ...}; the truth about unlabelled clips is not looked at.
            outputs: of `call`.
        """
        terms = {}
        for role in self._roles:
            prefix = PREFIX[role]
            terms[prefix + _SUPERVISED] = self._cross_entropy(labels[LABEL], outputs[prefix + LOGITS])
            if role in outputs:
                given = outputs[self._teacher_of(role)]
                terms[prefix + _PSEUDO] = losses.pseudo_label(
                    outputs[role]["strong"], given["targets"], given["accepted"]
                )
        if _CONTRASTIVE in self._terms:
            first, second = (outputs[role]["projected"] for role in self._roles)
            terms[_CONTRASTIVE] = losses.cross_contrastive(first, second, self._settings.temperature)
        for name, value in terms.items():
            self._terms[name].update_state(value)
        factors, risen = self._weights_of_terms(), self._risen()
        return sum(
            factors[name] * value * (1.0 if name.endswith(_SUPERVISED) else risen) for name, value in terms.items()
        )

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Measure the networks on labelled clips; in training also what the pseudo-labels are worth."""
        labels = y[LABEL] if isinstance(y, dict) else y
        if self._accuracy is not None:
            self._accuracy.update_state(labels, y_pred[PREFIX[AUXILIARY] + LOGITS], sample_weight)
        if self._audit is not None and PRIMARY in y_pred:
            given, accepted = ({role: y_pred[role][what] for role in self._roles} for what in ("targets", "accepted"))
            self._audit.update_state(given, accepted, ops.reshape(y[TRUTH], (-1, self._classes)))
        return super().compute_metrics(x, labels, y_pred, sample_weight)

    def _cross_entropy(self, labels: Any, logits: Any) -> Any:
        """Return the mean over the batch. A loss object of Keras would divide it by the number of devices already."""
        smooth = labels * (1 - self._label_smoothing) + self._label_smoothing / self._classes
        return ops.mean(ops.categorical_crossentropy(smooth, logits, from_logits=True))

    def _counter(self) -> keras.Variable:
        """Return the weight that counts steps. Half precision, in which networks compute, stops counting at 256."""
        return self.add_weight((), "zeros", "float32", trainable=False, autocast=False, name="step")

    def _look(self, role: str, inputs: Mapping[str, Any], training: bool | None) -> tuple[Any, Any, Any, Any]:
        """Let a network see labelled, strong and weak views of a batch, each of them once.

        Returns:
            Logits of the three (B, K), (B r, K), (B r, K), and what is contrasted of the weak ones (B r, D) or None.
        """
        labelled, unlabelled = ops.shape(inputs[INDEX])[0], ops.size(inputs[INDEX])
        contrasts, teacher = _CONTRASTIVE in self._terms, self._teachers[role]
        # Weak views pass along with the others where a gradient flows through them. For pseudo-labels alone they have
        # a pass of their own, without a way back.
        seen = self._see(role, inputs, training, (_same_name, strong_name, *((weak_name,) if contrasts else ())))
        of_labelled, strong = seen[LOGITS][:labelled], seen[LOGITS][labelled : labelled + unlabelled]
        weak, projected = seen[LOGITS][labelled + unlabelled :], None
        if contrasts:
            projected = self._projections[role](seen[CODE][labelled + unlabelled :])
        if teacher is not None:
            weak = teacher(self._arranged(role, inputs, (weak_name,)), training=training)
        elif not contrasts:
            weak = self._see(role, inputs, training, (weak_name,))[LOGITS]
        return of_labelled, strong, weak, projected

    def _see(
        self, role: str, inputs: Mapping[str, Any], training: bool | None, kinds: Sequence[Naming] = ()
    ) -> dict[str, Any]:
        return self._networks[role](self._arranged(role, inputs, kinds or (_same_name,)), training=training)

    def _arranged(self, role: str, inputs: Mapping[str, Any], kinds: Sequence[Naming]) -> Any:
        """Return some kinds of views, one after the other along the batch, in the structure that a network takes."""
        network = self._networks[role]
        arrays = {
            tensor.name: _joined([inputs[kind(PREFIX[role] + tensor.name)] for kind in kinds], len(tensor.shape))
            for tensor in network.inputs
        }
        return arrays if isinstance(network.input, (list, dict)) else next(iter(arrays.values()))

    def _risen(self) -> Any:
        """Return which share of their factors the terms of unlabelled clips have in this step, from 0 to 1."""
        if self._step is None:
            return 1.0
        return ops.minimum((ops.convert_to_tensor(self._step) - 1.0) / self._ramp_steps, 1.0)

    def _weights_of_terms(self) -> dict[str, float]:
        """Return the factor of each term of the loss."""
        settings, factors = self._settings, {PREFIX[role] + _SUPERVISED: 1.0 for role in self._roles}
        if settings.unlabelled_used:
            factors |= {PREFIX[role] + _PSEUDO: settings.pseudo_weight for role in self._roles}
        if settings.contrastive_weight:
            factors[_CONTRASTIVE] = settings.contrastive_weight
        return factors

    def _teacher_of(self, role: str) -> str:
        """Return whose predictions are a network's targets: the other's, or its own if it is alone."""
        return next((other for other in self._roles if other != role), role)


def class_shares(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return the share of each class (K,) among labels."""
    counts = np.array([sum(label == name for label in labels) for name in classes], np.float64)
    return counts / counts.sum()


def _telling(network: keras.Model, contrasted: bool) -> keras.Model:
    """Return a network that tells its logits by name, and the features before them where they are contrasted."""
    outputs = {LOGITS: network.output}
    if contrasted:
        try:
            outputs[CODE] = codes.encoder_of(network).output
        except UserError as error:
            raise UserError(
                f"training.semi_supervised.contrastive_weight compares what networks make of a clip: {error} Or set "
                "contrastive_weight: 0."
            ) from None
    return keras.Model(network.input, outputs, name=network.name)


def _check_widths(networks: Mapping[str, keras.Model], projection: int) -> None:
    """Refuse to contrast features of different width as they are."""
    widths = [network.output[CODE].shape[-1] for network in networks.values() if CODE in network.output]
    if not projection and len(set(widths)) > 1:
        raise UserError(
            "training.semi_supervised.projection: 0 contrasts the networks' own features, which must be of one width; "
            f"these have {' and '.join(map(str, widths))}. Set projection: 128, or another number above 0."
        )


def _projection(network: keras.Model, width: int) -> keras.Sequential | None:
    """Return the head whose outputs are contrasted, of two layers as in SimCLR; None where none is needed."""
    if CODE not in network.output:
        return None
    features = network.output[CODE].shape[-1]
    layers = [keras.layers.Dense(features, activation="relu"), keras.layers.Dense(width)] if width else []
    return keras.Sequential([keras.Input((features,)), *layers, keras.layers.Activation("linear", dtype="float32")])


def _pseudo_labels(settings: SemiSupervisedConfig, prior: np.ndarray, unlabelled: int) -> PseudoLabels:
    return PseudoLabels(
        len(prior),
        settings.threshold,
        alignment=settings.alignment,
        prior=prior,
        class_thresholds=settings.class_thresholds,
        examples=unlabelled,
    )


def _teacher(network: keras.Model, momentum: float, accumulate: int) -> Teacher | None:
    """Return the slow copy of a network. It moves in each batch, so much that those of one update make `momentum`."""
    return Teacher(network, momentum ** (1 / accumulate)) if momentum else None


def _joined(arrays: Sequence[Any], rank: int) -> Any:
    """Concatenate (B, ...) and (B, r, ...) along the batch, the latter as (B r, ...)."""
    flat = [array if len(array.shape) == rank else ops.reshape(array, (-1, *array.shape[2:])) for array in arrays]
    return flat[0] if len(flat) == 1 else ops.concatenate(flat, axis=0)


def _same_name(name: str) -> str:
    return name
