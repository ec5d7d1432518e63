"""Semi-supervised training of a run: its networks, its batches, and what is kept of them (see `semi_learner`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from keras_actrec import backbones, models
from keras_actrec.config import RunConfig
from keras_actrec.data import labelled_split
from keras_actrec.evaluation import ensemble
from keras_actrec.evaluation.predict import Predictions, predict
from keras_actrec.training import semi_batches, supervised, weights
from keras_actrec.training.callbacks import Companion
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.pseudo_audit import KeepAudit
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.seeding import seed_everything
from keras_actrec.training.semi_learner import AUXILIARY, PREFIX, PRIMARY, SemiSupervisedLearner, class_shares
from keras_actrec.training.supervised import Fitted


@dataclasses.dataclass(frozen=True)
class Member:
    """A network of the pair, and the run's data as it wants to see them."""

    network: keras.Model
    data: Inputs


Team = Mapping[str, Member]
"""The networks that learn together, by their role: "primary" and perhaps "auxiliary"."""


def gather(network: keras.Model, data: Inputs, hardware: Hardware) -> Team:
    """Return the run's own network and, where the configuration names one, the auxiliary network beside it.

    Their data tell what unlabelled clips show as far as it is known, for the audit. The auxiliary one is built from
    the run's seed as well, so that each has the weights it would have alone; from the next seed where it is of the
    primary one's architecture, or both would be one and the same network.
    """
    data = dataclasses.replace(data, manifest=labelled_split.with_truth(data.manifest))
    team = {PRIMARY: Member(network, data)}
    if data.config.training.semi_supervised.auxiliary is not None:
        team[AUXILIARY] = _auxiliary(data, hardware)
    return team


def check_auxiliary(config: RunConfig) -> None:
    """Validate the auxiliary network's section before anything is rendered, read or written."""
    semi = config.training.semi_supervised
    if semi is not None and semi.auxiliary is not None:
        _architecture(config, num_classes=2)


def fit(team: Team, directory: RunDirectory, hardware: Hardware, companion: Companion | None = None) -> Fitted:
    """Train the networks of a team, as `supervised.fit` does, and keep the auxiliary one beside the run's model.

    Raises:
        UserError: as there, or there are no unlabelled clips.
    """
    data = team[PRIMARY].data
    settings, manifest = data.config.training, data.manifest
    labels = [clip.label for clip in manifest.split("train")]
    inputs = {PREFIX[role]: member.data for role, member in team.items()}
    batches = semi_batches.training_batches(inputs)
    with hardware.scope():
        learner = SemiSupervisedLearner(
            {role: member.network for role, member in team.items()},
            settings.semi_supervised,
            unlabelled=len(manifest.split("unlabelled")),
            prior=class_shares(labels, manifest.classes),
            steps_per_epoch=batches.steps,
            label_smoothing=settings.label_smoothing,
            accumulate=settings.optimizer.accumulate,
        )
    audits = () if learner.audit is None else (KeepAudit(learner.audit, manifest.classes, directory),)
    fitted = supervised.fit(
        learner,
        batches,
        semi_batches.validation_batches(inputs),
        settings,
        directory,
        hardware=hardware,
        quarantine=data.quarantine,
        companion=companion,
        before_validation=audits,
    )
    if AUXILIARY in team:
        weights.save_model(team[AUXILIARY].network, directory.auxiliary)
    return fitted


def measure(team: Team, primary: Predictions, split: str = "test") -> dict[str, Any]:
    """Return what belongs to semi-supervised training alone in the metrics of a run.

    Args:
        team: trained.
        primary: predictions of the primary network on a split.
        split: which one.
    """
    data = team[PRIMARY].data
    tells_more = AUXILIARY in team and data.config.evaluation.ensemble
    other = predict(team[AUXILIARY].network, team[AUXILIARY].data.evaluation(split)) if tells_more else None
    labelled, unlabelled = (len(data.manifest.split(name)) for name in ("train", "unlabelled"))
    used = data.config.training.semi_supervised.unlabelled_used
    return ensemble.document(primary, other, labelled=labelled, unlabelled=unlabelled if used else 0)


def reopen(network: keras.Model, data: Inputs, directory: RunDirectory) -> Team | None:
    """Return the networks of a finished run as far as it keeps them, or None where it was not semi-supervised."""
    if data.config.training.semi_supervised is None:
        return None
    team = {PRIMARY: Member(network, data)}
    if data.config.evaluation.ensemble and directory.auxiliary.exists():
        team[AUXILIARY] = Member(keras.saving.load_model(directory.auxiliary), _auxiliary_data(data))
    return team


def ensemble_in_vain(config: RunConfig) -> bool:
    """Whether `evaluation.ensemble` asks for a second network that a run does not train."""
    semi = config.training.semi_supervised
    return config.evaluation.ensemble and (semi is None or semi.auxiliary is None)


def _auxiliary(data: Inputs, hardware: Hardware) -> Member:
    config, classes = data.config, len(data.manifest.classes)
    architecture, name = _architecture(config, classes), config.training.semi_supervised.auxiliary.model.name
    same = name == config.model.name and architecture == models.make_config_for(
        name, classes, config.data, config.model.options
    )
    seed_everything((config.seed + same) % 2**31, config.training.deterministic)
    with hardware.scope():
        network = models.build_from_config(name, architecture)
        backbones.synchronize(network, hardware.strategy is not None)
    return Member(network, _auxiliary_data(data))


def _auxiliary_data(data: Inputs) -> Inputs:
    """Return the run's data as the auxiliary network wants to see them."""
    config = data.config
    normalization = _architecture(config, len(data.manifest.classes)).normalization
    own = config.model_copy(update={"data": _data(config)})
    return dataclasses.replace(data, config=own, normalization=normalization)


def _architecture(config: RunConfig, num_classes: int) -> models.ModelConfig:
    wanted = config.training.semi_supervised.auxiliary.model
    return models.make_config_for(wanted.name, num_classes, _data(config), wanted.options)


def _data(config: RunConfig) -> Any:
    """Return the section `data` as the auxiliary network wants it."""
    return config.data.model_copy(update=config.training.semi_supervised.auxiliary.data_changes)
