"""Metric learning: codes of one class come near each other, and a clip is what the nearest centre of codes says.

MS3D, Sec. III-B and III-C. The network is any architecture; what lies before its classifier is the encoder. The
classifier is not trained: before each validation it is filled with the centres (Eq. 6) of codes of some training
videos, so that its largest logit is the nearest centre, and accuracy means what it means at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_actrec import losses
from keras_actrec.config import MetricConfig, RepositoryConfig, TrainingConfig
from keras_actrec.errors import UserError
from keras_actrec.evaluation import codes, repository
from keras_actrec.evaluation.codes import Codes
from keras_actrec.evaluation.repository import Repository
from keras_actrec.evaluation.video_names import video_name
from keras_actrec.models.codes import CODE, with_code
from keras_actrec.models.joint import CLASSIFIER
from keras_actrec.training import repository_command, supervised
from keras_actrec.training.callbacks import Companion
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.learner import LOGITS, Learner
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.supervised import Fitted

HELPER = "helper"
"""The classifier that is trained beside a loss of codes, where `metric.cross_entropy` asks for one."""


class CodeLearner(Learner, keras.Model):
    """An encoder and its classifier under training by a loss of metric learning."""

    objective: str
    settings: MetricConfig

    def regime_loss(self, labels: Any, outputs: dict[str, Any]) -> Any:
        """Return the loss of the codes (B, D) of one batch, and the helper's cross entropy where there is one."""
        loss, share = self._loss_of_codes(labels, outputs), self.settings.cross_entropy
        if share:
            # The function, not Keras' object, which would divide by the number of devices a second time.
            losses_of_helper = keras.losses.categorical_crossentropy(labels, outputs[HELPER], from_logits=True)
            loss = loss + share * keras.ops.mean(losses_of_helper)
        return loss

    def _loss_of_codes(self, labels: Any, outputs: dict[str, Any]) -> Any:
        values, settings = outputs[CODE], self.settings
        if self.objective == "supervised_contrastive":
            return losses.supervised_contrastive(values, labels, settings.temperature)
        scaled = values / settings.temperature**0.5 if settings.normalize else values
        loss = losses.n_pair_of_batch(scaled, labels, settings.semi_hard, symmetric=settings.symmetric)
        if settings.code_penalty:
            squares = keras.ops.sum(keras.ops.square(keras.ops.cast(values, "float32")), axis=-1)
            loss = loss + settings.code_penalty * keras.ops.mean(squares)
        return loss


class PlaceCentres(keras.callbacks.Callback):
    """Fills the classifier with the centres of codes as the weights are now, before each validation."""

    def __init__(self, data: Inputs) -> None:
        super().__init__()
        self._fragments = data.fragments()
        self._encoder: keras.Model | None = None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Encode the fragments and place their centres."""
        if self._encoder is None:
            self._encoder = _without_helper(self.model)
        place_centres(self.model, codes.encode(self._encoder, self._fragments))


def is_asked_for(settings: TrainingConfig) -> bool:
    """Return whether a configuration trains codes rather than logits."""
    return settings.objective != "cross_entropy"


def prepare(network: keras.Model, settings: TrainingConfig) -> keras.Model:
    """Return the network with a code and a frozen classifier, as metric learning wants it; call it in the scope."""
    metric = settings.metric
    return with_code(network, metric.code, metric.normalize, metric.standardize)


def learner_of(network: keras.Model, settings: TrainingConfig) -> CodeLearner:
    """Return what is trained: the network, which also tells its codes and what a helper makes of them.

    The helper sees the layer "code" as it is, before codes are standardised or brought to length 1.
    """
    outputs = {LOGITS: network.output, CODE: network.get_layer(CLASSIFIER).input}
    if settings.metric.cross_entropy:
        helper = keras.layers.Dense(network.output.shape[-1], dtype="float32", name=HELPER)
        outputs[HELPER] = helper(network.get_layer(CODE).output)
    learner = CodeLearner(network.input, outputs, name=network.name)
    learner.objective, learner.settings = settings.objective, settings.metric
    return learner


def fit(
    network: keras.Model,
    data: Inputs,
    directory: RunDirectory,
    hardware: Hardware,
    companion: Companion | None = None,
) -> Fitted:
    """Train the encoder of a network that `prepare` gave; as `supervised.fit`, which does it.

    Raises:
        UserError: as there, or devices that cannot share a batch without parting pairs.
    """
    settings = directory.config.training
    _check_shares(settings, hardware.replicas)
    with hardware.scope():
        learner = learner_of(network, settings)
    return supervised.fit(
        learner,
        data.training(),
        data.plain("validation"),
        settings,
        directory,
        hardware=hardware,
        quarantine=data.quarantine,
        companion=companion,
        before_validation=(PlaceCentres(data),),
    )


def place_centres(network: keras.Model, encoded: Codes) -> None:
    """Let the classifier of a network find the nearest centre of the codes of labelled clips."""
    kernel, bias = repository.as_classifier(*_centres_and_spread(encoded, network.get_layer(CLASSIFIER).units))
    network.get_layer(CLASSIFIER).set_weights([kernel, bias])


def keep_repository(network: keras.Model, data: Inputs, directory: RunDirectory) -> Repository:
    """Make the repository of a trained network, set gamma on the validation split, and keep it beside the model.

    Gamma is set on the clips and crops that evaluation takes, because it is compared with the mean of their codes.

    Returns:
        The repository as it was made. On disk, one of the same model stays as it is: actions may have been added to it
        since, and a run that is resumed after that must not forget them.
    """
    settings = directory.config.training.repository or RepositoryConfig()
    loader, validation = data.fragments(), data.evaluation("validation")
    encoded, checked = codes.encode(network, loader), codes.encode(network, validation)
    passes = encoded.values.shape[1]
    videos = [video_name(loader.clips[index]) for index in encoded.indices]
    made = repository.build(
        data.manifest.classes,
        encoded.values.reshape(-1, encoded.values.shape[-1]),
        np.repeat(encoded.labels, passes),
        np.repeat(np.array(videos, object), passes).tolist(),
        model=repository.model_digest(network),
        calibration_codes=checked.mean(),
        calibration_names=checked.names,
        rule=settings.gamma,
        false_accepts=settings.false_accepts,
        notes={"passes": passes, "fragments": settings.fragments, "run": directory.path.name},
    )
    with repository_command.locked(directory.path):
        if _holds(directory.repository, made):
            directory.say("the repository of actions is there already, and stays as it is")
        else:
            made.save(directory.repository)
    return made


def _holds(path: Path, made: Repository) -> bool:
    """Return whether a file is a repository of the same model, perhaps with other actions by now."""
    try:
        repository.load(path, made.model, made.code_size)
    except UserError:
        return False
    return True


def _without_helper(learner: keras.Model) -> keras.Model:
    """Return what tells logits and codes alone."""
    told = learner.output
    return learner if HELPER not in told else keras.Model(learner.input, {name: told[name] for name in (LOGITS, CODE)})


def _check_shares(settings: TrainingConfig, devices: int) -> None:
    """Each device compares the clips of its own share of a batch alone."""
    per_class = settings.metric.clips_per_class
    if devices > 1 and (settings.batch_size % (devices * per_class) or settings.batch_size < 2 * devices * per_class):
        raise UserError(
            f"{devices} devices share a batch of {settings.batch_size} clips, and each must get {per_class} clips of "
            f"at least two classes: set training.batch_size to a multiple of {devices * per_class}, at least "
            f"{2 * devices * per_class}."
        )


def _centres_and_spread(encoded: Codes, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (K, D) of codes, and the root mean square distance of each class to its own.

    A class none of whose fragments could be read has its centre where all codes together have theirs.
    """
    values = encoded.values.astype(np.float64)
    centres = np.tile(values.mean(axis=(0, 1)), (classes, 1))
    spread = np.zeros(classes)
    for label in np.unique(encoded.labels):
        own = values[encoded.labels == label].reshape(-1, values.shape[-1])
        centres[label] = own.mean(axis=0)
        spread[label] = np.sqrt(((own - centres[label]) ** 2).sum(axis=1).mean())
    return centres, spread
